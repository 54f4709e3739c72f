"""The curvature of an objective and its inverse, as they were asked for."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

from skinfluence.torch.curvature import CURVATURES, Curvature
from skinfluence.torch.gradients import RowGradients
from skinfluence.torch.influence.damping import automatic_damping
from skinfluence.torch.influence.newton import GaussNewtonDeletion, mean_deleted_objective
from skinfluence.torch.influence.trained import PROBE, Trained
from skinfluence.torch.objective import NetworkObjective
from skinfluence.torch.solvers import Inverse
from skinfluence.torch.solvers.choose import SOLVERS, Choice, choose, invert


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
    curvature : str
        Name of the one in use.
    choice : Choice
        The solver, and why it is the one.
    damping : float
        In units of a mean loss.
    """

    def __init__(self, objective: NetworkObjective, settings: SimpleNamespace):
        self.settings = settings
        self.curvature = settings.curvature or "ggn"
        matrix = make_curvature(self.curvature, objective)
        asked = settings.damping
        self.damping = automatic_damping(matrix) if asked is None else float(asked)
        inverse, self.choice = self._invert(matrix)
        probe = objective.rows.take(slice(0, PROBE))
        gradients = RowGradients(objective.network, objective.loss, probe)
        self.trained = Trained(objective, gradients, inverse)

    @property
    def solver(self) -> str:
        """Name of the solver."""
        return self.choice.solver

    def _invert(self, curvature: Curvature) -> tuple[Inverse, Choice]:
        """By the solver that was asked for, with the options that were."""
        asked: Any = self.settings.solver
        options = given_options(self.settings)
        if not isinstance(asked, str):
            if options:
                raise ValueError(
                    f"{' and '.join(options)} beside a solver that is an object have no effect. "
                    "Set them on the object."
                )
            return asked.invert(curvature, self.damping), Choice(_name(asked), "It was passed.")
        seeded = self.settings.random_state is not None
        if options or seeded:
            choice = choose(curvature, damping=self.damping)
            name = choice.solver if asked == "auto" else asked
            asked = with_options(name, options, self.settings.random_state)
        return invert(curvature, self.damping, asked)

    def newton(self) -> GaussNewtonDeletion:
        """Deletion by Gauss-Newton steps, with an inverse of its own."""
        base, mean = mean_deleted_objective(self.trained.objective)
        if base is self.trained.objective:
            return GaussNewtonDeletion(self.trained, self.trained.inverse, 0.0)
        inverse, _ = self._invert(make_curvature(self.curvature, base))
        return GaussNewtonDeletion(self.trained, inverse, mean)


def make_curvature(name: str, objective: NetworkObjective) -> Curvature:
    """Curvature by name."""
    return CURVATURES[name](objective)


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


def _name(solver: Any) -> str:
    known = (name for name, kind in SOLVERS.items() if kind is type(solver))
    return next(known, type(solver).__name__)
