"""Leading eigenpairs by the Lanczos process."""

from __future__ import annotations

import torch

from skinfluence.torch.curvature import Curvature
from skinfluence.torch.solvers.base import Solver
from skinfluence.torch.solvers.lanczos import lanczos
from skinfluence.torch.solvers.low_rank import LowRankInverse, Whitened
from skinfluence.torch.solvers.operator import Damped


class Arnoldi(Solver):
    """Keep the eigenpairs of largest absolute value; the rest of space has the damping alone.

    For the curvature, which is symmetric, the Arnoldi process is the Lanczos process. Works for
    indefinite curvatures too, whose negative eigenvalues are reported, and has a square root for
    embeddings. Use conjugate gradients where scores are all that is wanted: they have no rank.

    Parameters
    ----------
    rank : int, default=100
        Eigenpairs kept.
    max_iter : int or None, default=None
        Lanczos steps, each a product with one vector; None is ``2 * rank``.
    complement : {"damped", "drop"}, default="damped"
        "drop" leaves out all directions but the eigenvectors, as [1]_ does.
    tol : float, default=0.1
        Relative residual above which a warning says that the rank is too small; it is measured
        on the first right-hand sides.
    random_state : int or None, default=0
        Of the starting vector.

    See Also
    --------
    Nystroem : From one block of products, for positive curvatures.
    ConjugateGradients : As exact as is asked for, at any size.

    References
    ----------
    .. [1] A. Schioppa, P. Zablotskaia, D. Vilar and A. Sokolov (2022), Scaling up influence
       functions, AAAI.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> from skinfluence import InfluenceExplainer
    >>> from skinfluence.torch import Arnoldi
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier((3,), alpha=0.1, solver="lbfgs", max_iter=2000, random_state=0)
    >>> net = net.fit(X, y)
    >>> exact, near = (
    ...     InfluenceExplainer(net, damping=0.01, solver=solver).fit(X, y).self_influence()
    ...     for solver in ("dense", Arnoldi(rank=20))
    ... )
    >>> bool(np.corrcoef(exact, near)[0, 1] > 0.99)
    True
    """

    def __init__(
        self,
        *,
        rank: int = 100,
        max_iter: int | None = None,
        complement: str = "damped",
        tol: float = 0.1,
        random_state: int | None = 0,
    ):
        self.rank, self.max_iter, self.complement = rank, max_iter, complement
        self.tol, self.random_state = tol, random_state

    def invert(self, curvature: Curvature, damping: float) -> LowRankInverse:
        operator = Damped(curvature, damping)
        whitened = Whitened(operator, self.rank, self.complement)
        steps = 2 * self.rank if self.max_iter is None else self.max_iter
        values, Q, left = lanczos(whitened, operator.like, steps, self.random_state)
        best = torch.argsort(values.abs(), descending=True, stable=True)[: self.rank]
        worst = float((left[best] / values.abs().max().clamp_min(1e-300)).max())
        about = {"n_iter": len(values), "eigenpair_residual": worst}
        # No Ritz value is below the lowest eigenvalue, so that one below zero proves another.
        return LowRankInverse(
            whitened, values[best], Q[best], tol=self.tol, about=about, seen=values
        )
