"""Parameters of the explainer that gradient tracing has, and what does not go together."""

from __future__ import annotations

from numbers import Integral
from types import SimpleNamespace
from typing import Any

from skinfluence.checkpoints import Checkpoints, as_checkpoints
from skinfluence.torch.influence.projection import TwoSided
from skinfluence.torch.tracing.drawing import check_draws

TARGETS = ("loss", "decision_function", "proba")
# Of scores whose steps are not known to be the optimiser's.
PRODUCTS = "learning rate x gradient product"


def check_options(settings: SimpleNamespace) -> None:
    """Refuse what cannot be asked, and what does not go together."""
    target = settings.target
    if not callable(target) and target not in TARGETS:
        raise ValueError(
            f"target={target!r} is none of 'loss', 'decision_function' and 'proba', whose change "
            "along the path of training can be traced. Name one of them, or pass a function of "
            "the outputs."
        )
    if settings.preconditioner not in (None, "optimizer"):
        raise ValueError(
            f"preconditioner={settings.preconditioner!r} is neither None nor 'optimizer'. Pass "
            "one of them."
        )
    if settings.preconditioner and isinstance(settings.projection, TwoSided):
        raise ValueError(
            "preconditioner='optimizer' scales every entry of a gradient, and projection=TwoSided "
            "never forms one. Pass a number of dimensions as projection, or preconditioner=None."
        )
    check_draws(settings.n_draws)
    n = settings.n_checkpoints
    if n is not None and (isinstance(n, bool) or not isinstance(n, Integral) or n < 1):
        raise ValueError(
            f"n_checkpoints={n!r} is no number of checkpoints. Pass an integer from 1 on, or None "
            "for all."
        )


def checkpoints_of(model: Any, settings: SimpleNamespace) -> Checkpoints:
    """Checkpoints as they were asked for, else the model's own, else what it is now."""
    asked = settings.checkpoints
    if asked is None:
        asked = getattr(model, "checkpoints_", None)
    found = as_checkpoints([model] if asked is None else asked, model)
    n = settings.n_checkpoints
    if n is None or n == len(found):
        return found
    if n > len(found):
        raise ValueError(
            f"n_checkpoints={n}, and there are {len(found)}. Record more of them, or leave "
            "n_checkpoints=None."
        )
    return found.evenly(int(n))


def unit(settings: SimpleNamespace, checkpoints: Checkpoints) -> str:
    """What a score is measured in.

    Sums over the rows are changes of the target where the steps of the optimiser are known and
    are those that gradients are multiplied with.
    """
    follows = checkpoints.plain or settings.preconditioner == "optimizer"
    if settings.learning_rates is not None or not follows:
        return PRODUCTS
    return "target" if callable(settings.target) else str(settings.target)
