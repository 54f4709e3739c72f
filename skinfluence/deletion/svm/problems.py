"""The programmes of support vector machines, and what outputs they give."""

from __future__ import annotations

import numpy as np

from skinfluence.deletion.base import Array
from skinfluence.deletion.svm.kernel import Indices, KernelRows
from skinfluence.deletion.svm.programme import Motion, Programme
from skinfluence.objectives.rebalance import Rebalance


class Problem:
    """One programme of a machine, over some of its training rows.

    Parameters
    ----------
    positions : ndarray of int of shape (n,)
        Its rows among the training rows, ascending; all carry weight.
    weights : ndarray of shape (n,)
        Their sample weights.
    programme : Programme
    fitted : ndarray of shape (N,)
        Coefficients as the estimator has them.

    Attributes
    ----------
    follows : bool
        Whether other variables follow a row that goes, although its own coefficient is 0.
    """

    follows: bool = False

    def __init__(self, positions: Indices, weights: Array, programme: Programme, fitted: Array):
        self.positions, self.weights = positions, weights
        self.programme, self.fitted = programme, fitted

    def own(self, rows: Indices) -> Indices:
        """Those of some training rows that are in the problem, as positions in it."""
        places = np.minimum(np.searchsorted(self.positions, rows), len(self.positions) - 1)
        return places[self.positions[places] == rows]

    def motion(self, rows: Indices) -> Motion:
        """How the programme changes when training rows go."""
        own = self.own(rows)
        return Motion(self.lost(own), self.programme.variables_of(own))

    def lost(self, own: Indices) -> Array:
        """Change of the sums c when rows of the problem go, (n_groups,)."""
        return np.zeros(self.programme.n_groups)

    def decision(self, products: Array, offset: Array) -> Array:
        """The decision function from sums of kernels, (q, b), and multipliers, (n_groups, b)."""
        return products + offset[0]

    def margin(self, offset: Array) -> float:
        """What decisions are divided by; inf where by nothing."""
        return np.inf

    def has_no_margin(self, offset: Array) -> bool:
        """Whether decisions would be divided by a margin that is nothing but rounding."""
        rounding = 1e-12 * self.programme.size * self.programme.kernel.largest
        return 2.0 * self.margin(offset) <= rounding


class Margin(Problem):
    """SVC: ``min 1/2 |f|^2 + sum_i C w_i max(0, 1 - y_i f(x_i))``.

    The coefficient of a row of the positive class is in [0, C w_i], of a negative one in
    [-C w_i, 0], w_i with the class weight. ``class_weight="balanced"`` counts rows, weights of 0
    included; where it follows a deletion the boxes of all rows do.

    Parameters
    ----------
    positions, weights, programme, fitted
    rebalance : Rebalance or None
        Of all training rows.
    """

    def __init__(
        self,
        positions: Indices,
        weights: Array,
        programme: Programme,
        fitted: Array,
        rebalance: Rebalance | None,
    ):
        super().__init__(positions, weights, programme, fitted)
        self.rebalance = rebalance
        self.follows = rebalance is not None
        if rebalance is not None:
            codes, positive = rebalance.class_of_row[positions], programme.hi > 0
            self._classes = int(codes[~positive][0]), int(codes[positive][0])

    def motion(self, rows: Indices) -> Motion:
        motion = super().motion(rows)
        if self.rebalance is None:
            return motion
        removed = self.rebalance.removed_by(rows).sum(axis=1, keepdims=True)
        ratios = self.rebalance.ratios(removed)[:, 0] - 1.0
        motion.growth = float(ratios[self._classes[0]]), float(ratios[self._classes[1]])
        return motion


class NuMargin(Problem):
    """NuSVC: ``min 1/2 |f|^2 - nu W rho + sum_i w_i max(0, rho - y_i f(x_i))``, over rho.

    Both classes have coefficients that sum to nu W / 2, of multipliers b - rho and b + rho; the
    decision function is f / rho.

    Parameters
    ----------
    positions, weights, programme, fitted
    nu : float
    """

    follows = True

    def __init__(
        self, positions: Indices, weights: Array, programme: Programme, fitted: Array, nu: float
    ):
        super().__init__(positions, weights, programme, fitted)
        self.nu = nu

    def lost(self, own: Indices) -> Array:
        return -0.5 * self.nu * self.weights[own].sum() * np.array([1.0, -1.0])

    def decision(self, products: Array, offset: Array) -> Array:
        return (products + 0.5 * (offset[0] + offset[1])) / (0.5 * (offset[1] - offset[0]))

    def margin(self, offset: Array) -> float:
        return float(0.5 * (offset[1] - offset[0]))


class Tube(Problem):
    """SVR: ``min 1/2 |f|^2 + sum_i C w_i max(0, |y_i - f(x_i)| - epsilon)``."""


class NuTube(Problem):
    """NuSVR: SVR that chooses epsilon, which costs ``C nu W epsilon``.

    Coefficients above and below the tube sum to C nu W / 2 each, of multipliers b + epsilon and
    b - epsilon.

    Parameters
    ----------
    positions, weights, programme, fitted
    nu_C : float
        ``nu * C``.
    """

    follows = True

    def __init__(
        self, positions: Indices, weights: Array, programme: Programme, fitted: Array, nu_C: float
    ):
        super().__init__(positions, weights, programme, fitted)
        self.nu_C = nu_C

    def lost(self, own: Indices) -> Array:
        return -0.5 * self.nu_C * self.weights[own].sum() * np.array([1.0, -1.0])

    def decision(self, products: Array, offset: Array) -> Array:
        return products + 0.5 * (offset[0] + offset[1])


class OneClass(Problem):
    """OneClassSVM: ``min 1/2 |f|^2 - nu W rho + sum_i w_i max(0, rho - f(x_i))``, over rho.

    Coefficients are in [0, w_i] and sum to nu W, the scale in which libsvm has them; the decision
    function is f - rho.

    Parameters
    ----------
    positions, weights, programme, fitted
    nu : float
    """

    follows = True

    def __init__(
        self, positions: Indices, weights: Array, programme: Programme, fitted: Array, nu: float
    ):
        super().__init__(positions, weights, programme, fitted)
        self.nu = nu

    def lost(self, own: Indices) -> Array:
        return np.array([-self.nu * self.weights[own].sum()])


def boxes(
    kernel: KernelRows,
    *,
    sides: Array,
    limits: Array,
    p: Array,
    c: Array,
    group: Indices | None = None,
) -> Programme:
    """A programme whose boxes have 0 for one end.

    Parameters
    ----------
    kernel : KernelRows
    sides : ndarray of shape (N,)
        1 where coefficients are not negative, -1 where they are not positive.
    limits : ndarray of shape (N,)
        How large they may be.
    p : ndarray of shape (N,)
    c : ndarray of shape (n_groups,)
    group : ndarray of int of shape (N,), default=None
        None for one group.
    """
    return Programme(
        kernel,
        row=np.arange(len(p)) % kernel.n,
        group=np.zeros(len(p), dtype=np.intp) if group is None else group,
        p=p,
        lo=np.where(sides > 0, 0.0, -limits),
        hi=np.where(sides > 0, limits, 0.0),
        c=c,
    )
