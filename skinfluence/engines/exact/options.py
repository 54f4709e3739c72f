"""Parameters of InfluenceExplainer that models with exact deletions do not have."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from skinfluence.deletion.closed.base import Family
from skinfluence.deletion.closed.heads import Head
from skinfluence.deletion.closed.latent import RECONSTRUCTION
from skinfluence.exceptions import UnsupportedEstimatorError

TARGETS = ("loss", "decision_function", "proba")
# What InfluenceExplainer has where nothing was asked.
_DEFAULTS = {
    "hessian": "observed",
    "class_weights": "recompute",
    "relative": None,
    "smoothing": None,
    "solver": "auto",
    "loss": None,
    "weight_decay": None,
    "params": None,
    "curvature": None,
    "damping": None,
    "tol": None,
    "max_iter": None,
    "projection": None,
    "resume": None,
}


def check_exact_options(model: Any, family: Family, settings: SimpleNamespace) -> None:
    """Refuse options that mean something only where there is a Hessian, and unknown targets."""
    name = type(model).__name__
    _check_target(name, family, settings.target)
    if settings.method not in ("auto", "refit") and "method" not in family.options:
        raise ValueError(
            f"method={settings.method!r} approximates a deletion, and those of {name} are exact. "
            "Leave method='auto', or set method='refit' to fit it again without every row."
        )
    for option, default in _DEFAULTS.items():
        value = getattr(settings, option)
        if option not in family.options and (isinstance(value, bool) or value != default):
            raise ValueError(
                f"{option}={value!r} is about derivatives of a loss, and deletions of {name} are "
                f"exact without them. Leave {option}={default!r}."
            )
    if settings.smoothing is not None and settings.method not in ("first_order", "newton"):
        raise ValueError(
            f"smoothing={settings.smoothing!r} rounds the kinks of a loss off, and deletions with "
            f"method={settings.method!r} are exact with its kinks. Leave smoothing=None, or set "
            "method='first_order' or 'newton', which approximate them."
        )


def _check_target(name, family, target):
    if callable(target) or target in TARGETS:
        return
    if target == RECONSTRUCTION:
        if family.reconstructs:
            return
        raise ValueError(
            f"target={target!r} is how far a row is from its reconstruction, and {name} does not "
            "reconstruct rows: PCA and FactorAnalysis do. Use target='loss'."
        )
    if target == "params" or target.startswith("coef:"):
        raise UnsupportedEstimatorError(
            f"target={target!r} is about parameters, and {name} is followed by what it answers, "
            "not by its parameters. Use target='loss' or 'decision_function'."
        )
    raise ValueError(
        f"target={target!r} is none of 'loss', 'decision_function' and 'proba'. Name one of them, "
        "or pass a function of the outputs."
    )


def check_answers(model: Any, head: Head, target: Any) -> None:
    """Refuse a target that the fitted model has no method for."""
    name = type(model).__name__
    if target == "proba" and hasattr(model, "probability"):
        raise ValueError(
            f"target='proba' needs probabilities, and those of {name} come from another model, "
            "Platt's logistic curve over its decisions, fitted by a cross-validation whose folds "
            "move with a row. Use target='decision_function'."
        )
    if target == "proba" and not head.has_proba:
        raise ValueError(
            f"target='proba' needs probabilities of classes, which {name} has not. Use "
            "target='loss'."
        )
    if target == "decision_function" and not head.has_decision:
        other = "'proba' or 'loss'" if head.has_proba else "'loss'"
        raise ValueError(
            f"target='decision_function' asks for what {name} does not have. Use target={other}."
        )
