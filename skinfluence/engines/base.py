"""What explainers ask of influence on one kind of fitted model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from skinfluence import attribution
from skinfluence._output import few
from skinfluence._peel import target_to_model_space
from skinfluence.attribution import Block
from skinfluence.engines.changes import ChangedRows
from skinfluence.metrics import Agreement
from skinfluence.metrics._rows import take_rows

Array = NDArray[np.float64]
Positions = NDArray[np.intp]


@dataclass(frozen=True)
class Whole:
    """Everything around a model, for refits of pipelines and searches.

    Parameters
    ----------
    estimator : estimator
        The fitted estimator that the user handed over.
    X, y : object
        Its training rows and targets, untransformed.
    queries : object
        Queries, untransformed.
    """

    estimator: Any
    X: Any
    y: Any
    queries: Any


def check_columns(owner: Any) -> None:
    """Refuse training rows whose columns are not those that the estimator was fitted on.

    Parameters
    ----------
    owner : BaseInfluence
        After ``validate_data`` of the rows; its ``estimator_`` is fitted.
    """
    theirs = getattr(owner.estimator_, "feature_names_in_", None)
    ours = getattr(owner, "feature_names_in_", None)
    if theirs is not None and ours is not None and list(theirs) != list(ours):
        raise ValueError(
            f"The columns of X are {few(ours)}, and {type(owner.estimator_).__name__} was fitted "
            f"on {few(theirs)}. Pass the rows it was fitted on, their columns in the same order."
        )


class Engine(ABC):
    """Influence on one kind of fitted model: what an explainer hands its questions to.

    The explainer peels, clones and fits what the user passed, keeps labels and frames; the engine
    knows the model. Its class methods are asked before there is an engine, :meth:`fit` makes one,
    and the others ask it.

    Conventions. An engine never holds the explainer. Scores are a value after a deletion minus
    before, queries first and training rows second, in float64 on the CPU, never NaN. Queries are
    whatever :meth:`queries` returns: an object with ``shape[0]`` that can be sliced.

    Attributes
    ----------
    model : object
        The fitted model, behind everything that was peeled off.
    settings : SimpleNamespace
        The explainer's constructor parameters as they were at fit, ``estimator`` apart.
    y : object
        Targets of the training rows in model space.
    n_train : int
        Number of training rows.
    method : str
        The method in use.
    score_unit : str
        What a score is measured in.
    embeds : bool
        Whether rows have an embedding.
    about_parameters : bool
        Whether the target is the parameters, which no query has: queries are then asked for
        without rows.
    """

    model: Any
    settings: SimpleNamespace
    y: Any
    n_train: int
    method: str
    score_unit: str
    embeds: bool = True
    about_parameters: bool = False

    # -- before there is a fit --------------------------------------------------------------------

    @classmethod  # noqa: B027 (most tags are the model's own)
    def refine_tags(cls, tags: Any, model: Any) -> None:
        """Correct scikit-learn's tags of the explainer, which are those of the model inside."""

    @classmethod
    @abstractmethod
    def check(cls, model: Any, settings: SimpleNamespace) -> None:
        """Refuse a model, fitted or not, that cannot be read, and options it does not have."""

    @classmethod
    def needs_y(cls, X: Any, settings: SimpleNamespace) -> bool:
        """Whether training rows `X` need targets beside them."""
        return True

    @classmethod
    @abstractmethod
    def model_rows(cls, owner: Any, heads: Sequence[Any], X: Any, *, reset: bool) -> Any:
        """Rows as the model sees them: an object with ``shape[0]``.

        Parameters
        ----------
        owner : InfluenceExplainer
            Whose ``n_features_in_`` and ``feature_names_in_`` are set or compared, as in
            ``validate_data``. Its ``estimator_`` is fitted.
        heads : sequence of Pipeline
            Fitted transformers before the model, outermost first.
        X : object
            As the user has them.
        reset : bool
            True for training rows, False for queries.
        """

    @classmethod
    def kept_targets(cls, y: Any) -> Any:
        """A copy of the user's targets: refits look at them again, whatever happens to them."""
        return np.array(y)

    @classmethod
    def model_targets(cls, estimator: Any, y: Any) -> Any:
        """Targets as the model inside the fitted `estimator` sees them."""
        return target_to_model_space(estimator, np.asarray(y))

    @classmethod
    def take(cls, X: Any, y: Any, positions: Positions) -> tuple[Any, Any]:
        """Some of the user's training rows and of their :meth:`kept_targets`."""
        return take_rows(X, positions), take_rows(y, positions)

    @classmethod
    @abstractmethod
    def fit(
        cls,
        model: Any,
        rows: Any,
        y: Any,
        sample_weight: Any,
        settings: SimpleNamespace,
        *,
        feature_names: Sequence[str] | None,
    ) -> Self:
        """Take the derivatives of a fitted model.

        Parameters
        ----------
        model : object
            The fitted model.
        rows : object
            Training rows as :meth:`model_rows` made them.
        y : object
            Their targets as :meth:`model_targets` made them, or None.
        sample_weight : array-like of shape (n_train,) or None
            As the user passed them, unchecked.
        settings : SimpleNamespace
        feature_names : sequence of str or None
            One a column of the rows in model space; None where rows have no columns.
        """

    def attributes(self) -> dict[str, Any]:
        """Fitted attributes that the explainer shows, by name."""
        return {"method_": self.method, "score_unit_": self.score_unit}

    def report(self) -> dict[str, Any]:
        """How the scores were reached so far."""
        return {"method": self.method}

    # -- scores -----------------------------------------------------------------------------------

    @abstractmethod
    def queries(self, rows: Any, y: Any) -> Any:
        """Queries, from rows and targets in model space.

        Rows are None to ask about parameters; to ask about anything else without rows, or about
        parameters with them, is refused.
        """

    def query_names(self) -> Any:
        """Labels of queries that are no rows, (n_queries,); None for rows."""
        return None

    @abstractmethod
    def tiles(
        self, queries: Any, *, n_jobs: int | None, progress: bool, desc: str
    ) -> Iterator[Block]:
        """Blocks of scores, as :func:`skinfluence.attribution.blocks` yields them."""

    def over_queries(
        self, queries: Any, reduce: str, *, n_jobs: int | None, progress: bool
    ) -> Array:
        """Sum or mean of the scores over the queries, (n_train,)."""
        tiles = self.tiles(queries, n_jobs=n_jobs, progress=progress, desc="score_influence")
        return attribution.over_queries(tiles, queries.shape[0], self.n_train, reduce)

    @abstractmethod
    def self_influence(
        self, rows: Positions | None, *, n_jobs: int | None, progress: bool
    ) -> Array:
        """Influence of the training rows at these positions (None: all) on their own value."""

    def suspicion(self, self_influence: Array) -> Array:
        """What rows are ranked by as outliers, largest first."""
        # Of an output either sign says that the row is held by itself.
        return self_influence if self.settings.target == "loss" else np.abs(self_influence)


