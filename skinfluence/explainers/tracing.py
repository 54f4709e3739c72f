"""What TracInExplainer does beside what every explainer of models does."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skinfluence._output import labelled
from skinfluence._peel import is_fitted, peel
from skinfluence._seen import is_vae
from skinfluence.checkpoints.fitting import check_recordable
from skinfluence.explainers.detector import Detector, clipped
from skinfluence.explainers.embedding import Embedding
from skinfluence.explainers.recorded import fit_and_record, path_of
from skinfluence.explainers.refits import some_positions
from skinfluence.metrics import Agreement


def _without_targets(explainer: Any) -> bool:
    """Whether the loss is an ELBO, which has no targets."""
    return explainer.loss in (None, "elbo") and is_vae(peel(explainer.estimator)[1])


def _judges_rows(explainer: Any) -> bool:
    """Whether the loss is of the rows alone, so that self influence says how odd they are."""
    if explainer.target != "loss" or explainer.estimator is None:
        return False
    if hasattr(explainer, "_engine"):
        return explainer._of_rows_alone
    return _without_targets(explainer)


def _if_detector(explainer: Any) -> bool:
    if _judges_rows(explainer):
        return True
    raise AttributeError(
        "fit_predict, predict, decision_function and score_samples label rows by their loss "
        "alone, and here the loss needs targets, or target= is not the loss. Explain a BetaVAE or "
        "a module with an elbo, or rank the training rows by rank_outliers()."
    )


class Tracing(  # type: ignore[call-arg]  # scikit-learn's __init_subclass__ is untyped
    Detector, Embedding, auto_wrap_output_keys=None
):
    """Public methods of TracInExplainer, and how it comes by its checkpoints."""

    _example = "TracInExplainer(MLPClassifier())"
    _parameter_constraints: dict = {
        **Embedding._parameter_constraints,
        **Detector._parameter_constraints,
    }

    # -- what scikit-learn asks -------------------------------------------------------------------

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if _judges_rows(self):
            tags.target_tags.required = False
        else:
            tags.estimator_type = None
        return tags

    def _engine_of(self, model):
        if find_spec("torch") is None:
            raise ImportError(
                f"{type(self).__name__} takes the derivatives of {type(model).__name__} by torch, "
                'and torch is not installed. Install it with pip install "skinfluence[torch]".'
            )
        return import_module("skinfluence.torch.tracing.engine").TracingEngine

    # -- fitting ----------------------------------------------------------------------------------

    def _fit(self, X, y=None, sample_weight=None):
        alone = self.estimator is not None and _without_targets(self)
        return super()._fit(X, None if alone else y, sample_weight)

    def _lacks_y(self, X):
        return not _without_targets(self) and super()._lacks_y(X)

    def _queries(self, X, y=None):
        return super()._queries(X, None if _without_targets(self) else y)

    def _check_model(self, model):
        super()._check_model(model)
        if is_fitted(self.estimator):
            return
        if self.checkpoints is not None:
            raise ValueError(
                f"checkpoints= are those of a training that has been, and the "
                f"{type(model).__name__} is not fitted. Pass the fitted estimator (the one that a "
                "recorder has seen), or leave checkpoints=None: an unfitted one is fitted, and "
                "recorded on its way."
            )
        check_recordable(model)

    def _fit_clone(self, estimator, X, y, sample_weight):
        copy, self._recorded = fit_and_record(
            estimator,
            X,
            y,
            sample_weight,
            n_checkpoints=self.n_checkpoints,
            random_state=self.random_state,
            fit_clone=super()._fit_clone,
        )
        return copy

    def _settings(self):
        settings = super()._settings()
        settings.checkpoints = self.__dict__.get("_path", settings.checkpoints)
        if _without_targets(self):
            settings.loss = "elbo"
        return settings

    def _explain(self, model, rows, y, sample_weight):
        for name in ("_own", "offset_"):
            self.__dict__.pop(name, None)
        recorded = self.__dict__.pop("_recorded", None)
        self._path = path_of(self, model) if recorded is None else recorded
        super()._explain(model, rows, y, sample_weight)
        del self._path
        self._engine.check_sums()
        self._of_rows_alone = self.target == "loss" and not self._engine.has_targets
        if self._of_rows_alone:
            self._set_offset()
        elif self.contamination != "auto":
            raise ValueError(
                f"contamination={self.contamination!r} is the share of outliers of a detector, "
                f"and {type(model).__name__} is explained by a loss that needs targets, which "
                "labels no rows. Leave contamination='auto', and rank rows by rank_outliers()."
            )

    # -- self influence ---------------------------------------------------------------------------

    def self_influence(self, *, return_std: bool = False) -> Any:
        """Influence of every training row on its own value, added up over the checkpoints.

        Where the loss has draws in it, the squared length of a mean gradient is estimated without
        bias, by the products of different draws, so that it may come out below 0.

        Parameters
        ----------
        return_std : bool, default=False
            Also return the standard error that the draws leave.

        Returns
        -------
        scores : ndarray of shape (n_train,)
            Of a deterministic loss the diagonal of ``score_influence`` of the training rows,
            computed without that matrix. High: training had to bend the model for this row. A
            Series labelled by ``train_index_`` where ``set_output`` asks for one.
        std : ndarray of shape (n_train,)
            Only with `return_std`: zeros where the loss has no draws.
        """
        check_is_fitted(self)
        scores, std = self._own_influence()
        scores = labelled(self, scores, index=self.train_index_, columns="self_influence")
        if not return_std:
            return scores
        return scores, labelled(self, std, index=self.train_index_, columns="std")

    def _own_influence(self):
        """Self influence and its standard error, as the fit has them where it drew a threshold."""
        if hasattr(self, "_own"):
            return tuple(part.copy() for part in self._own)
        return self._engine.self_influence_and_error(None, **self._how())

    def _self_influence(self, rows=None):
        scores = self._own_influence()[0]
        return scores if rows is None else scores[rows]

    # -- outlier contract -------------------------------------------------------------------------

    def _training_weights(self):
        return self._engine.weights

    def _training_scores(self):
        """As if every row had the average weight, like the rows that are judged."""
        if not hasattr(self, "_own"):
            self._own = self._own_influence()
        return clipped(-self._engine.unweighted(self._own[0]))

    def _outlier_scores(self, X):
        queries = self._queries(X)
        return clipped(-self._engine.own_influence(queries, **self._how()))

    @available_if(_if_detector)
    def fit_predict(self, X: ArrayLike, y: Any = None, **fit_params: Any) -> np.ndarray:
        """Fit, and label the training rows; only where the loss needs no targets.

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
        labels : ndarray of int of shape (n_train,)
            1 for inliers, -1 for outliers.

        Raises
        ------
        ValueError
            If ``contamination=None``, which sets no threshold.
        """
        self.fit(X, **fit_params)
        offset = self._offset()
        return np.where(self._training_scores() >= offset, 1, -1)

    @available_if(_if_detector)
    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """Score rows: minus the self influence that each would have as a training row.

        Only where the loss needs no targets.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Rows to judge; each is judged on its own.

        Returns
        -------
        scores : ndarray of shape (n_queries,)
            In the unit of ``score_unit_``, for a row of average weight; low for outliers.
        """
        return super().score_samples(X)

    @available_if(_if_detector)
    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Shifted scores: negative for outliers; only where the loss needs no targets.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Rows to judge.

        Returns
        -------
        scores : ndarray of shape (n_queries,)
            ``score_samples(X) - offset_``.

        Raises
        ------
        ValueError
            If ``contamination=None``, which sets no threshold.
        """
        return super().decision_function(X)

    @available_if(_if_detector)
    def predict(self, X: ArrayLike) -> np.ndarray:
        """Label rows as inliers or outliers; only where the loss needs no targets.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Rows to judge.

        Returns
        -------
        labels : ndarray of int of shape (n_queries,)
            1 for inliers, -1 for outliers.
        """
        return super().predict(X)

    # -- embedding --------------------------------------------------------------------------------

    def transform(self, X: ArrayLike) -> Any:
        """Embed rows so that dot products with ``train_embedding`` are scores.

        The gradients at all checkpoints side by side, each times the square root of its rate, and
        in random dimensions with ``projection``. They are those of a target that needs no y: the
        loss of a VAE, else `target`, or the decision function of the chosen (``output=``) or
        predicted class where that is the loss.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Rows.

        Returns
        -------
        embedding : ndarray of shape (n_queries, n_dimensions)
            Of every checkpoint one dimension a parameter, or `projection` of them.
        """
        return super().transform(X)

    def train_embedding(self, *, out: Any = None) -> Any:
        """Embed the training rows by the gradients of their losses.

        Parameters
        ----------
        out : array-like of shape (n_train, n_dimensions), default=None
            Where to write it: an array, a memmap, or anything with slice assignment.

        Returns
        -------
        embedding : ndarray of shape (n_train, n_dimensions)
            ``transform(Z) @ train_embedding().T`` are the scores of a target that needs no y,
            up to the error of ``projection``. `out` itself where it was given.
        """
        return super().train_embedding(out=out)

    # -- truth ------------------------------------------------------------------------------------

    def validate(
        self,
        X: ArrayLike | None = None,
        y: ArrayLike | None = None,
        *,
        consecutive: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ) -> Agreement:
        """Compare the scores with what training did to each query.

        A score is a training row's part in how a query's loss fell, so that a query's scores add
        up to that fall: exactly for infinitely small steps of gradient descent. What is missing
        says how much is lost between the checkpoints, and to an optimiser that is no gradient
        descent. No model is fitted again.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features), default=None
            Queries; by default the training rows (at most 500 of them, drawn at random).
        y : array-like of shape (n_queries,), default=None
            Their targets, where the loss needs them.
        consecutive : bool, default=False
            Compare from each checkpoint to the next, and not just from the first to the last. As
            losses fall most at first, the numbers are mostly about the first intervals.
        random_state : int, RandomState instance or None, default=None
            Draws the queries.

        Returns
        -------
        agreement : Agreement
            Of the sums of scores with the falls; see :class:`skinfluence.metrics.Agreement`.

        Raises
        ------
        ValueError
            If there is only one checkpoint.
        """
        check_is_fitted(self)
        if X is None:
            chosen = some_positions(self.n_samples_fit_, check_random_state(random_state))
            X, y = self._kind.take(self._raw_rows, self._raw_targets, chosen)
        queries = self._queries(X, y)
        return self._engine.completeness(queries, **self._how(), consecutive=consecutive)
