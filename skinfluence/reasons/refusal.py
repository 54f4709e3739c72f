"""What a refusal says, and which refusal belongs to which estimator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sklearn.base import is_classifier


@dataclass(frozen=True)
class Refusal:
    """Estimators that are refused for one reason.

    Parameters
    ----------
    names : tuple of str
        Names of the classes, or of bases that they share. Names and not classes, so that a class
        that this version of scikit-learn does not have, or a package that is not installed, is no
        error.
    reason : str
        What follows "... is refused because".
    alternative : str
        The nearest thing that is explained: whole sentences. ``{kind}`` stands for "Classifier"
        or "Regressor".
    """

    names: tuple[str, ...]
    reason: str
    alternative: str

    def instead_of(self, estimator: Any) -> str:
        """The alternative to one estimator."""
        kind = "Classifier" if _classifies(estimator) else "Regressor"
        return self.alternative.format(kind=kind)


_BY_NAME: dict[str, Refusal] = {}
# Of whatever has no entry of its own: what it can do says what it is.
_BY_NATURE: list[tuple[Callable[[Any], bool], Refusal]] = []


def register(refusal: Refusal, applies: Callable[[Any], bool] | None = None) -> Refusal:
    """Make a refusal known: for its names, and for all other estimators that it applies to."""
    for name in refusal.names:
        if name in _BY_NAME:
            raise ValueError(f"{name} has two reasons to be refused. Leave it one.")
        _BY_NAME[name] = refusal
    if applies is not None:
        _BY_NATURE.append((applies, refusal))
    return refusal


def reasons() -> dict[str, Refusal]:
    """All refusals, by the names of the classes."""
    return dict(_BY_NAME)


def reason_of(estimator: Any, *, by_name: bool = False) -> Refusal | None:
    """Why `estimator` is refused; None where nothing is known about it.

    A subclass is refused for the reason of its nearest base, and, unless `by_name`, a stranger
    for what it can do.
    """
    for cls in type(estimator).__mro__:
        if cls.__name__ in _BY_NAME:
            return _BY_NAME[cls.__name__]
    if not by_name:
        for applies, refusal in _BY_NATURE:
            if applies(estimator):
                return refusal
    return None


def message_of(estimator: Any, *, by_name: bool = False) -> str | None:
    """The sentences that refuse `estimator`; None where :func:`reason_of` knows nothing."""
    refusal = reason_of(estimator, by_name=by_name)
    if refusal is None:
        return None
    name = type(estimator).__name__
    return f"{name} is refused because {refusal.reason}. {refusal.instead_of(estimator)}"


def _classifies(estimator):
    try:
        return is_classifier(estimator)
    except (AttributeError, TypeError, ValueError):  # no estimator of scikit-learn's kind
        return False
