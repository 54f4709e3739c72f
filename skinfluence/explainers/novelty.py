"""Detectors in which a training row would vouch for itself: labels of old and of new rows."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.metaestimators import available_if

from skinfluence.explainers.density import DensityInfluence


def _if_novelty(explainer):
    if explainer.novelty:
        return True
    raise AttributeError(
        "predict, decision_function and score_samples judge new rows, and a training row would "
        "vouch for itself. Set novelty=True for new rows, or use fit_predict "
        "for the training rows."
    )


def _if_not_novelty(explainer):
    if not explainer.novelty:
        return True
    raise AttributeError(
        "fit_predict labels the training rows, and novelty=True is for new rows. "
        "Set novelty=False, or call predict on new rows."
    )


class NoveltyInfluence(DensityInfluence):
    """Density explainers whose ``novelty`` tells labels of training rows from those of new rows.

    A local density at a training row is in part that row's own. Scored like a new row, an outlier
    among the training rows would find itself, and a threshold on such scores would call every new
    row an outlier. So training rows are judged against the *others*, by ``fit_predict``, the
    threshold is theirs, and the methods for new rows are there with ``novelty=True`` only, as in
    :class:`~sklearn.neighbors.LocalOutlierFactor`.
    """

    _parameter_constraints: dict = {
        **DensityInfluence._parameter_constraints,
        "novelty": ["boolean"],
    }

    @abstractmethod
    def _training_scores(self):
        """Minus the self influence of each training row as if added to the others."""

    @available_if(_if_not_novelty)
    def fit_predict(self, X: ArrayLike, y: Any = None, **fit_params: Any) -> np.ndarray:
        """Fit, and label the training rows; only with ``novelty=False``.

        Parameters
        ----------
        X : array-like of shape (n_train, n_features)
            Training rows, each judged against the others.
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

    @available_if(_if_novelty)
    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """Score new rows: minus the self influence that each would have if it were added.

        Only with ``novelty=True``; a training row passed here counts itself as a neighbour.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            New rows; each is judged on its own.

        Returns
        -------
        scores : ndarray of shape (n_queries,)
            In nats; low for outliers. Infinities are clipped to 1e300.
        """
        return super().score_samples(X)

    @available_if(_if_novelty)
    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Shifted scores of new rows: negative for outliers; only with ``novelty=True``.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            New rows.

        Returns
        -------
        scores : ndarray of shape (n_queries,)
            ``score_samples(X) - offset_``.
        """
        return super().decision_function(X)

    @available_if(_if_novelty)
    def predict(self, X: ArrayLike) -> np.ndarray:
        """Label new rows as inliers or outliers; only with ``novelty=True``.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            New rows.

        Returns
        -------
        labels : ndarray of int of shape (n_queries,)
            1 for inliers, -1 for outliers.
        """
        return super().predict(X)
