"""Parameters of InfluenceExplainer as networks have them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

# Curvatures by name whose fit can be resumed.
RESUMED = ("kfac", "ekfac")
TARGETS = ("loss", "decision_function", "proba", "params")

# What only linear models have: its value where it is not asked for, and what to do instead.
_LINEAR_ONLY = {
    "hessian": ("observed", "the choice of a network's curvature is curvature="),
    "class_weights": (
        "recompute",
        "the classes of a network are weighted by its loss or by sample_weight",
    ),
    "smoothing": (None, "the loss of a network is taken as it is; pass a smooth one"),
}


def check_options(model: Any, settings: SimpleNamespace) -> None:
    """Refuse what networks do not have, and what does not go together."""
    name = type(model).__name__
    for option, (default, instead) in _LINEAR_ONLY.items():
        value = getattr(settings, option)
        if value != default:
            raise ValueError(
                f"{option}={value!r} is about linear models, and {name} is a network: {instead}. "
                f"Leave {option}={default!r}."
            )
    _check_target(settings.target)
    _check_method(settings, name)
    _check_resume(settings)


def _check_target(target):
    known = callable(target) or target in TARGETS
    if not known and not target.startswith("coef:"):
        raise ValueError(
            f"target={target!r} is none of 'loss', 'decision_function', 'proba', 'params' and "
            "'coef:NAME'. Name one of them, or pass a function of the outputs."
        )


def _check_method(settings, name):
    if settings.method == "refit":
        raise ValueError(
            f"method='refit' retrains without every row, and {name} has no training that can be "
            "repeated a thousand times. Use method='first_order' or 'newton', and "
            "validate(X, y, retrain=...) for real retraining without a few rows."
        )
    if settings.method != "newton" or settings.curvature in (None, "ggn"):
        return
    if settings.curvature == "hessian":
        raise ValueError(
            "method='newton' needs a curvature that stays positive without a row, and the Hessian "
            "of a network often does not: its steps are wrong by 100 % and more where the "
            "Gauss-Newton step is not. Use curvature='ggn' or method='first_order'."
        )
    raise ValueError(
        f"method='newton' takes each row's own curvature out of the Gauss-Newton matrix, and "
        f"curvature={settings.curvature!r} is another. Use curvature='ggn' or "
        "method='first_order'."
    )


def _check_resume(settings):
    if settings.resume is None or settings.curvature in RESUMED:
        return
    instead = "Leave resume=None, or use curvature='ekfac'."
    if callable(settings.curvature):
        instead = "Pass it to the curvature: functools.partial(Ekfac, resume=...)."
    raise ValueError(
        f"resume={str(settings.resume)!r} records the sums over rows that Kronecker factors are "
        f"made of, and curvature={settings.curvature!r} is not known to have any. {instead}"
    )


def about_parameters(target: Any) -> bool:
    """Whether a target is the parameters themselves."""
    return isinstance(target, str) and (target == "params" or target.startswith("coef:"))


def unit(settings: SimpleNamespace) -> str:
    """What a score is measured in."""
    target, relative = settings.target, settings.relative
    named = "parameter" if about_parameters(target) else target
    found = "target" if callable(target) else named
    return found if relative is None else f"{found} a unit of change of the {relative}"
