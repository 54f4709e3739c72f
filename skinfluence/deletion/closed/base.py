"""The contract of models whose deletions are exact, and the registry of their families.

To support one more estimator, write two classes and register the second:

- an :class:`ExactModel` holds what a fitted model was made of, and says what the *outputs* at
  queries are, with all rows (``outputs``) and without some of them (``without``). What an output
  is, a family chooses: the prediction of a regressor, the log joint density of each class, the
  log density;
- a :class:`Family` names the estimators, refuses options that it cannot follow, reads an
  ExactModel off a fitted one, and says how the estimator's own public methods give the same
  outputs. That is the truth: ``validate``, groups and whatever has no closed form come from it.

What a score is a change of (the loss, a decision, a probability) is a function of the outputs and
is written once, in a :class:`~skinfluence.deletion.closed.heads.Head`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils.validation import has_fit_parameter

from skinfluence.deletion.closed.meetings import EVERY, OWN, Meeting
from skinfluence.deletion.closed.replaced.base import NewRows, Replaced
from skinfluence.deletion.closed.rows import TrainingRows
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.reasons import message_of

Array = NDArray[np.float64]
Positions = NDArray[np.intp]
# Outputs with a query, a deletion and an output in this order, to values of the first two.
Evaluate = Callable[[Array], Array]

# Numbers of a block of outputs: what stays in the cache is not fetched twice.
TILE = 2**20
# Deleted rows of a block, so that products with a block of queries are neither tall nor wide.
ROWS = 2048


class ExactModel(ABC):
    """A fitted model, and the models without each of its rows.

    Conventions: queries come first, deletions second, outputs last. A class that a deletion
    leaves without rows has the log joint density -inf, as if it had prior probability 0.

    Attributes
    ----------
    n_train : int
    n_outputs : int
    method : str
        "exact" for closed forms, "refit" where the estimator is fitted again.
    alone : ndarray of int
        Rows without which there is no such model, or not one of all classes.
    row_block, replaced_block : int
        How many rows are deleted, or become others, together.
    complex_rows : bool
        Whether :meth:`replace` takes complex rows, so that a step along the imaginary axis is a
        derivative.
    without_an_end : bool
        Whether models for which nothing can be fitted are still where their way ended.
    flaw : str
        What is wrong with the models without `alone`, to end a sentence that names it.
    linear : bool
        Whether values change along their gradients, from the outputs of the fitted model to those
        without a row; otherwise they are evaluated there.
    temperature : float
        Of losses that were smoothed, whose gradients these are then.
    stationarity : tuple of float, or None
        How far the fit was from its optimum, and what is left where scores are computed; None
        where that is how far its answers are from the model's.
    """

    n_train: int
    n_outputs: int
    method: str = "exact"
    complex_rows: bool = False
    without_an_end: bool = False
    linear: bool = False
    temperature: float = 0.0
    stationarity: tuple[float, float] | None = None
    alone: Positions = np.empty(0, dtype=np.intp)
    flaw: str = (
        "is not determined, or a class has no rows. Their scores are those of a model without "
        "that class, or infinite."
    )

    @property
    def row_block(self) -> int:
        """How many rows are deleted together."""
        return ROWS

    @property
    def replaced_block(self) -> int:
        """How many new rows take the place of others together."""
        return self.row_block

    def floats_a_query(self, n_rows: int) -> int:
        """Numbers that a query keeps alive while it meets `n_rows` deletions."""
        return 3 * n_rows * self.n_outputs

    @abstractmethod
    def outputs(self, X: Any) -> Array:
        """Outputs of the fitted model, (n_queries, n_outputs)."""

    def delete(self, rows: Positions) -> Any:
        """State of the models without each of `rows`; by default, the positions."""
        return rows

    @abstractmethod
    def without(self, X: Any, deleted: Any, meeting: Meeting) -> Array:
        """Outputs of the models without each row that was deleted.

        (n_queries, n_rows, n_outputs), or (n_rows, n_outputs) where `meeting` is OWN and query j
        meets the model without row j.
        """

    def idle(self, rows: Positions) -> NDArray[np.bool_]:
        """Which deletions change nothing at all, so that scores are 0 and no rounding of it."""
        return np.zeros(len(rows), dtype=bool)

    def without_group(self, X: Any, rows: Positions) -> Array | None:
        """Outputs of the model without all of `rows`, (n_queries, n_outputs).

        None, as here, where the estimator is fitted again for that.
        """
        return None

    def replace(self, new: NewRows) -> Replaced | None:
        """The models that each of some new rows would have made.

        None, as here, where the estimator is fitted again for each.
        """
        return None

    def slopes(self, X: Any, rows: Positions, features: Positions) -> Array | None:
        """Derivatives of the outputs in some features of some training rows.

        (n_queries, n_rows, n_features, n_outputs), fitted again all along the way. None, as here,
        where they are read off the models of :meth:`replace`.
        """
        return None

    def change(self, X: Any, deleted: Any, before: Array, evaluate: Evaluate) -> Array:
        """Change of a value of the outputs, (n_queries, n_rows).

        Parameters
        ----------
        X : ndarray or sparse array of shape (n_queries, p)
        deleted : object
            From :meth:`delete`.
        before : ndarray of shape (n_queries,)
            The value at the fitted model.
        evaluate : callable
            Value of outputs of shape (n_queries, b, n_outputs).
        """
        return difference(evaluate(self.without(X, deleted, EVERY)), before[:, None])


def difference(after: Array, before: Array) -> Array:
    """``after - before``, 0 where both are the same infinity; overwrites `after`."""
    if np.isfinite(before).all():
        after -= before
        return after
    same = np.isinf(after) & (after == before)
    with np.errstate(invalid="ignore"):
        return np.where(same, 0.0, after - before)


def relative_difference(theirs: Array, ours: Array) -> float:
    """Largest difference of outputs over their largest spread; inf where shapes differ."""
    if theirs.shape != ours.shape:
        return np.inf
    finite = np.isfinite(theirs) & np.isfinite(ours)
    if (theirs[~finite] != ours[~finite]).any():
        return np.inf
    if not finite.any():
        return 0.0
    scale = np.abs(theirs[finite]).max() or 1.0
    return float(np.abs(theirs[finite] - ours[finite]).max() / scale)


class Family(ABC):
    """Estimators whose deletions are read in the same way.

    Attributes
    ----------
    estimators : tuple of type
        The classes it reads. A subclass is read too, unless it overrides ``fit``.
    supervised : bool
        Whether they have targets.
    sparse : bool
        Whether their rows may be sparse.
    same : float
        Relative difference of outputs up to which a closed form is taken to be the estimator's;
        above, the estimator's own refits are compared, and taken where they are nearer.
    other : float
        The difference that says that these rows did not train the estimator.
    reconstructs : bool
        Whether they give rows back from fewer numbers, so that the error of that is a target.
    options : frozenset of str
        Parameters of InfluenceExplainer, beside those of every model, that mean something here;
        ``check_options`` refuses the others.
    step : float
        Steps of differences of whole fits, relative to the spread of a column, where derivatives
        are found in no other way.
    predicts_apart : bool
        Whether ``predict`` may take another class than that of the largest output.
    """

    estimators: tuple[type, ...] = ()
    supervised: bool = True
    sparse: bool = False
    reconstructs: bool = False
    same: float = 1e-7
    other: float = 1e-3
    options: frozenset[str] = frozenset()
    step: float = 1e-2
    predicts_apart: bool = False

    def check(self, estimator: Any) -> None:  # noqa: B027 (most families refuse nothing)
        """Refuse an estimator, fitted or not, with options that cannot be followed."""

    def check_new(self, estimator: Any, rows: TrainingRows, new: NewRows) -> None:
        """Refuse new rows that cannot take the place of training rows."""
        if getattr(estimator, "kernel", None) == "precomputed":
            _check_same_inputs(estimator, rows.X[new.rows], new.X)

    def jumps(self, estimator: Any) -> str:
        """Why outputs are no smooth function of the training rows; empty, as here, if they are."""
        if getattr(estimator, "kernel", None) == "precomputed":
            return "has rows of a kernel matrix, which are no values of features"
        return ""

    def asked(self, settings: Any) -> Family:
        """The family, with what the explainer's `settings` ask of it."""
        return self

    @abstractmethod
    def head(self, estimator: Any) -> Any:
        """What the outputs of the fitted `estimator` mean: a ``Head``."""

    def read(self, estimator: Any, rows: TrainingRows, settings: Any) -> ExactModel | None:
        """Its closed form; None, as here, where there is none and deletions are refits."""
        return None

    @abstractmethod
    def outputs(self, estimator: Any, X: Any) -> Array:
        """Outputs by the estimator's own methods, (n_queries, n_outputs)."""

    def deviation(self, estimator: Any, rows: TrainingRows, theirs: Array, ours: Array) -> float:
        """How far the estimator's outputs at some training rows are from a model's, relatively."""
        return relative_difference(theirs, ours)

    def undetermined(self, estimator: Any, found: ExactModel) -> str:
        """What else than other rows makes its outputs differ from a model's; empty if nothing."""
        return ""

    def searches(self, estimator: Any) -> bool:
        """Whether the estimator chooses options of its own, which deletions hold fixed."""
        return False

    def fresh(self, estimator: Any, kept: Positions) -> Any:
        """Unfitted copy that holds fixed what deletions hold fixed, for the rows `kept`."""
        return clone(estimator)

    def refitted(self, estimator: Any, rows: TrainingRows, kept: Positions) -> Any:
        """`estimator` fitted to the rows `kept`."""
        left = rows.kept(kept)
        given = {} if left.weights is None else {"sample_weight": left.weights}
        return self.fresh(estimator, kept).fit(left.X, left.y, **given)

    def at_rest(self, estimator: Any, rows: TrainingRows) -> Any:
        """A fit to `rows` where its own iteration ends, as :meth:`refitted` gives them."""
        return estimator

    def seen_by(self, estimator: Any, X: Any, kept: Positions) -> Any:
        """Queries as a refit to the rows `kept` takes them: kernel matrices lose columns."""
        return X


