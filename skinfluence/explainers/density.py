"""Explainers of density estimators, which are outlier detectors too."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skinfluence import _loops, attribution
from skinfluence._compat import check_feature_names_in
from skinfluence._output import labelled
from skinfluence.base import BaseInfluence
from skinfluence.explainers import refits
from skinfluence.explainers.detector import Detector, clipped
from skinfluence.metrics import Agreement

# Queries a call where one number a query is wanted.
QUERIES = 256


def check_training_rows(model, stored, rows):
    """Refuse rows that are not the ones a fitted model keeps."""
    # Behind a pipeline the rows are transformed anew, which may round differently.
    if stored.shape == rows.shape and abs(stored - rows).max() <= 1e-9 * abs(rows).max():
        return
    raise ValueError(
        f"The fitted {type(model).__name__} keeps {stored.shape[0]} training rows of "
        f"{stored.shape[1]} features that are not the {rows.shape[0]} rows passed to fit. Pass "
        "the rows it was fitted on, in the same order and after the same scaling, or an "
        "unfitted estimator."
    )


def _has_influence_features(explainer):
    if explainer.influence_features:
        return True
    raise AttributeError(
        f"{type(explainer).__name__}.transform gives one column for each training row. "
        "Set influence_features=True to ask for it."
    )


class DensityInfluence(  # type: ignore[call-arg]  # scikit-learn's __init_subclass__ is untyped
    Detector, TransformerMixin, BaseInfluence, auto_wrap_output_keys=None
):
    """Shared surface of the explainers of density estimators.

    The loss is ``-log p``, in nats; every score comes from a
    :class:`~skinfluence.deletion.base.DensityDeletion`, which a subclass builds in
    ``_make_deletion``.
    """

    _parameter_constraints: dict = {
        **BaseInfluence._parameter_constraints,
        **Detector._parameter_constraints,
        "influence_features": ["boolean"],
    }

    @abstractmethod
    def _make_deletion(self, model, rows, sample_weight):
        """DensityDeletion of each of `rows` from the fitted `model`."""

    def _explain(self, model, rows, y, sample_weight):
        self._model = model
        self._deletion = self._make_deletion(model, rows, sample_weight)
        self._fit_X = rows
        self.score_unit_ = "loss"
        self._set_offset()

    # -- influence --------------------------------------------------------------------------

    def _tiles(self, queries, desc):
        return attribution.blocks(
            self._deletion, queries, n_jobs=self.n_jobs, progress=self.progress, desc=desc
        )

    def _self_influence(self):
        deletion = self._deletion
        slices = _loops.slices(deletion.n_train, deletion.row_block)
        bar = _loops.progress_bar(
            slices, total=len(slices), enabled=self.progress, desc="self_influence"
        )
        scores = np.concatenate([deletion.self_change(rows) for rows in bar])
        attribution.check_no_nan(scores)
        return scores

    def _report(self):
        return self._deletion.report()

    # -- density ----------------------------------------------------------------------------

    def log_density(self, X: ArrayLike) -> np.ndarray:
        """Log density of the fitted model, the minus loss that influence is measured in.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Queries.

        Returns
        -------
        log_density : ndarray of shape (n_queries,)
            In nats; may be infinite.
        """
        return self._deletion_of(X, "log_density")

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Mean log density of the rows of X, for model selection.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Held-out rows.
        y : Ignored
            Present for scikit-learn's conventions.

        Returns
        -------
        score : float
            In nats a row; ``-inf`` if the model excludes a row.
        """
        return float(np.mean(self.log_density(X)))

    def _deletion_of(self, X, name):
        queries = self._queries(X)
        return self._in_blocks(getattr(self._deletion, name), queries)

    def _in_blocks(self, function, queries):
        parts = _loops.slices(queries.shape[0], QUERIES)
        results = _loops.in_threads(
            lambda part: function(queries[part]), parts, n_jobs=self.n_jobs
        )
        values = np.concatenate(list(results))
        attribution.check_no_nan(values)
        return values

    # -- outlier contract -------------------------------------------------------------------

    def _added(self, queries):
        return self._in_blocks(self._deletion.addition, queries)

    def _outlier_scores(self, X):
        return clipped(-self._added(self._queries(X)))

    def _training_scores(self):
        return clipped(-self._added(self._fit_X))

    def _training_weights(self):
        return self._deletion.weights

    # -- features ---------------------------------------------------------------------------

    @available_if(_has_influence_features)
    def transform(self, X: ArrayLike) -> Any:
        """Influence of all training rows on each row, as features for a next step.

        Only with ``influence_features=True``.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Rows.

        Returns
        -------
        features : ndarray of shape (n_queries, n_train)
            ``score_influence(X)`` with infinities clipped to 1e300.
        """
        index, queries = self._labels_and_queries(X)
        scores = np.empty((queries.shape[0], self.n_samples_fit_))
        scores = clipped(attribution.dense(self._tiles(queries, "transform"), scores))
        return labelled(self, scores, index=index, columns=self.get_feature_names_out())

    @available_if(_has_influence_features)
    def fit_transform(self, X: ArrayLike, y: Any = None, **fit_params: Any) -> Any:
        """Fit, then transform the same rows.

        Parameters
        ----------
        X : array-like of shape (n_train, n_features)
            Training rows.
        y : Ignored
            Present for scikit-learn's conventions.
        **fit_params : dict
            Passed to ``fit``.

        Returns
        -------
        features : ndarray of shape (n_train, n_train)
            As :meth:`transform` gives them.
        """
        return self.fit(X, **fit_params).transform(X)

    @available_if(_has_influence_features)
    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
        """Name the columns of ``transform``.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Checked against the columns seen by ``fit``; not used otherwise.

        Returns
        -------
        names : ndarray of str of shape (n_train,)
            The text ``influence_`` and the label of the training row; its position if labels
            repeat.
        """
        check_is_fitted(self)
        check_feature_names_in(self, input_features, generate_names=False)
        labels = self.train_index_
        if len(set(labels.tolist())) != len(labels):
            labels = np.arange(self.n_samples_fit_)
        return np.asarray([f"influence_{label}" for label in labels], dtype=object)

    # TransformerMixin has one of its own, which is there only with transform.
    set_output = BaseInfluence.set_output

    # -- truth ------------------------------------------------------------------------------

    def validate(
        self,
        X: ArrayLike | None = None,
        *,
        n_refits: int | None = None,
        whole_pipeline: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ) -> Agreement:
        """Compare scores with real refits.

        Half of the deleted rows are those with the highest self influence, the others are drawn
        at random. Every refit is a real one, run until it no longer moves.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features), default=None
            Queries; by default the training rows (at most 500 of them, drawn at random).
        n_refits : int, default=None
            Number of rows to delete, at most the number of training rows; None for 20, or all
            of fewer rows.
        whole_pipeline : bool, default=False
            Refit the whole pipeline or search, where the scores hold its first steps fixed:
            measures what that costs.
        random_state : int, RandomState instance or None, default=None
            Draws the rows and queries.

        Returns
        -------
        agreement : Agreement
            Pearson and Spearman correlation, slope, errors and the worst row, over all pairs;
            see :class:`skinfluence.metrics.Agreement`.

        Raises
        ------
        ValueError
            If `n_refits` is out of range, or `whole_pipeline` is asked of a bare model.
        """
        check_is_fitted(self)
        n_refits = min(20, self.n_samples_fit_) if n_refits is None else n_refits
        attribution.check_count("n_refits", n_refits, 1, self.n_samples_fit_)
        if whole_pipeline and self.estimator_ is self._model:
            raise ValueError(
                "whole_pipeline=True needs a pipeline or search around the model, and this "
                "estimator is a bare model. Leave it False: the refits are already complete."
            )
        rng = check_random_state(random_state)
        rows = refits.rows_to_refit(self._self_influence(), n_refits, rng)
        if whole_pipeline:
            return refits.whole_pipeline_agreement(self, X, rows, rng)
        queries = self._fit_X if X is None else self._queries(X)
        if X is None:
            queries = queries[refits.some_positions(queries.shape[0], rng)]
        return refits.model_agreement(self._deletion, queries, rows)
