"""Which curvature and which solver: the table, and the ladders behind None and "auto"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from skinfluence.torch.curvature import Curvature
from skinfluence.torch.curvature.inverse import Inverse
from skinfluence.torch.solvers.arnoldi import Arnoldi
from skinfluence.torch.solvers.base import Solver
from skinfluence.torch.solvers.cg import ConjugateGradients
from skinfluence.torch.solvers.corrected import Corrected
from skinfluence.torch.solvers.damping import automatic_damping
from skinfluence.torch.solvers.datainf import DataInf
from skinfluence.torch.solvers.dense import Dense
from skinfluence.torch.solvers.lissa import Lissa
from skinfluence.torch.solvers.nystroem import Nystroem
from skinfluence.torch.solvers.preconditioners import sketch_pays
from skinfluence.torch.solvers.structured import HasInverse, Structured

SOLVERS: dict[str, Callable[[], Solver]] = {
    "dense": Dense,
    "cg": ConjugateGradients,
    "lissa": Lissa,
    "arnoldi": Arnoldi,
    "nystroem": Nystroem,
    "ekfac": Corrected,
    "datainf": DataInf,
    "structured": Structured,
}

# Parameters up to which the matrix is formed: 200 MB in float64, factorised in a second or two.
DENSE = 5000


class Choice(NamedTuple):
    """A solver's name, and why it is the one."""

    solver: str
    reason: str


class CurvatureChoice(NamedTuple):
    """A curvature's name, and why it is the one where that is to be said."""

    curvature: str
    reason: str | None


def choose_curvature(
    n_params: int, *, solver: Any = "auto", method: str = "first_order"
) -> CurvatureChoice:
    """Say which curvature ``curvature=None`` stands for, and why.

    The first that holds: Gauss-Newton steps are made of the Gauss-Newton matrix; a solver that is
    asked for inverts it; so does a factorisation, while the matrix can be formed. Larger networks
    have EK-FAC, which inverts itself.
    """
    if method == "newton":
        return CurvatureChoice("ggn", None)
    if solver == "structured":
        return CurvatureChoice("ekfac", None)
    if n_params <= DENSE or not (isinstance(solver, str) and solver == "auto"):
        return CurvatureChoice("ggn", None)
    return CurvatureChoice(
        "ekfac",
        f"{n_params:,} parameters are too many to factorise their matrix, and EK-FAC has an "
        "inverse of its own, an approximation after a few passes over the rows. "
        "curvature='ggn' with conjugate gradients is exact and takes tens to hundreds of passes "
        "over the rows a query.",
    )


def choose_solver(
    n_params: int,
    *,
    psd: bool = True,
    structured: bool = False,
    damping: float | None = 0.0,
    n_queries: int | None = None,
) -> Choice:
    """Say which solver ``solver="auto"`` stands for, and why.

    The first that holds: a curvature with an inverse of its own is inverted by it; a matrix that
    can be formed is factorised; anything else goes to conjugate gradients. The approximations
    ("nystroem", "arnoldi", "ekfac", "lissa", "datainf") are never chosen by themselves.

    Parameters
    ----------
    n_params : int
        Explained parameters.
    psd : bool, default=True
        Whether the curvature is positive semidefinite: "ggn" and "fisher" are, "hessian" is not
        known to be.
    structured : bool, default=False
        Whether it has an inverse of its own: "kfac" and "ekfac" do.
    damping : float or None, default=0.0
        In units of a mean loss; None is as much as a curvature that is not definite needs.
    n_queries : int or None, default=None
        Right-hand sides, where they are known.

    Returns
    -------
    choice : Choice
        Named tuple ``(solver, reason)``.

    See Also
    --------
    skinfluence.InfluenceExplainer : Takes ``solver=`` by name.

    Examples
    --------
    >>> from skinfluence.torch import choose_solver
    >>> choose_solver(650).solver
    'dense'
    >>> solver, reason = choose_solver(101_770, psd=False)
    >>> solver, reason.split(": ")[0]
    ('cg', '101,770 parameters are too many for a matrix, and this curvature may be indefinite')
    """
    undamped = damping is not None and damping == 0
    if structured:
        return Choice("structured", "This curvature has an inverse of its own.")
    if n_params <= DENSE:
        reason = f"{n_params:,} parameters are few enough to factorise the matrix, which is exact"
        return Choice("dense", f"{reason}." if psd or not undamped else f"{reason}; {_SADDLE}")
    many = f"{n_params:,} parameters are too many for a matrix"
    if not psd:
        advice = _SADDLE if undamped else "negative directions that are met are reported."
        return Choice("cg", f"{many}, and this curvature may be indefinite: {advice}")
    sketch = "preconditioned where a call has enough right-hand sides"
    if n_queries is not None:
        rank = ConjugateGradients().rank
        sketch = f"{n_queries} right-hand sides share their directions, unpreconditioned"
        if sketch_pays(n_queries, rank):
            sketch = f"{n_queries} right-hand sides repay a Nystroem preconditioner, rank {rank}"
    return Choice("cg", f"{many}, and this curvature is positive semidefinite: {sketch}.")


