"""Which estimators can be read, and by what."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.objectives.problem import LinearFit
from skinfluence.reasons import message_of

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """Training rows as the estimator saw them.

    Parameters
    ----------
    X : ndarray or sparse array of shape (n, p)
        float64.
    y : ndarray of shape (n,) or (n, n_outputs)
        Labels or targets as the user passed them.
    sample_weight : ndarray of shape (n,)
        Ones where there were none.
    smoothing : float or None, default=None
        Temperature of losses with kinks (hinge, epsilon-insensitive, pinball), in the units of
        the margin or of the targets; None leaves it to the reader.
    """

    X: Any
    y: Any
    sample_weight: Array
    smoothing: float | None = None

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.X.shape[0]


class Reader(ABC):
    """Reads off a fitted estimator what it minimised: one reader a family.

    To support one more estimator, write a reader and register it; every law of the test suite
    then runs on it.

    Attributes
    ----------
    estimators : tuple of type
        The classes it reads. A subclass is read too, unless it overrides ``fit``.
    quadratic : bool
        Whether the objective is a quadratic function of the parameters, so that a Newton step
        ends where a refit does.
    """

    estimators: tuple[type, ...] = ()
    quadratic: bool = False

    def check(self, estimator: Any) -> None:  # noqa: B027 (most readers refuse nothing)
        """Refuse an estimator, fitted or not, whose options have no objective to differentiate."""

    @abstractmethod
    def encode(self, estimator: Any, y: Any) -> list[Any]:
        """Targets of any rows for each problem, as its loss takes them.

        Labels that training did not see, and targets outside the loss's domain, are refused.
        """

    @abstractmethod
    def read(self, estimator: Any, rows: Rows) -> LinearFit:
        """What the fitted `estimator` minimised over `rows`."""


_READERS: dict[type, Reader] = {}


def register(reader: Reader) -> Reader:
    """Make a reader known."""
    for estimator in reader.estimators:
        _READERS[estimator] = reader
    return reader


def registered() -> dict[type, Reader]:
    """All estimator classes that can be read."""
    return dict(_READERS)


def reader_of(estimator: Any) -> Reader:
    """The reader of an estimator, or an error that says why there is none."""
    for cls in type(estimator).__mro__:
        if cls in _READERS:
            if getattr(type(estimator), "fit", None) is not getattr(cls, "fit", None):
                raise UnsupportedEstimatorError(
                    message_of(estimator, by_name=True)
                    or f"{type(estimator).__name__} overrides the fit of {cls.__name__}, so its "
                    "objective is not known. Register a Reader for it (see the documentation, "
                    "'Add an estimator'), or pass the estimator that it wraps."
                )
            return _READERS[cls]
    known = message_of(estimator)
    if known is not None:
        raise UnsupportedEstimatorError(known)
    names = ", ".join(sorted(cls.__name__ for cls in _READERS))
    raise UnsupportedEstimatorError(
        f"{type(estimator).__name__} is no estimator whose objective is known. InfluenceExplainer "
        f"reads {names}, MLPClassifier, MLPRegressor, torch modules, skorch nets, support "
        "vector machines, models that are closed forms of their rows, and pipelines and searches "
        "around them. For densities see KDEInfluence, GMMInfluence and KNNInfluence."
    )
