"""Leading eigenpairs by a randomised sketch."""

from __future__ import annotations

from skinfluence.torch.curvature import Curvature
from skinfluence.torch.solvers.base import Solver
from skinfluence.torch.solvers.low_rank import LowRankInverse, Whitened
from skinfluence.torch.solvers.operator import Damped
from skinfluence.torch.solvers.sketch import require_psd, sketched


class Nystroem(Solver):
    """A Nystroem approximation of the curvature, inverted by the Woodbury formula.

    One block of `rank` products, all side by side, and none later: the fastest where many
    right-hand sides come in turn and the spectrum falls. For positive semidefinite curvatures.

    Parameters
    ----------
    rank : int, default=100
        Products, and eigenpairs kept at most.
    complement : {"damped", "drop"}, default="damped"
        "drop" leaves out all directions but the eigenvectors.
    tol : float, default=0.1
        Relative residual above which a warning says that the rank is too small; it is measured
        on the first right-hand sides.
    random_state : int or None, default=0
        Of the test vectors.

    See Also
    --------
    Arnoldi : For curvatures that may be indefinite too.
    ConjugateGradients : As exact as is asked for, at any size.

    References
    ----------
    .. [1] J. A. Tropp, A. Yurtsever, M. Udell and V. Cevher (2017), Fixed-rank approximation of a
       positive-semidefinite matrix from streaming data, NeurIPS.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> from skinfluence import InfluenceExplainer
    >>> from skinfluence.torch import Nystroem
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier((3,), alpha=0.1, solver="lbfgs", max_iter=2000, random_state=0)
    >>> net = net.fit(X, y)
    >>> exact, near = (
    ...     InfluenceExplainer(net, damping=0.01, solver=solver).fit(X, y).self_influence()
    ...     for solver in ("dense", Nystroem(rank=20))
    ... )
    >>> bool(np.corrcoef(exact, near)[0, 1] > 0.99)
    True
    """

    def __init__(
        self,
        *,
        rank: int = 100,
        complement: str = "damped",
        tol: float = 0.1,
        random_state: int | None = 0,
    ):
        self.rank, self.complement = rank, complement
        self.tol, self.random_state = tol, random_state

    def invert(self, curvature: Curvature, damping: float) -> LowRankInverse:
        require_psd(curvature, "solver='nystroem'")
        operator = Damped(curvature, damping)
        whitened = Whitened(operator, self.rank, self.complement)
        values, U = sketched(
            whitened, operator.like, self.rank, self.random_state, floor=whitened.floor
        )
        return LowRankInverse(whitened, values, U, tol=self.tol, about={"n_iter": 0})
