"""A linear model at the minimum of its own objective."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from skinfluence._compat import BaseSearchCV, check_weights
from skinfluence.deletion.linear.fit import exact_minimum, has_paths
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.objectives import Rows, build_all, reader_of
from skinfluence.solvers.minimise import minimise


def polish(estimator: Any, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Any:
    """Copy of a fitted linear model at the exact minimum of its objective.

    Solvers stop when their tolerance is met, which is often further from the minimum than the
    deletion of a row moves it: a comparison of two fits then measures the solver. Newton's method
    from the fitted parameters removes that; with a hinge or an epsilon-insensitive loss and an l2
    penalty, the path of the optimum does.

    Parameters
    ----------
    estimator : estimator
        A fitted linear model that InfluenceExplainer reads, or a pipeline that ends in one,
        whose other steps stay as they are; it is not changed.
    X : array-like or sparse matrix of shape (n_rows, n_features)
        The rows it was fitted on.
    y : array-like of shape (n_rows,) or (n_rows, n_outputs)
        Their targets.
    sample_weight : array-like of shape (n_rows,), default=None
        Their weights.

    Returns
    -------
    polished : estimator
        With new ``coef_``, ``intercept_`` (and ``scale_``) in float64.

    Raises
    ------
    UnsupportedEstimatorError
        If the loss has kinks that can only be smoothed, or the estimator wraps others.
    ValueError
        If there is no minimum (separable classes without a penalty).

    See Also
    --------
    skinfluence.metrics.leave_one_out : Takes this as its ``polish``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skinfluence import InfluenceExplainer, polish
    >>> X, y = load_iris(return_X_y=True)
    >>> model = polish(LogisticRegression(max_iter=1000).fit(X, y), X, y)
    >>> print(max(InfluenceExplainer(model).fit(X, y).stationarity_) < 1e-12)
    True
    """
    check_is_fitted(estimator)
    if isinstance(estimator, Pipeline):
        return _polished_pipeline(estimator, X, y, sample_weight)
    X = check_array(X, dtype=np.float64, accept_sparse="csr")
    weights = check_weights(sample_weight, X)
    weights = np.ones(X.shape[0]) if weights is None else weights
    if isinstance(estimator, BaseSearchCV):
        raise UnsupportedEstimatorError(
            f"{type(estimator).__name__} chooses among models, and one is polished at a time. "
            "Pass its best_estimator_."
        )
    fit = reader_of(estimator).read(estimator, Rows(X, np.asarray(y), weights))
    kinked = has_paths(fit)
    if fit.linear_programme or (fit.smoothed and not kinked) or not hasattr(estimator, "coef_"):
        raise UnsupportedEstimatorError(
            f"{type(estimator).__name__} is no linear model with a smooth loss of its own, or an "
            "l2 penalty, so there is nothing to polish. Refit it with a small tol."
        )
    found = []
    for objective, theta in build_all(fit.problems, X):
        if kinked:
            exact, _ = exact_minimum(objective, theta)
            found.append(objective.coordinates.to_user(exact.theta))
            continue
        minimum = minimise(objective, theta)
        if not minimum.converged:
            raise ValueError(
                f"The objective of this {type(estimator).__name__} has no minimum near the fit "
                f"(relative gradient {minimum.stationarity:.1e}). Add a penalty: separable "
                "classes have none without one."
            )
        found.append(objective.coordinates.to_user(minimum.theta))
    return _with_parameters(estimator, fit, found)


def _polished_pipeline(pipeline, X, y, sample_weight):
    name, last = pipeline.steps[-1]
    rows = pipeline[:-1].transform(X) if len(pipeline.steps) > 1 else X
    polished = copy.copy(pipeline)
    polished.steps = [*pipeline.steps[:-1], (name, polish(last, rows, y, sample_weight))]
    return polished


def _with_parameters(estimator, fit, found):
    polished = copy.copy(estimator)
    has_intercept = fit.problems[0].intercept is not None
    inner = slice(None, -1) if has_intercept else slice(None)
    pairs = [(theta, p.n_visible) for theta, p in zip(found, fit.problems, strict=True)]
    coef = np.vstack([theta[inner, :k].T for theta, k in pairs])
    shape = np.shape(estimator.coef_)
    polished.coef_ = coef.reshape(shape)
    if sparse.issparse(estimator.coef_):
        polished.coef_ = type(estimator.coef_)(coef)
    if has_intercept and estimator.fit_intercept:
        intercept = np.concatenate([theta[-1, :k] for theta, k in pairs])
        polished.intercept_ = intercept.reshape(np.shape(estimator.intercept_))
        if np.ndim(estimator.intercept_) == 0:
            polished.intercept_ = float(intercept[0])
    if fit.problems[0].constant_outputs:
        polished.scale_ = float(found[0][-1, fit.problems[0].constant_outputs[0]])
    return polished
