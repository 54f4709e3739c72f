"""The families of naive Bayes models."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, ComplementNB, MultinomialNB
from sklearn.preprocessing import binarize

from skinfluence.deletion.closed.base import (
    Array,
    ExactModel,
    Family,
    NewRows,
    Positions,
    TrainingRows,
    register,
)
from skinfluence.deletion.closed.heads import Head, LogJoint
from skinfluence.deletion.closed.naive_bayes import (
    BernoulliDeletion,
    CategoricalDeletion,
    ComplementDeletion,
    MultinomialDeletion,
)
from skinfluence.objectives.encoding import class_positions


class BayesFamily(Family):
    """All naive Bayes models: priors of classes that are gone are left out of refits.

    Attributes
    ----------
    prior_option : str
        Name of the parameter that holds priors.
    """

    prior_option = "class_prior"

    def head(self, estimator: Any) -> Head:
        return LogJoint(estimator.classes_)

    def outputs(self, estimator: Any, X: Any) -> Array:
        return np.asarray(estimator.predict_joint_log_proba(X), dtype=np.float64)

    def fresh(self, estimator: Any, kept: Positions) -> Any:
        return clone(estimator)

    def refitted(self, estimator: Any, rows: TrainingRows, kept: Positions) -> Any:
        left = rows.kept(kept)
        fresh = self.fresh(estimator, kept)
        priors, classes = getattr(estimator, self.prior_option), np.unique(left.y)
        if priors is not None and len(classes) < len(estimator.classes_):
            priors = np.asarray(priors)[np.isin(estimator.classes_, classes)]
            fresh.set_params(**{self.prior_option: priors / priors.sum()})
        return fresh.fit(left.X, left.y, left.weights)


class _CountsFamily(BayesFamily):
    sparse = True

    def check_new(self, estimator: Any, rows: TrainingRows, new: NewRows) -> None:
        least = new.X.min()
        if least < 0:
            raise ValueError(
                f"X_new holds {least:g}, and {type(estimator).__name__} counts. Pass rows of "
                "numbers that are not negative."
            )

    def check(self, estimator: Any) -> None:
        if np.min(estimator.alpha) == 0 and estimator.force_alpha:
            raise ValueError(
                f"{type(estimator).__name__} has alpha=0, so that what a class has not seen has "
                "probability 0 in it, and deletions make that happen. Use alpha > 0."
            )

    def read(self, estimator: Any, rows: TrainingRows, settings: Any) -> ExactModel | None:
        codes = class_positions(rows.y, estimator.classes_)
        n_classes = len(estimator.classes_)
        log_priors = None
        if estimator.class_prior is not None or not estimator.fit_prior:
            log_priors = np.asarray(estimator.class_log_prior_, dtype=np.float64)
        alpha = np.asarray(estimator.alpha, dtype=np.float64)
        if not estimator.force_alpha:
            alpha = np.maximum(alpha, 1e-10)
        return self._closed(estimator, rows.X, (codes, rows.ones(), log_priors, n_classes), alpha)

    def _closed(self, estimator, X, common, alpha) -> ExactModel | None:
        raise NotImplementedError


class _MultinomialFamily(_CountsFamily):
    estimators = (MultinomialNB,)

    def _closed(self, estimator, X, common, alpha):
        return MultinomialDeletion(X, *common, alpha=np.broadcast_to(alpha, X.shape[1:]))


class _ComplementFamily(_CountsFamily):
    estimators = (ComplementNB,)

    def _closed(self, estimator, X, common, alpha):
        if common[3] == 1:
            return None
        alpha = np.broadcast_to(alpha, X.shape[1:])
        return ComplementDeletion(X, *common, alpha=alpha, norm=estimator.norm)


class _BernoulliFamily(_CountsFamily):
    estimators = (BernoulliNB,)

    def jumps(self, estimator: Any) -> str:
        return "sees whether features are present, which is 0 or 1"

    def check_new(self, estimator: Any, rows: TrainingRows, new: NewRows) -> None:
        if estimator.binarize is not None:
            return
        values = new.X.data if sparse.issparse(new.X) else new.X
        if not np.isin(values, (0.0, 1.0)).all():
            raise ValueError(
                "X_new holds other numbers than 0 and 1, and BernoulliNB has binarize=None. Pass "
                "rows of 0 and 1, or set a threshold in the estimator."
            )

    def _closed(self, estimator, X, common, alpha):
        threshold = estimator.binarize
        X = X if threshold is None else binarize(X, threshold=threshold)
        values = X.data if sparse.issparse(X) else X
        if alpha.ndim or not np.isin(values, (0.0, 1.0)).all():
            return None
        return BernoulliDeletion(X, *common, alpha=float(alpha), threshold=threshold)


class _CategoricalFamily(_CountsFamily):
    estimators = (CategoricalNB,)
    sparse = False

    def jumps(self, estimator: Any) -> str:
        return "has features that are categories"

    def check_new(self, estimator: Any, rows: TrainingRows, new: NewRows) -> None:
        known = np.asarray(estimator.n_categories_)
        if (new.X < 0).any() or (new.X.astype(np.intp) >= known).any():
            raise ValueError(
                "X_new holds a category that no training row had, and CategoricalNB has no place "
                "for it. Set min_categories in the estimator, or leave such rows out."
            )

    def _closed(self, estimator, X, common, alpha):
        if alpha.ndim:
            return None
        sizes = np.asarray(estimator.n_categories_, dtype=np.intp)
        return CategoricalDeletion(X, *common, alpha=float(alpha), sizes=sizes)

    def fresh(self, estimator: Any, kept: Positions) -> Any:
        return clone(estimator).set_params(min_categories=np.asarray(estimator.n_categories_))


for _family in (_MultinomialFamily, _ComplementFamily, _BernoulliFamily, _CategoricalFamily):
    register(_family())
