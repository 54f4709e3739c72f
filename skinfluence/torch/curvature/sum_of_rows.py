"""Curvatures of which every row has a share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from skinfluence.torch.curvature.base import Curvature
from skinfluence.torch.curvature.symmetry import null_directions
from skinfluence.torch.data import Batch


class SumOfRows(Curvature):
    """``A = sum_i w_i A_i + diag(c)``: the Hessian, the Gauss-Newton matrix, the Fisher matrix.

    Sums over blocks of rows are taken in float64.

    Parameters
    ----------
    objective : NetworkObjective
        What the network was trained to minimise, as the explainer hands it over.

    Attributes
    ----------
    psd : bool
        Whether the matrix is known to be positive semidefinite.

    See Also
    --------
    GaussNewton : The usual one.
    Curvature : What all curvatures offer.

    Examples
    --------
    What deletions take away are shares of rows, so that halves add up to the whole:

    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> from skinfluence import InfluenceExplainer
    >>> from skinfluence.torch import GaussNewton, SumOfRows
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier((3,), alpha=0.0, solver="lbfgs", max_iter=2000, random_state=0)
    >>> net = net.fit(X, y)
    >>> kept = []
    >>> def keep(objective):
    ...     kept.append(GaussNewton(objective))
    ...     return kept[0]
    >>> explainer = InfluenceExplainer(net, curvature=keep, damping=0.1).fit(X, y)
    >>> curvature, = kept
    >>> isinstance(curvature, SumOfRows)
    True
    >>> V = curvature.network.theta[None]
    >>> shares = [curvature.of_rows(batch, w, V) for _, batch, w in curvature.blocks(75)]
    >>> bool(np.isclose(sum(shares), curvature(V), rtol=1e-6, atol=1e-9).all())
    True
    """

    @abstractmethod
    def of_rows(self, batch: Batch, weights: Tensor, V: Tensor) -> Tensor:
        """Multiply ``sum_i w_i A_i`` over the rows of one batch with vectors.

        Parameters
        ----------
        batch : Batch
            Of b rows.
        weights : Tensor of shape (b,)
            Their w.
        V : Tensor of shape (M, p)
            Vectors.

        Returns
        -------
        products : Tensor of shape (M, p)
            Without the penalty.
        """

    @abstractmethod
    def block_size(self, n_vectors: int) -> int:
        """Choose how many rows a block has.

        Parameters
        ----------
        n_vectors : int
            Vectors that are multiplied at once.

        Returns
        -------
        size : int
            Rows whose temporaries fit scikit-learn's ``working_memory``.
        """

    def __call__(self, V: Tensor) -> Tensor:
        """``A V``, (M, p).

        Raises
        ------
        ValueError
            If a product is not finite; the message names the first row that makes it so.
        """
        total = torch.zeros(V.shape, dtype=torch.float64, device=V.device)
        for rows, batch, weights in self.blocks(self.block_size(len(V))):
            found = self.of_rows(batch, weights, V)
            if not bool(torch.isfinite(found.sum())):
                self._explain(rows, batch, weights, V)
            total += found
        penalty = self.objective.penalty_curvature()
        if penalty is not None:
            total += penalty * V
        return total.to(V.dtype)

    def blocks(self, size: int) -> Iterator[tuple[slice, Batch, Tensor]]:
        """Go through all training rows in order.

        Parameters
        ----------
        size : int
            Rows a block.

        Yields
        ------
        rows : slice
            Where they lie.
        batch : Batch
            The rows.
        weights : Tensor of shape (b,)
            Their w, in the network's type.
        """
        n = self.objective.n_train
        for start in range(0, n, size):
            rows = slice(start, min(start + size, n))
            yield rows, self.objective.rows.take(rows), self.objective.block_weights(rows)

    def null_directions(self) -> Tensor | None:
        return null_directions(self.objective)

    def _penalised(self, total: Tensor) -> Tensor:
        """A sum over rows with the penalty on its diagonal; (p, p) or (p,) and float64."""
        penalty = self.objective.penalty_curvature()
        if penalty is not None:
            (total.diagonal() if total.ndim == 2 else total).add_(penalty)
        return total

    def _explain(self, rows, batch, weights, V):
        """Halve the rows until one is left that makes the product infinite or NaN."""
        if not bool(torch.isfinite(V).all()):
            raise ValueError(
                "A product of the curvature with vectors that hold NaN or infinity was asked "
                "for. Look at the gradients these vectors come from: a query may have an "
                "infinite loss."
            )
        first, last = 0, batch.size
        while last - first > 1:
            middle = (first + last) // 2
            half = self.of_rows(batch[first:middle], weights[first:middle], V)
            if bool(torch.isfinite(half.sum())):
                first = middle
            else:
                last = middle
        raise ValueError(
            f"The curvature of training row {rows.start + first} is NaN or infinite, or too "
            f"large for {str(self.network.dtype).removeprefix('torch.')}. Look at its inputs and "
            "its loss, leave the row out, or use float64."
        )
