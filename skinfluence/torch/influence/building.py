"""The curvature of an objective and its inverse, as they were asked for."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

from skinfluence.torch.curvature import CURVATURES, Curvature
from skinfluence.torch.gradients import RowGradients
from skinfluence.torch.gradients.rows import PROBE
from skinfluence.torch.influence.damping import automatic_damping
from skinfluence.torch.influence.newton import GaussNewtonDeletion, mean_deleted_objective
from skinfluence.torch.influence.trained import Trained
from skinfluence.torch.objective import NetworkObjective
from skinfluence.torch.solvers import SOLVERS, Solver, choose


class Built:
    """A trained network with the curvature, damping and solver that were asked for.

    Parameters
    ----------
    objective : NetworkObjective
    settings : SimpleNamespace
        Of the explainer: curvature, damping, solver, tol, max_iter, random_state.

    Attributes
    ----------
    trained : Trained
    curvature, solver : str
        Names of what is in use.
    damping : float
        In units of a mean loss.
    """

    def __init__(self, objective: NetworkObjective, settings: SimpleNamespace):
        self.settings = settings
        self.curvature = settings.curvature or "ggn"
        matrix = make_curvature(self.curvature, objective)
        asked = settings.damping
        self.damping = automatic_damping(matrix) if asked is None else float(asked)
        self.solver, self._solve = make_solver(settings, matrix, self.damping)
        probe = objective.rows.take(slice(0, PROBE))
        gradients = RowGradients(objective.network, objective.loss, probe)
        self.trained = Trained(objective, gradients, self._solve.invert(matrix, self.damping))

    def newton(self) -> GaussNewtonDeletion:
        """Deletion by Gauss-Newton steps, with an inverse of its own."""
        base, mean = mean_deleted_objective(self.trained.objective)
        if base is self.trained.objective:
            return GaussNewtonDeletion(self.trained, self.trained.inverse, 0.0)
        inverse = self._solve.invert(make_curvature(self.curvature, base), self.damping)
        return GaussNewtonDeletion(self.trained, inverse, mean)


def make_curvature(name: str, objective: NetworkObjective) -> Curvature:
    """Curvature by name."""
    return CURVATURES[name](objective)


def make_solver(
    settings: SimpleNamespace, curvature: Curvature, damping: float
) -> tuple[str, Solver]:
    """Solver by name, as it is, or as the ladder has it, with what the user asked of it."""
    asked = settings.solver
    given = {name: getattr(settings, name) for name in ("tol", "max_iter")}
    given = {name: value for name, value in given.items() if value is not None}
    if not isinstance(asked, str):
        if given:
            raise ValueError(
                f"{' and '.join(given)} are passed beside a solver that is an object. Set them on "
                "the object."
            )
        return type(asked).__name__, asked
    name = choose(curvature, damping)[0] if asked == "auto" else asked
    kind: Any = SOLVERS[name]
    takes = inspect.signature(kind).parameters
    unknown = [option for option in given if option not in takes]
    if unknown:
        raise ValueError(
            f"{' and '.join(unknown)} is about iterations, and solver={asked!r} (here: {name}) "
            f"does not have any of that name. Leave {unknown[0]}=None, or use solver='cg'."
        )
    if "random_state" in takes and settings.random_state is not None:
        given["random_state"] = settings.random_state
    return name, kind(**given)
