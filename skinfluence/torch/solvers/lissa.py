"""The Neumann series, on all rows or on mini-batches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from skinfluence.torch.curvature import Curvature, SumOfRows
from skinfluence.torch.curvature.inverse import Inverse
from skinfluence.torch.solvers.base import Solver
from skinfluence.torch.solvers.convergence import Convergence
from skinfluence.torch.solvers.lanczos import extremes
from skinfluence.torch.solvers.operator import Damped, generator, norms, require_finite

# Steps are this share of what the largest eigenvalue allows (2 / eigenvalue).
CAREFUL = {"rows": 0.75, "batches": 0.25}
# Mini-batches whose largest eigenvalue is looked at.
TRIED = 5
# Growth of a residual, or of an iterate beyond its start, that only a divergence brings about.
DIVERGED = 1e4


class Lissa(Solver):
    """Neumann series ``x <- x + scale (b - (A + damping) x)``, in units of a mean loss.

    Its error shrinks by ``1 - scale (lowest eigenvalue + damping)`` a step, so that it takes as
    many steps as the condition number; conjugate gradients take its square root of them. It is
    here because it works from mini-batches, and because published results use it [1]_ [2]_.

    Parameters
    ----------
    scale : float or None, default=None
        Step length; the largest eigenvalue of ``scale (A / W + damping)`` has to be below 2.
        None takes it from an estimate of that eigenvalue.
    depth : int, default=1000
        Steps at most, on all rows; exactly, on mini-batches.
    batch_size : int or None, default=None
        Rows a step; None is all of them, and nothing is random.
    repeats : int, default=1
        Independent runs on mini-batches, which are averaged.
    tol : float, default=1e-3
        Relative residual at which a right-hand side is done, and above which it is warned of.
    random_state : int or None, default=0
        Of the mini-batches, which are the same for all right-hand sides.

    See Also
    --------
    ConjugateGradients : As exact as is asked for, at any size.
    choose_solver : Which of them ``solver="auto"`` stands for.

    Notes
    -----
    On mini-batches the iterates hover about the solution, and their average over the second half
    of the steps is returned: its error falls with `depth`, where that of the last iterate, which
    is what [1]_ takes, does not.

    References
    ----------
    .. [1] N. Agarwal, B. Bullins and E. Hazan (2017), Second-order stochastic optimization for
       machine learning in linear time, JMLR 18.
    .. [2] P. W. Koh and P. Liang (2017), Understanding black-box predictions via influence
       functions, ICML.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> from skinfluence import InfluenceExplainer
    >>> from skinfluence.torch import Lissa
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier((3,), alpha=0.1, solver="lbfgs", max_iter=2000, random_state=0)
    >>> net = net.fit(X, y)
    >>> exact, near = (
    ...     InfluenceExplainer(net, damping=1.0, solver=solver).fit(X, y).self_influence()
    ...     for solver in ("dense", Lissa())
    ... )
    >>> bool(np.corrcoef(exact, near)[0, 1] > 0.999)
    True
    """

    def __init__(
        self,
        *,
        scale: float | None = None,
        depth: int = 1000,
        batch_size: int | None = None,
        repeats: int = 1,
        tol: float = 1e-3,
        random_state: int | None = 0,
    ):
        self.scale, self.depth, self.batch_size = scale, depth, batch_size
        self.repeats, self.tol, self.random_state = repeats, tol, random_state

    def invert(self, curvature: Curvature, damping: float) -> LissaInverse:
        if self.batch_size is not None:
            require_shares(curvature)
        return LissaInverse(self, Damped(curvature, damping))


def require_shares(curvature: Curvature) -> SumOfRows:
    """Refuse mini-batches of a curvature that no row has a share of."""
    if isinstance(curvature, SumOfRows):
        return curvature
    raise ValueError(
        f"{type(curvature).__name__} is made of means over all rows, and batch_size asks for the "
        "share of a few. Leave batch_size=None, or use curvature='ggn'."
    )


class LissaInverse(Inverse):
    """Inverse by the Neumann series; every call runs it anew, on the same mini-batches.

    Attributes
    ----------
    top : float
        Estimate of the largest eigenvalue of ``A / W + damping``; of the worst of some
        mini-batches where there are any.
    scale : float
    """

    def __init__(self, solver: Lissa, operator: Damped):
        self.solver, self.operator, self.damping = solver, operator, operator.damping
        self.weight = operator.curvature.objective.total_weight
        self.convergence = Convergence(solver.tol)
        seed, like = solver.random_state, operator.like
        low, top = (x / self.weight for x in extremes(operator, like, seed))
        if low < -1e-6 * top:
            raise ValueError(
                f"LiSSA needs a positive curvature; this one has, damping={self.damping:.3g} "
                f"included, an eigenvalue of {low:.3g} (mean loss), along which the series "
                f"diverges. Use curvature='ggn', or a damping above {self.damping - low:.3g}."
            )
        if solver.batch_size is not None:
            batches = Batches(operator, solver.batch_size, generator(seed))
            found = [extremes(batches.draw(), like, seed)[1] for _ in range(TRIED)]
            top = max(top, max(found) / self.weight)
        self.top, self.batch_products = top, 0
        careful = CAREFUL["rows" if solver.batch_size is None else "batches"]
        # A curvature of zero has its solution in no time, or none at all.
        automatic = 2.0 * careful / top if top > 0 else 1.0
        self.scale = automatic if solver.scale is None else solver.scale
        if not 0 < self.scale * top < 2.0:
            raise self._diverges()

    def _diverges(self) -> ValueError:
        bound = 2.0 / self.top if self.top > 0 else float("inf")
        return ValueError(
            f"LiSSA needs the largest eigenvalue of scale * (A / W + damping) between 0 and 2; "
            f"with scale={self.scale:.3g} it is about {self.scale * self.top:.3g} (the largest "
            f"eigenvalue is about {self.top:.3g}), and the series diverges. Lower `scale` "
            f"below {bound:.2g}, raise batch_size, or use solver='cg'."
        )

    def __call__(self, V: Tensor) -> Tensor:
        B = V.to(self.operator.like)
        require_finite(B, "A right-hand side")
        if self.solver.batch_size is None:
            X, residual, n_iter = self._on_all_rows(B)
        else:
            X = self._on_batches(B, self.solver.batch_size)
            residual, n_iter = self._residual(B, X), self.solver.depth
        self.convergence.add(
            residual,
            n_iter,
            cure=f"Raise depth ({self.solver.depth}) or damping ({self.damping:.3g})"
            + ("" if self.solver.batch_size is None else ", batch_size or repeats")
            + ", or use solver='cg'.",
        )
        return X.to(V.dtype)

    def _residual(self, B, X):
        size = norms(B)
        return norms(B - self.operator(X)) / torch.where(size > 0, size, 1.0)

    def _on_all_rows(self, B):
        """Until the residual, which is what every step adds, is small enough."""
        X, size, step = torch.zeros_like(B), norms(B), self.scale / self.weight
        residual, n_iter = (size > 0).double(), 0
        live = torch.nonzero(size > 0)[:, 0]
        R = B[live]
        while len(live) and n_iter < self.solver.depth:
            X[live] += step * R
            R = B[live] - self.operator(X[live])
            residual[live] = norms(R) / size[live]
            n_iter += 1
            if float(residual[live].max()) > DIVERGED:
                raise self._diverges()
            going = residual[live] > self.solver.tol
            live, R = live[going], R[going]
        return X, residual, n_iter

    def _on_batches(self, B, size):
        """Average over the runs, and over the second half of the steps of each."""
        source, total = generator(self.solver.random_state), torch.zeros_like(B)
        batches = Batches(self.operator, size, source)
        step, depth = self.scale / self.weight, self.solver.depth
        for _ in range(self.solver.repeats):
            X, kept = torch.zeros_like(B), depth - depth // 2
            limit = DIVERGED * depth * step * norms(B)
            for n in range(depth):
                X = X + step * (B - batches.draw()(X))
                self.batch_products += len(X)
                if not bool((norms(X) <= limit).all()):
                    raise self._diverges()
                if n >= depth - kept:
                    total += X / (kept * self.solver.repeats)
        return total

    def report(self) -> dict[str, Any]:
        return {
            **super().report(),
            **self.convergence.report(),
            "products": self.operator.products,
            "batch_products": self.batch_products,
            "scale": self.scale,
            "top": self.top,
        }


class Batches:
    """Mini-batches of equal size, as damped products that are right on average.

    Rows are drawn with replacement: where a step's rows depend on the last one's, as in a pass
    through shuffled rows, the average of the iterates is not the solution.
    """

    def __init__(self, operator: Damped, size: int, source: torch.Generator):
        self.operator, self.source = operator, source
        self.n = operator.curvature.objective.n_train
        self.size = min(size, self.n)

    def draw(self) -> Any:
        """The product (M, p) -> (M, p) with the next mini-batch."""
        if self.size == self.n:
            rows = torch.arange(self.n)
        else:
            rows = torch.randint(self.n, (self.size,), generator=self.source)
        return lambda V: self._product(rows, V)

    def _product(self, rows, V):
        curvature = require_shares(self.operator.curvature)
        objective = curvature.objective
        weights = objective.weights[rows] * (self.n / self.size)
        found = curvature.of_rows(objective.rows.take(rows), weights.to(V), V)
        penalty = objective.penalty_curvature()
        found = found + self.operator.shift * V
        require_finite(found, "The curvature times a vector")
        return found if penalty is None else found + penalty.to(V) * V
