"""The curvature of an objective and its inverse, as they were asked for."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

from skinfluence.torch.curvature import CURVATURES, Curvature
from skinfluence.torch.gradients import RowGradients
from skinfluence.torch.influence.newton import GaussNewtonDeletion, mean_deleted_objective
from skinfluence.torch.influence.trained import PROBE, Trained
from skinfluence.torch.objective import NetworkObjective
from skinfluence.torch.options import RESUMED
from skinfluence.torch.solvers import Inverse
from skinfluence.torch.solvers.choose import SOLVERS, Choice, choose, choose_curvature, invert


class Built:
    """A trained network with the curvature, damping and solver that were asked for.

    Parameters
    ----------
    objective : NetworkObjective
    settings : SimpleNamespace
        Of the explainer: method, curvature, damping, solver, tol, max_iter, resume, progress and
        random_state.

    Attributes
    ----------
    trained : Trained
    curvature : str
        Name of the one in use.
    choice : Choice
        The solver, and why it is the one.
    damping : float
        In units of a mean loss.
    """

    def __init__(self, objective: NetworkObjective, settings: SimpleNamespace):
        asked, reason = settings.curvature, None
        if asked is None:
            asked, reason = choose_curvature(
                objective.network.n_params, solver=settings.solver, method=settings.method
            )
        self.settings = SimpleNamespace(**{**vars(settings), "curvature": asked})
        matrix = make_curvature(self.settings, objective)
        self.curvature = curvature_name(matrix)
        inverse, choice = self._invert(matrix, settings.damping)
        inverse.progress = bool(settings.progress)
        self.choice = choice if reason is None else choice._replace(reason=reason)
        self.damping = inverse.damping
        probe = objective.rows.take(slice(0, PROBE))
        gradients = RowGradients(objective.network, objective.loss, probe)
        self.trained = Trained(objective, gradients, inverse)

    def _invert(self, curvature: Curvature, damping: float | None) -> tuple[Inverse, Choice]:
        """By the solver that was asked for, with the options that were."""
        asked: Any = self.settings.solver
        options = given_options(self.settings)
        if not isinstance(asked, str):
            if options:
                raise ValueError(
                    f"{' and '.join(options)} beside a solver that is an object have no effect. "
                    "Set them on the object."
                )
            return invert(curvature, damping, asked)
        if not options and self.settings.random_state is None:
            return invert(curvature, damping, asked)
        choice = Choice(asked, "It was asked for.")
        if asked == "auto":
            choice = choose(curvature, damping=damping)
        asked = with_options(choice.solver, options, self.settings.random_state)
        return invert(curvature, damping, asked)[0], choice

    def newton(self) -> GaussNewtonDeletion:
        """Deletion by Gauss-Newton steps, with an inverse of its own."""
        base, mean = mean_deleted_objective(self.trained.objective)
        if base is self.trained.objective:
            return GaussNewtonDeletion(self.trained, self.trained.inverse, 0.0)
        inverse, _ = self._invert(make_curvature(self.settings, base), self.damping)
        inverse.progress = bool(self.settings.progress)
        return GaussNewtonDeletion(self.trained, inverse, mean)


def make_curvature(settings: SimpleNamespace, objective: NetworkObjective) -> Curvature:
    """The curvature that was asked for, by name or by a function of the objective."""
    asked = settings.curvature
    if isinstance(asked, str):
        long = {"resume": settings.resume, "progress": settings.progress}
        made: Curvature = CURVATURES[asked](objective, **(long if asked in RESUMED else {}))
        return made
    found = asked(objective)
    if not isinstance(found, Curvature):
        raise ValueError(
            f"The function passed as curvature returned {type(found).__name__}, which is no "
            "skinfluence.torch.Curvature. Pass one of their classes, or a partial of one: "
            "functools.partial(Ekfac, basis='kfac')."
        )
    return found


def curvature_name(curvature: Curvature) -> str:
    """Its name in the table, else its class's."""
    known = (name for name, kind in CURVATURES.items() if kind is type(curvature))
    return next(known, type(curvature).__name__)


def given_options(settings: SimpleNamespace) -> dict[str, Any]:
    """What the user asked of iterations."""
    given = {"tol": settings.tol, "max_iter": settings.max_iter}
    return {name: value for name, value in given.items() if value is not None}


def with_options(name: str, options: dict[str, Any], random_state: Any) -> Any:
    """A solver by name with options; its name where it takes none of them."""
    kind: Any = SOLVERS.get(name)
    if kind is None:
        return name  # whose turn it is to say so
    takes = inspect.signature(kind).parameters
    unknown = [option for option in options if option not in takes]
    if unknown:
        raise ValueError(
            f"{' and '.join(unknown)} is about iterations, and solver={name!r} has no such "
            f"option. Leave {unknown[0]}=None, or use solver='cg'."
        )
    if "random_state" in takes and random_state is not None:
        options = {**options, "random_state": random_state}
    return kind(**options) if options else name
