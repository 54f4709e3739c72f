"""The contract of an inverse of a curvature, its own or one that a solver makes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from skinfluence.torch.gradients import GradientBlock


class Inverse(ABC):
    """``(A + W damping I)^-1``, exactly or nearly, applied to vectors that are rows.

    The law: it agrees with the dense inverse as closely as its report says.

    Attributes
    ----------
    damping : float
        In units of a mean loss; W times it is added to every eigenvalue.
    progress : bool
        Whether to show a bar where solving takes long.

    See Also
    --------
    Solver : Makes one of a curvature.
    Kfac : Has one of its own.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> from skinfluence import InfluenceExplainer
    >>> from skinfluence.torch import Dense, Inverse
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier((3,), alpha=0.1, solver="lbfgs", max_iter=2000, random_state=0)
    >>> net = net.fit(X, y)
    >>> class Watched(Dense):
    ...     def invert(self, curvature, damping):
    ...         self.inverse = super().invert(curvature, damping)
    ...         return self.inverse
    >>> solver = Watched()
    >>> explainer = InfluenceExplainer(net, solver=solver).fit(X, y)
    >>> isinstance(solver.inverse, Inverse)
    True
    >>> solver.inverse.damping == explainer.damping_
    True
    """

    damping: float = 0.0
    progress: bool = False

    @abstractmethod
    def __call__(self, V: Tensor) -> Tensor:
        """Solve for each row of V, (M, p)."""

    def quadratic(self, block: GradientBlock) -> Tensor:
        """Compute ``g_i' (A + W damping I)^-1 g_i`` of the rows of a block.

        Parameters
        ----------
        block : GradientBlock
            Gradients of b rows.

        Returns
        -------
        values : Tensor of shape (b,)
            In float64.
        """
        G = block.dense()
        return (G.double() * self(G).double()).sum(1)

    def half(self, V: Tensor) -> Tensor:
        """Compute ``L^-1 v``, with ``A + W damping I = L L'``.

        Their dot products are those of the vectors by the inverse.

        Parameters
        ----------
        V : Tensor of shape (M, p)
            Vectors v.

        Returns
        -------
        halves : Tensor of shape (M, rank)
            As many numbers a vector as L has columns.

        Raises
        ------
        ValueError
            If this inverse has no such factor.
        """
        raise ValueError(
            f"{type(self).__name__} has no square root, which an embedding needs. Use "
            "solver='dense' (small networks), 'arnoldi', 'nystroem', or curvature='ekfac'."
        )

    def report(self) -> dict[str, Any]:
        """Say how the systems of all calls so far were solved.

        Returns
        -------
        report : dict of str to object
            Numbers that JSON can hold.
        """
        return {"damping": self.damping}
