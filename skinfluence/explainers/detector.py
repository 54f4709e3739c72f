"""The outlier contract: scores of rows, a threshold drawn on those of training, and labels."""

from __future__ import annotations

from abc import abstractmethod
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import OutlierMixin

from skinfluence._compat import Interval, StrOptions
from skinfluence._stats import weighted_quantile

# What a threshold and a mean must survive; self_influence keeps the infinities.
LARGEST_SCORE = 1e300
# Scores closer than this (relative, and absolute below 1) count as ties at the threshold.
TIE = 1e-9


def clipped(scores):
    """Scores with the infinities clipped to ``LARGEST_SCORE``."""
    return np.clip(scores, -LARGEST_SCORE, LARGEST_SCORE)


class Detector(OutlierMixin):
    """What makes an explainer an outlier detector.

    A row's score is minus its self influence, so that low means abnormal, as everywhere in
    scikit-learn. Subclasses have a parameter ``contamination``, write the three abstract methods,
    and call ``_set_offset`` at the end of ``fit``.
    """

    _parameter_constraints: dict = {
        "contamination": [None, StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="right")],
    }

    contamination: Any
    offset_: float

    @abstractmethod
    def _outlier_scores(self, X):
        """Scores of rows that are judged one by one, finite."""

    @abstractmethod
    def _training_scores(self):
        """Scores of the training rows, finite, which the threshold is drawn on."""

    @abstractmethod
    def _training_weights(self):
        """Weights of the training rows, or None for equal ones."""

    def _set_offset(self):
        self.__dict__.pop("offset_", None)
        if self.contamination is not None:
            self.offset_ = self._threshold(self._training_scores())

    def _threshold(self, scores):
        """Offset below which a share `contamination` of the training rows lies, by weight."""
        weights = self._training_weights()
        if weights is not None:
            # A row of weight 0 is no row.
            scores, weights = scores[weights > 0], weights[weights > 0]
        if self.contamination == "auto":
            q25, q50 = (weighted_quantile(scores, weights, q) for q in (0.25, 0.5))
            return q50 - 6.0 * (q50 - q25) - _tie(q50)
        first_inlier = weighted_quantile(scores, weights, self.contamination, side="upper")
        # Half way to the last outlier, so that rounding cannot carry a training row across;
        # rows that tie with the first inlier are inliers too.
        outliers = scores[scores < first_inlier - _tie(first_inlier)]
        # Not half way to infinity either: every finite score would be an inlier.
        if not outliers.size or outliers.max() == -LARGEST_SCORE:
            return first_inlier - _tie(first_inlier)
        return 0.5 * (float(outliers.max()) + first_inlier)

    def _offset(self):
        if not hasattr(self, "offset_"):
            raise ValueError(
                "contamination=None sets no threshold, so nothing can be labelled. Fit with "
                'contamination="auto" or a share, or rank rows by score_samples.'
            )
        return self.offset_

    def score_samples(self, X: ArrayLike) -> np.ndarray:
        """Score rows: minus the self influence that each would have if it were added.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Rows to judge; each is judged on its own.

        Returns
        -------
        scores : ndarray of shape (n_queries,)
            In the unit of ``score_unit_`` (nats, of a density); low for outliers. Infinities are
            clipped to 1e300.
        """
        return self._outlier_scores(X)

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Shifted scores: negative for outliers.

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
        scores = self.score_samples(X)
        return scores - self._offset()

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Label rows as inliers or outliers.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Rows to judge.

        Returns
        -------
        labels : ndarray of int of shape (n_queries,)
            1 for inliers, -1 for outliers.
        """
        return np.where(self.decision_function(X) >= 0, 1, -1)


def _tie(score):
    return TIE * max(1.0, abs(score))
