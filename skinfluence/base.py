"""The template that every explainer follows."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from numbers import Integral
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.validation import check_is_fitted, validate_data

from skinfluence import attribution
from skinfluence._compat import HasMethods, routing_enabled
from skinfluence._output import labelled, row_labels
from skinfluence._peel import clone_with_seed, is_fitted, peel, to_model_space, weight_key
from skinfluence.exceptions import UnsupportedEstimatorError


@contextlib.contextmanager
def all_or_nothing(estimator):
    """Restore the attributes of `estimator` if the block fails or is interrupted."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


class BaseInfluence(BaseEstimator, ABC):
    """Template of the explainers: fit an estimator, then attribute to its training rows.

    Conventions. Queries come first and training rows second: a score matrix has shape
    (n_queries, n_train). A score is a value *after* deleting the training row minus the value
    before; where ``score_unit_ == "loss"`` the value is the query's loss, so that a positive
    score marks a proponent. There is no hidden 1/n.

    ``fit`` explains a fitted estimator as it is and fits a clone of an unfitted one; the object
    passed is never changed. A fit that fails or is interrupted leaves the explainer as it was.

    Subclasses write the five abstract methods.
    """

    _parameter_constraints: dict = {
        "estimator": [None, HasMethods(["fit"])],
        "n_jobs": [None, Integral],
        "progress": ["boolean"],
        "random_state": ["random_state"],
    }
    _accept_sparse: bool | str = False

    # -- what a subclass writes -------------------------------------------------------------

    @abstractmethod
    def _default_estimator(self):
        """Estimator that stands for ``estimator=None``."""

    @abstractmethod
    def _check_model(self, model):
        """Refuse a model, fitted or not, that this explainer cannot read."""

    @abstractmethod
    def _explain(self, model, rows, y, sample_weight):
        """Build the fitted state from the fitted `model` and its rows in model space."""

    @abstractmethod
    def _tiles(self, queries, desc):
        """Blocks of scores, as :func:`skinfluence.attribution.blocks` yields them."""

    @abstractmethod
    def _self_influence(self):
        """Self influence of the training rows as a plain array."""

    def _report(self):
        """How the scores were reached."""
        return {}

    # -- fitting ----------------------------------------------------------------------------

    def _fit(self, X, y=None, sample_weight=None):
        with all_or_nothing(self):
            given = self._default_estimator() if self.estimator is None else self.estimator
            if isinstance(given, type):
                raise UnsupportedEstimatorError(
                    f"estimator is the class {given.__name__}, and an instance is needed. "
                    f"Write {given.__name__}()."
                )
            heads, model = peel(given)
            self._check_model(model)
            passed = X
            if not heads:
                X = self._rows_before_fit(X)
            fitted = is_fitted(given)
            self.estimator_ = given if fitted else self._fit_clone(given, X, y, sample_weight)
            self._heads, self._model = peel(self.estimator_)
            self._raw_rows = X
            if self._heads:
                self._adopt_features()
            X = self._training_rows(X)
            self.train_index_ = row_labels(passed, X.shape[0])
            self.n_samples_fit_ = X.shape[0]
            self._explain(self._model, X, y, sample_weight)
        return self

    def _rows_before_fit(self, X):
        return validate_data(self, X, **self._validation(), ensure_min_samples=2)

    def _training_rows(self, X):
        return self._behind_heads(X) if self._heads else X

    def _behind_heads(self, X):
        return to_model_space(self._heads, X, accept_sparse=self._accept_sparse)

    def _validation(self):
        # A copy: scores must not follow what the user does to the rows after fit.
        return {"dtype": np.float64, "accept_sparse": self._accept_sparse, "copy": True}

    def _fit_clone(self, estimator, X, y, sample_weight):
        copy = clone_with_seed(estimator, self.random_state)
        if sample_weight is None:
            return copy.fit(X, y)  # FrozenEstimator insists on y, None or not
        if routing_enabled():
            routed = process_routing(self, "fit", sample_weight=sample_weight)
            return copy.fit(X, y, **routed.estimator.fit)
        return copy.fit(X, y, **{weight_key(estimator): sample_weight})

    def _adopt_features(self):
        # Behind a pipeline the columns are the pipeline's business, and so are their names.
        for name in ("n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)
            with contextlib.suppress(AttributeError):
                setattr(self, name, getattr(self.estimator_, name))

    def __sklearn_is_fitted__(self):
        return hasattr(self, "n_samples_fit_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = bool(self._accept_sparse)
        return tags

    def _queries(self, X, y=None):
        """Queries in model space."""
        return self._model_rows(X)

    def _model_rows(self, X):
        check_is_fitted(self)
        if not self._heads:
            return validate_data(self, X, reset=False, **self._validation())
        return self._behind_heads(X)

    # -- influence --------------------------------------------------------------------------

    def score_influence(
        self,
        X: ArrayLike,
        y: Any = None,
        *,
        out: Any = None,
        reduce: Literal["mean", "sum"] | None = None,
        return_report: bool = False,
    ) -> Any:
        """Influence of every training row on each query.

        ``scores[z, i]`` is the loss at query z after deleting training row i minus the loss
        before: positive for *proponents* of z, negative for *opponents*.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Queries, in the same columns as the training rows.
        y : array-like of shape (n_queries,), default=None
            Targets of the queries, where the loss has any; densities ignore it.
        out : array-like of shape (n_queries, n_train), default=None
            Where to write the scores: an array, a memmap, or anything with slice assignment.
            If the call is interrupted, any part of it may have been written.
        reduce : {None, "mean", "sum"}, default=None
            Mean or sum over the queries, computed without the matrix.
        return_report : bool, default=False
            Also return how the scores were reached.

        Returns
        -------
        scores : ndarray of shape (n_queries, n_train), or (n_train,) with `reduce`
            In the unit of ``score_unit_``; may be infinite, never NaN. `out` itself where it was
            given, else a frame labelled by ``train_index_`` where ``set_output`` asks for one.
        report : dict
            Only with `return_report`: the method and the rows to distrust.

        Raises
        ------
        ValueError
            If the columns differ from the training rows', `out` has the wrong shape, `reduce` is
            unknown, or `out` and `reduce` are combined.
        """
        if reduce not in (None, "mean", "sum"):
            raise ValueError(
                f'reduce must be None, "mean" or "sum". Got {reduce!r}. Pass None for the matrix.'
            )
        if reduce is not None and out is not None:
            raise ValueError(
                "out holds one score a query and reduce sums over the queries. Pass one of them."
            )
        index, queries = self._labels_and_queries(X, y)
        shape = (queries.shape[0], self.n_samples_fit_)
        if reduce is None:
            if out is not None:
                attribution.check_out(out, shape)
            tiles = self._tiles(queries, "score_influence")
            if out is None:
                scores = self._labelled(attribution.matrix(tiles, shape), index=index)
            else:
                scores = attribution.dense(tiles, out)
        else:
            scores = self._over_queries(queries, reduce)
            scores = labelled(self, scores, index=self.train_index_, columns="influence")
        return (scores, self._report()) if return_report else scores

    def self_influence(self) -> Any:
        """Influence of every training row on its own loss.

        Returns
        -------
        scores : ndarray of shape (n_train,)
            The loss of each training row after deleting it minus its loss before; the diagonal of
            ``score_influence`` of the training rows, computed without that matrix. High: the
            model bends for this row. A Series labelled by ``train_index_`` where ``set_output``
            asks for one.
        """
        check_is_fitted(self)
        scores = self._self_influence()
        return labelled(self, scores, index=self.train_index_, columns="self_influence")

    def rank_outliers(self, n: int | None = None) -> np.ndarray:
        """Rank the training rows by position, most suspicious first.

        Parameters
        ----------
        n : int, default=None
            How many rows to return; None for all.

        Returns
        -------
        positions : ndarray of int of shape (n,)
            By descending self influence, or by its size where the target is not the loss; ties go
            to the smaller position.

        Raises
        ------
        ValueError
            If `n` is negative or larger than the number of training rows.
        """
        check_is_fitted(self)
        if n is not None:
            attribution.check_count("n", n, 0, self.n_samples_fit_)
        return np.argsort(-self._suspicion(), kind="stable")[:n]

    def _suspicion(self):
        return self._self_influence()

    def proponents(
        self, X: ArrayLike, y: Any = None, *, k: int = 10, return_scores: bool = True
    ) -> Any:
        """Training rows that help each query most.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Queries.
        y : array-like of shape (n_queries,), default=None
            Targets of the queries, where the loss has any; densities ignore it.
        k : int, default=10
            Rows a query, at most the number of training rows.
        return_scores : bool, default=True
            Whether to return the scores beside the positions, as ``kneighbors`` does distances.

        Returns
        -------
        scores : ndarray of shape (n_queries, k)
            The k largest scores of each query, largest first. Only with `return_scores`.
        indices : ndarray of int of shape (n_queries, k)
            Positions of these training rows; ties go to the smaller position.

        Raises
        ------
        ValueError
            If `k` is not between 1 and the number of training rows.
        """
        return self._strongest(X, y, k, return_scores, largest=True)

    def opponents(
        self, X: ArrayLike, y: Any = None, *, k: int = 10, return_scores: bool = True
    ) -> Any:
        """Training rows that hurt each query most.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Queries.
        y : array-like of shape (n_queries,), default=None
            Targets of the queries, where the loss has any; densities ignore it.
        k : int, default=10
            Rows a query, at most the number of training rows.
        return_scores : bool, default=True
            Whether to return the scores beside the positions.

        Returns
        -------
        scores : ndarray of shape (n_queries, k)
            The k smallest scores of each query, smallest first. Only with `return_scores`.
        indices : ndarray of int of shape (n_queries, k)
            Positions of these training rows; ties go to the smaller position.

        Raises
        ------
        ValueError
            If `k` is not between 1 and the number of training rows.
        """
        return self._strongest(X, y, k, return_scores, largest=False)

    def score_groups(self, X: ArrayLike, y: Any = None, *, groups: Any) -> Any:
        """Sum of the single-row influences over groups of training rows.

        Each group's score is the sum of the scores of its rows, one deleted at a time. It is the
        first-order answer to "what if the whole group went": right for small groups, too small
        for groups that jointly hold up a query.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Queries.
        y : array-like of shape (n_queries,), default=None
            Targets of the queries, where the loss has any; densities ignore it.
        groups : array-like of shape (n_train,), or list of array-like of int
            A label for each training row, or the positions of the rows of each group.

        Returns
        -------
        scores : ndarray of shape (n_queries, n_groups)
            Columns follow the sorted labels, or the list.

        Raises
        ------
        ValueError
            If the labels are not one a training row, or a position lies outside the rows.
        """
        index, queries = self._labels_and_queries(X, y)
        names, membership = attribution.group_members(groups, self.n_samples_fit_)
        tiles = self._tiles(queries, "score_groups")
        scores = attribution.over_groups(tiles, queries.shape[0], membership)
        return labelled(self, scores, index=index, columns=names)

    def set_output(
        self, *, transform: Literal["default", "pandas", "polars"] | None = None
    ) -> Self:
        """Choose the container of labelled results.

        It rules every result with a label for each row: ``score_influence``, ``self_influence``,
        ``score_groups``, ``transform``.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, default=None
            None leaves the choice as it is.

        Returns
        -------
        self : object
            This explainer.
        """
        if transform is not None:
            self._sklearn_output_config = {"transform": transform}
        return self

    def _labels_and_queries(self, X, y=None):
        queries = self._queries(X, y)
        return row_labels(X, queries.shape[0]), queries

    def _over_queries(self, queries, reduce):
        tiles = self._tiles(queries, "score_influence")
        return attribution.over_queries(tiles, queries.shape[0], self.n_samples_fit_, reduce)

    def _labelled(self, scores, *, index):
        return labelled(self, scores, index=index, columns=self.train_index_)

    def _strongest(self, X, y, k, return_scores, *, largest):
        queries = self._queries(X, y)
        attribution.check_count("k", k, 1, self.n_samples_fit_)
        scores, indices = self._top_k(queries, k, return_scores, largest=largest)
        return (scores, indices) if return_scores else indices

    def _top_k(self, queries, k, return_scores, *, largest):
        tiles = self._tiles(queries, "proponents" if largest else "opponents")
        return attribution.top_k(tiles, queries.shape[0], k, largest=largest)
