"""The conventions of PyOD over a density explainer, without depending on PyOD."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from skinfluence.explainers.density import DensityInfluence
from skinfluence.explainers.detector import clipped


class PyODAdapter(BaseEstimator):
    """Show a density explainer under PyOD's names and signs.

    scikit-learn scores are low for outliers and its labels are 1 and -1; PyOD's scores are high
    for outliers and its labels are 0 and 1. Use this where code is written against PyOD's
    detectors; scikit-learn's tools do not understand the turned signs.

    Parameters
    ----------
    explainer : KDEInfluence, KNNInfluence or GMMInfluence
        A clone of it is fitted. Its ``contamination`` sets the threshold; both values of
        ``novelty`` will do.

    Attributes
    ----------
    explainer_ : DensityInfluence
        The fitted clone.
    decision_scores_ : ndarray of shape (n_train,)
        Self influence of the training rows, each judged against the others, in nats: high for
        outliers. Infinities are clipped to 1e300.
    threshold_ : float
        Scores above it are outliers.
    labels_ : ndarray of int of shape (n_train,)
        0 for inliers, 1 for outliers.

    See Also
    --------
    KDEInfluence : The same scores under scikit-learn's conventions.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence import KDEInfluence, PyODAdapter
    >>> X = np.array([[0.0], [0.1], [0.2], [0.3], [9.0]])
    >>> detector = PyODAdapter(KDEInfluence(contamination=0.2)).fit(X)
    >>> detector.labels_
    array([0, 0, 0, 0, 1])
    >>> detector.predict([[-9.0]])
    array([1])
    """

    def __init__(self, explainer: DensityInfluence):
        self.explainer = explainer

    def fit_predict(self, X: ArrayLike, y: Any = None) -> np.ndarray:
        """Fit, and return the labels of the training rows.

        Parameters
        ----------
        X : array-like of shape (n_train, n_features)
            Training rows.
        y : Ignored
            Present for the common convention.

        Returns
        -------
        labels : ndarray of int of shape (n_train,)
            ``labels_``.
        """
        return self.fit(X).labels_

    def fit(self, X: ArrayLike, y: Any = None) -> PyODAdapter:
        """Fit a clone of the explainer and label the training rows.

        Parameters
        ----------
        X : array-like of shape (n_train, n_features)
            Training rows.
        y : Ignored
            Present for the common convention.

        Returns
        -------
        self : PyODAdapter
            Fitted.

        Raises
        ------
        TypeError
            If the explainer is not a density explainer.
        """
        if not isinstance(self.explainer, DensityInfluence):
            raise TypeError(
                f"PyODAdapter shows density explainers, and this is a "
                f"{type(self.explainer).__name__}. Pass KDEInfluence, KNNInfluence or "
                "GMMInfluence."
            )
        explainer = clone(self.explainer).fit(X)
        explainer._offset()  # refuses contamination=None
        self.decision_scores_ = clipped(explainer._self_influence())
        self.threshold_ = -explainer._threshold(-self.decision_scores_)
        self.labels_ = (self.decision_scores_ > self.threshold_).astype(int)
        self.explainer_ = explainer
        for name in ("n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)
            if hasattr(explainer, name):
                setattr(self, name, getattr(explainer, name))
        return self

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Score rows; high for outliers.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            New rows: a training row would count itself.

        Returns
        -------
        scores : ndarray of shape (n_queries,)
            In nats.
        """
        check_is_fitted(self)
        # Not `score_samples`, which KNNInfluence hides behind `novelty`.
        return -self.explainer_._outlier_scores(X)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Label rows: 0 for inliers, 1 for outliers.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Rows to judge.

        Returns
        -------
        labels : ndarray of int of shape (n_queries,)
            Comparison of ``decision_function(X)`` with ``threshold_``.
        """
        return (self.decision_function(X) > self.threshold_).astype(int)
