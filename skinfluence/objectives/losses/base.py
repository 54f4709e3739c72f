"""The contract of a row's loss as a function of the model's outputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class PointLoss(ABC):
    """Loss l(eta, y) of one row, from its K linear outputs and its target.

    Conventions (they hold for every member):

    - outputs `eta` have shape (..., K) with K = `n_outputs`, also for K = 1; targets `y` broadcast
      against ``eta[..., 0]``; everything is vectorised over the leading axes and is float64;
    - a loss has no weight, no penalty and no division by the number of rows in it: it is the unit
      in which influence is measured;
    - `curvature` is the exact second derivative (one from the right or the left at a kink);
      ``expected=True`` asks for its mean under the model, which only exponential families have.

    The laws: the gradient is the finite difference of the value, the curvature that of the
    gradient, `change` is a difference of values without cancellation, and `curvature_diagonal`
    and `curvature_product` are the curvature.

    Attributes
    ----------
    n_outputs : int
        Number K of outputs.
    temperature : float
        Of a smoothed loss; 0 where nothing is smoothed.
    smooth : bool
        False where the curvature jumps (squared hinge, Huber).
    shift_invariant : bool
        Whether a shift common to all outputs leaves the loss as it is (softmax).
    has_expected : bool
        Whether the expected curvature exists and differs from the observed one.
    """

    n_outputs: int = 1
    temperature: float = 0.0
    smooth: bool = True
    shift_invariant: bool = False
    has_expected: bool = False

    @abstractmethod
    def value(self, eta: Array, y: Any) -> Array:
        """Loss, of shape (...)."""

    @abstractmethod
    def gradient(self, eta: Array, y: Any) -> Array:
        """Derivative by the outputs, of shape (..., K)."""

    @abstractmethod
    def curvature(self, eta: Array, y: Any, *, expected: bool = False) -> Array:
        """Second derivative by the outputs, of shape (..., K, K)."""

    def curvature_diagonal(self, eta: Array, y: Any) -> Array:
        """Second derivative by each output alone, of shape (..., K)."""
        return np.einsum("...kk->...k", self.curvature(eta, y))

    def curvature_product(self, eta: Array, y: Any) -> Callable[[Array], Array]:
        """The curvature at `eta` as a map of moves (..., K), without its matrices where it can."""
        bends = self.curvature(eta, y)
        if self.n_outputs == 1:
            return lambda moves: bends[..., 0] * moves
        return lambda moves: np.einsum("...kl,...l->...k", bends, moves)

    @property
    def raw(self) -> PointLoss:
        """The loss without smoothing, which the estimator minimised."""
        return self

    def change(self, eta: Array, delta: Array, y: Any) -> Array:
        """``value(eta + delta) - value(eta)``, to full precision for small `delta`.

        `eta` and `y` broadcast against `delta`, never the other way round: queries by deletions.
        """
        return self.value(eta + delta, y) - self.value(eta, y)
