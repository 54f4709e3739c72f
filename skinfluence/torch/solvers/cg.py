"""Conjugate gradients, all right-hand sides side by side."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from skinfluence.torch.curvature import Curvature
from skinfluence.torch.curvature.inverse import Inverse
from skinfluence.torch.solvers.base import Solver
from skinfluence.torch.solvers.convergence import Convergence
from skinfluence.torch.solvers.krylov import Product, conjugate_gradients
from skinfluence.torch.solvers.operator import Damped, require_finite
from skinfluence.torch.solvers.preconditioners import PRECONDITIONERS, sketch_pays

# Relative residuals that the types of numbers reach without effort.
TOL = {torch.float64: 1e-6, torch.float32: 1e-4}


class ConjugateGradients(Solver):
    """Solve by conjugate gradients; each right-hand side stops by its own true residual.

    Right-hand sides share their search directions, so that many take fewer products than each by
    itself. Good for positive curvatures (Gauss-Newton, Fisher) of any size. A Hessian at a
    network's parameters is usually indefinite: right-hand sides that meet negative curvature stop
    there, and are named in a warning.

    Parameters
    ----------
    tol : float or None, default=None
        Relative residual ``|b - (A + W damping) x| / |b|``, recomputed from its definition.
        None is 1e-6 in float64 and 1e-4 in float32.
    max_iter : int, default=200
        Iterations at most, however many parameters there are.
    preconditioner : {"auto", None, "jacobi", "nystroem"} or Inverse, default="auto"
        "auto" is "nystroem" where the curvature is positive semidefinite and a call has enough
        right-hand sides to repay the sketch, else None. The inverse of a near-by curvature can be
        passed. On trained networks, whose spectrum is a few large eigenvalues above a bulk near
        zero, neither "jacobi" nor the inverse of K-FAC or EK-FAC saves iterations.
    rank : int, default=50
        Of the Nystroem preconditioner.
    random_state : int or None, default=0
        Of the Nystroem preconditioner.

    See Also
    --------
    Dense : Exact, for some thousand parameters.
    choose_solver : Which of them ``solver="auto"`` stands for.

    References
    ----------
    .. [1] M. R. Hestenes and E. Stiefel (1952), Methods of conjugate gradients for solving linear
       systems.
    .. [2] Z. Frangella, J. A. Tropp and M. Udell (2023), Randomized Nyström preconditioning,
       SIAM J. Matrix Anal. Appl. 44.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> from skinfluence import InfluenceExplainer
    >>> from skinfluence.torch import ConjugateGradients
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier((3,), alpha=0.1, solver="lbfgs", max_iter=2000, random_state=0)
    >>> net = net.fit(X, y)
    >>> exact, near = (
    ...     InfluenceExplainer(net, damping=0.01, solver=solver).fit(X, y).self_influence()
    ...     for solver in ("dense", ConjugateGradients(tol=1e-8))
    ... )
    >>> bool(np.corrcoef(exact, near)[0, 1] > 1 - 1e-9)
    True
    """

    def __init__(
        self,
        *,
        tol: float | None = None,
        max_iter: int = 200,
        preconditioner: str | Inverse | None = "auto",
        rank: int = 50,
        random_state: int | None = 0,
    ):
        self.tol, self.max_iter = tol, max_iter
        self.preconditioner, self.rank, self.random_state = preconditioner, rank, random_state

    def invert(self, curvature: Curvature, damping: float) -> CGInverse:
        known = (None, "auto", *PRECONDITIONERS)
        if not isinstance(self.preconditioner, Inverse) and self.preconditioner not in known:
            raise ValueError(
                f"preconditioner={self.preconditioner!r} is none of "
                f"{', '.join(map(repr, known))}, nor an inverse. Name one of them."
            )
        return CGInverse(self, Damped(curvature, damping))


class CGInverse(Inverse):
    """Inverse by conjugate gradients; nothing is factorised, every call solves anew."""

    def __init__(self, solver: ConjugateGradients, operator: Damped):
        self.solver, self.operator, self.damping = solver, operator, operator.damping
        tol = TOL.get(operator.like.dtype, 1e-4) if solver.tol is None else solver.tol
        self.convergence = Convergence(tol)
        self.preconditioner = "none"
        self._precondition: Product | None = None
        self._may_sketch = solver.preconditioner == "auto" and operator.curvature.psd
        if solver.preconditioner != "auto":
            self._prepare(solver.preconditioner)

    def _prepare(self, chosen: str | Inverse | None) -> None:
        if isinstance(chosen, Inverse):
            self._precondition, self.preconditioner = chosen, type(chosen).__name__
        elif chosen is not None:
            make = PRECONDITIONERS[chosen]
            self._precondition = make(self.operator, self.solver.rank, self.solver.random_state)
            self.preconditioner = chosen

    def __call__(self, V: Tensor) -> Tensor:
        B = V.to(self.operator.like)
        require_finite(B, "A right-hand side")
        if self._may_sketch and sketch_pays(len(B), self.solver.rank):
            self._may_sketch = False
            self._prepare("nystroem")
        solution = conjugate_gradients(
            self.operator,
            B,
            self._precondition,
            tol=self.convergence.tol,
            max_iter=self.solver.max_iter,
            progress=self.progress,
        )
        self.convergence.add(
            solution.residual,
            solution.n_iter,
            not_positive=solution.not_positive,
            psd=self.operator.curvature.psd,
            cure=f"Raise max_iter ({self.solver.max_iter}) or damping ({self.damping:.3g}), "
            "precondition, use float64, or solver='dense' for small networks.",
        )
        return solution.X.to(V.dtype)

    def report(self) -> dict[str, Any]:
        return {
            **super().report(),
            **self.convergence.report(),
            "products": self.operator.products,
            "preconditioner": self.preconditioner,
        }