_SADDLE = (
    "without damping negative eigenvalues make scores meaningless. Give a damping above minus the "
    "lowest of them, or use curvature='ggn'."
)


def choose(
    curvature: Curvature, *, damping: float | None = 0.0, n_queries: int | None = None
) -> Choice:
    """`choose_solver` for a curvature at hand."""
    return choose_solver(
        curvature.n_params,
        psd=curvature.psd,
        structured=isinstance(curvature, HasInverse),
        damping=damping,
        n_queries=n_queries,
    )


def pick(
    curvature: Curvature,
    damping: float | None,
    solver: Any = "auto",
    *,
    n_queries: int | None = None,
) -> tuple[Solver, Choice]:
    """The solver that is meant by a name or an object, and why it is the one.

    Raises
    ------
    ValueError
        If the name is unknown, or the curvature has an inverse of its own beside which the
        solver makes no sense.
    """
    if isinstance(solver, str) and solver == "auto":
        choice = choose(curvature, damping=damping, n_queries=n_queries)
        return SOLVERS[choice.solver](), choice
    name = solver_name(solver)
    if isinstance(solver, str) and name not in SOLVERS:
        raise ValueError(
            f"solver={solver!r} is none of 'auto', {', '.join(map(repr, SOLVERS))}, nor an "
            "instance of one of their classes. Name one of them."
        )
    if isinstance(curvature, HasInverse) and name not in ("structured", "dense"):
        raise ValueError(
            f"{type(curvature).__name__} has an inverse of its own, which solver={name!r} could "
            "only approximate. Leave solver='auto', or use curvature='ggn' with that solver."
        )
    made = SOLVERS[name]() if isinstance(solver, str) else solver
    return made, Choice(name, "It was asked for.")


def invert(
    curvature: Curvature,
    damping: float | None,
    solver: Any = "auto",
    *,
    n_queries: int | None = None,
) -> tuple[Inverse, Choice]:
    """Inverse of a damped curvature by a solver, given by name or with its options.

    Parameters
    ----------
    curvature : Curvature
    damping : float or None
        In units of a mean loss. None is none while the curvature is definite: what
        `DenseInverse` finds where the matrix is formed, else `automatic_damping`.
    solver : str or object, default="auto"
        A name, or any object with a method ``invert``.
    n_queries : int or None, default=None

    Returns
    -------
    inverse : Inverse
    choice : Choice
        The solver that made it, and why.

    Raises
    ------
    ValueError
        As `pick` does.
    """
    made, choice = pick(curvature, damping, solver, n_queries=n_queries)
    if isinstance(made, Dense):
        return made.invert(curvature, damping), choice
    damping = automatic_damping(curvature) if damping is None else damping
    return made.invert(curvature, damping), choice


def solver_name(solver: Any) -> str:
    """The solver's name in the table, else its class's."""
    if isinstance(solver, str):
        return solver
    known = (name for name, kind in SOLVERS.items() if kind is type(solver))
    return next(known, type(solver).__name__)