def _check_same_inputs(estimator, before, after):
    """Other targets are all that rows of a kernel matrix can be given."""
    gap = abs(before - after).max()
    if gap > 1e-12 * (abs(before).max() or 1.0):
        raise UnsupportedEstimatorError(
            f'{type(estimator).__name__} has kernel="precomputed", and another row is another '
            "row and another column of its matrix, of which only the row was passed. Use a named "
            "or callable kernel, or leave X_new=None and pass other targets."
        )


_FAMILIES: dict[type, Family] = {}


def register(family: Family) -> Family:
    """Make a family known."""
    for estimator in family.estimators:
        _FAMILIES[estimator] = family
    return family


def registered() -> dict[type, Family]:
    """All estimator classes whose deletions are exact."""
    return dict(_FAMILIES)


def find_family(estimator: Any) -> Family | None:
    """The family of an estimator; None where it has none.

    Raises
    ------
    UnsupportedEstimatorError
        If it is a subclass with a ``fit`` of its own.
    """
    for cls in type(estimator).__mro__:
        if cls in _FAMILIES:
            if getattr(type(estimator), "fit", None) is not getattr(cls, "fit", None):
                raise UnsupportedEstimatorError(
                    message_of(estimator, by_name=True)
                    or f"{type(estimator).__name__} overrides the fit of {cls.__name__}, so what "
                    "a deletion does to it is not known. Register a Family for it, or pass the "
                    "estimator that it wraps."
                )
            return _FAMILIES[cls]
    return None


def takes_weights(estimator: Any) -> bool:
    """Whether ``fit`` has a parameter ``sample_weight``."""
    return has_fit_parameter(estimator, "sample_weight")


def by_blocks(function: Callable[[slice], Array], n: int, size: int) -> Array:
    """Results of a function of slices of n rows, one below the other."""
    size = max(1, size)
    return np.concatenate([function(slice(a, min(a + size, n))) for a in range(0, n, size)])


__all__ = [
    "EVERY",
    "OWN",
    "ROWS",
    "TILE",
    "Array",
    "ExactModel",
    "Family",
    "Meeting",
    "NewRows",
    "Positions",
    "Replaced",
    "TrainingRows",
    "by_blocks",
    "difference",
    "find_family",
    "register",
    "registered",
    "takes_weights",
]