class DeletionEngine(ChangedRows, Engine):
    """Deletions of rows of one kind of fitted model: what InfluenceExplainer asks beyond scores.

    Attributes
    ----------
    stationarity : tuple of float
        Relative gradient at the parameters that were passed, and where scores are computed.
    n_iter : int
        Iterations that it took to get there, at least 1: scikit-learn wants that of whatever has
        a ``max_iter``.
    param_names : ndarray of str of shape (n_params,)
        Columns of :meth:`d_params`.
    """

    stationarity: tuple[float, float]
    n_iter: int = 1
    param_names: NDArray[Any]

    def attributes(self) -> dict[str, Any]:
        return {
            **super().attributes(),
            "stationarity_": self.stationarity,
            "n_iter_": self.n_iter,
            "param_names_": self.param_names,
        }

    def report(self) -> dict[str, Any]:
        return {**super().report(), "stationarity": self.stationarity}

    # -- groups -----------------------------------------------------------------------------------

    def check_groups(self, names: Any, members: Sequence[Positions]) -> None:
        """Refuse groups that name a row twice, or without which there is no model."""
        for name, rows in zip(names, members, strict=True):
            if len(np.unique(rows)) < len(rows):
                raise ValueError(
                    "A group names a training row twice, and a row can be deleted only once. Pass "
                    "np.unique of its positions."
                )
            if self.nothing_left(rows):
                raise ValueError(
                    f"Group {name} of {len(rows)} rows holds all that carry weight, or all of a "
                    "class, and without it there is no model. Leave some of them out of it."
                )

    def nothing_left(self, rows: Positions) -> bool:
        """Whether there is no model without `rows`, each of which is named once."""
        return len(rows) == self.n_train

    @abstractmethod
    def score_groups(
        self, queries: Any, names: Any, members: Sequence[Positions], *, progress: bool
    ) -> Array:
        """Change at each query when a group is deleted together, (n_queries, n_groups).

        Without queries, the sum over the group's own rows of how their values change, (n_groups,).
        """

    @abstractmethod
    def d_params(self) -> Array:
        """``theta_hat - theta_{-i}``, (n_train, n_params)."""

    # -- embedding --------------------------------------------------------------------------------

    @abstractmethod
    def embed(self, rows: Any) -> Array:
        """``L^-1 g_z`` of a target that needs no y, (n_queries, width), with H = L L'."""

    @abstractmethod
    def train_embedding(self, out: Any = None) -> Any:
        """``L^-1 gbar_i`` of what each deletion takes away, (n_train, width); `out` if given."""

    @abstractmethod
    def embedding_width(self) -> int:
        """Number of columns of both."""

    # -- diagnostics and truth --------------------------------------------------------------------

    @abstractmethod
    def diagnostics(self, row_labels: Any) -> list[Any]:
        """Classical diagnostics of regression, one for each problem that the model solves."""

    @abstractmethod
    def leverage(self) -> Array:
        """How strongly each row moves the fit, (n_train,): which rows ``validate`` refits."""

    @property
    def searches(self) -> bool:
        """Whether the bare model chooses options of its own, as LassoCV does."""
        return False

    @abstractmethod
    def agreement(
        self,
        queries: Any,
        query_rows: Any,
        rows: Positions,
        *,
        whole: Whole | None,
        retrain: Callable[[Positions], Any] | None = None,
    ) -> Agreement:
        """Agreement of scores with real refits.

        Parameters
        ----------
        queries : object
            From :meth:`queries`.
        query_rows : object
            The rows that they were made of, in model space; None where there were none.
        rows : ndarray of int
            Which training rows to delete.
        whole : Whole or None
            What to refit where it is not the model alone.
        retrain : callable or None
            The user's own way to train on the rows at some positions.
        """
