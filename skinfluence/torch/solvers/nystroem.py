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

    References
    ----------
    .. [1] J. A. Tropp, A. Yurtsever, M. Udell and V. Cevher (2017), Fixed-rank approximation of a
       positive-semidefinite matrix from streaming data, NeurIPS.
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
        require_psd(curvature)
        operator = Damped(curvature, damping)
        whitened = Whitened(operator, self.rank, self.complement)
        values, U = sketched(
            whitened, operator.like, self.rank, self.random_state, floor=whitened.floor
        )
        return LowRankInverse(whitened, values, U, tol=self.tol, about={"n_iter": 0})
