"""Parameters of InfluenceExplainer that linear models do not have."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

TARGETS = ("loss", "decision_function", "proba", "params")

# What each is to networks and why a linear model has none, and what to do instead.
_NETWORKS_ONLY = {
    "loss": (
        "is the loss of a torch module, which has none of its own, and {model} minimises the one "
        "that its own parameters name",
        "Leave loss=None, and choose the loss in the estimator",
    ),
    "weight_decay": (
        "is the penalty of a torch module, which has none of its own, and that of {model} is read "
        "off it",
        "Leave weight_decay=None, and set the penalty in the estimator (alpha, C)",
    ),
    "params": (
        "chooses among the parameters of a torch module, and of {model} all are explained",
        "Leave params=None; target='coef:NAME' asks about one",
    ),
    "curvature": (
        "approximates the Hessian of a network, and that of {model} is exact",
        "Leave curvature=None; hessian='expected' is the choice that linear models have",
    ),
    "damping": (
        "makes the curvature of a network definite, and that of {model} is inverted as it is",
        "Leave damping=None, and set the penalty in the estimator (alpha, C)",
    ),
    "resume": (
        "records the Kronecker factors of a network, and {model} has none",
        "Leave resume=None",
    ),
    "projection": (
        "shortens the embedding of a network, and that of {model} has one dimension a parameter",
        "Leave projection=None, and project what transform returns",
    ),
}


def check_target(target: Any) -> None:
    """Refuse a target of another name than those there are."""
    known = callable(target) or target in TARGETS
    if not known and not target.startswith("coef:"):
        raise ValueError(
            f"target={target!r} is none of 'loss', 'decision_function', 'proba', "
            "'params' and 'coef:NAME'. Name one of them, or pass a function of the outputs."
        )


def check_linear_options(model: Any, settings: SimpleNamespace) -> None:
    """Refuse what only networks have, and what only an iterative solver has."""
    name = type(model).__name__
    for option, (what, instead) in _NETWORKS_ONLY.items():
        value = getattr(settings, option)
        if value is not None and value != 0:  # no decay and no damping are what there is
            raise ValueError(f"{option}={value!r} {what.format(model=name)}. {instead}.")
    if settings.solver not in ("auto", "dense", "cg"):
        raise ValueError(
            f"solver={settings.solver!r} is for networks, and the Hessian of {name} is "
            "factorised, or inverted by conjugate gradients. Use solver='auto', 'dense' or 'cg'."
        )
    for option in ("tol", "max_iter"):
        value = getattr(settings, option)
        if value is not None and settings.solver != "cg":
            raise ValueError(
                f"{option}={value!r} is about conjugate gradients, and solver="
                f"{settings.solver!r} does not promise them for {name}. Leave {option}=None, or "
                "set solver='cg'."
            )


def given_iteration(settings: SimpleNamespace) -> dict[str, Any]:
    """What the user asked of conjugate gradients, ``tol`` and ``max_iter``."""
    given = {"tol": settings.tol, "max_iter": settings.max_iter}
    return {name: value for name, value in given.items() if value is not None}
