"""Contract checks that every explainer must pass, for ours and for yours.

:func:`check_explainer` runs them all on one explainer and one data set; :func:`explainer_checks`
yields them one by one for a parametrised test. They come on top of scikit-learn's
:func:`~sklearn.utils.estimator_checks.check_estimator`.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import ArrayLike
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import has_fit_parameter

__all__ = ["check_explainer", "explainer_checks"]


def check_explainer(
    explainer: BaseEstimator,
    X: ArrayLike,
    *,
    queries: ArrayLike | None = None,
    error: float = 1e-8,
) -> None:
    """Run every contract check on an explainer.

    Parameters
    ----------
    explainer : estimator
        Unfitted, and deterministic (a fixed ``random_state`` where it has one).
    X : array-like of shape (n_train, n_features)
        Training rows on which the explainer works well; a few dozen are enough.
    queries : array-like of shape (n_queries, n_features), default=None
        By default the first training rows, shifted a little.
    error : float, default=1e-8
        Largest relative error against real refits that the explainer promises.

    Raises
    ------
    AssertionError
        If a check fails; the message says where.

    See Also
    --------
    explainer_checks : The checks one by one.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence import KDEInfluence
    >>> from skinfluence.testing import check_explainer
    >>> check_explainer(KDEInfluence(), np.random.default_rng(0).normal(size=(30, 2)))
    """
    for _, check in explainer_checks(explainer, X, queries=queries, error=error):
        check()


def explainer_checks(
    explainer: BaseEstimator,
    X: ArrayLike,
    *,
    queries: ArrayLike | None = None,
    error: float = 1e-8,
) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield the contract checks, each with its name.

    Parameters
    ----------
    explainer : estimator
        As for :func:`check_explainer`.
    X : array-like of shape (n_train, n_features)
        As for :func:`check_explainer`.
    queries : array-like of shape (n_queries, n_features), default=None
        As for :func:`check_explainer`.
    error : float, default=1e-8
        As for :func:`check_explainer`.

    Yields
    ------
    name : str
    check : callable
        Takes nothing, and raises AssertionError if the explainer breaks the law.

    See Also
    --------
    check_explainer : Runs them all.
    """
    X = np.asarray(X, dtype=np.float64)
    Z = X[:7] + 0.1 if queries is None else np.asarray(queries, dtype=np.float64)
    for check in CHECKS:
        yield check.__name__, partial(check, clone(explainer), X, Z)
    yield "check_refits", partial(check_refits, clone(explainer), X, Z, error)


def _assert_same(actual, desired):
    # Rounding only: nothing here compares two approximations.
    assert_allclose(actual, desired, rtol=1e-9, atol=1e-11)


def check_refits(explainer, X, Z, error):
    """Sign, unit and size agree with real refits."""
    agreement = explainer.fit(X).validate(Z, n_refits=6, random_state=0)
    assert agreement.relative_error <= error, str(agreement)


def check_shapes(explainer, X, Z):
    """Queries first, training rows second; float64, and never NaN."""
    scores = explainer.fit(X).score_influence(Z)
    assert scores.shape == (len(Z), len(X))
    assert scores.dtype == np.float64
    assert not np.isnan(scores).any()
    assert explainer.self_influence().shape == (len(X),)
    assert explainer.n_samples_fit_ == len(X)


def check_self_influence(explainer, X, Z):
    """Self influence is the diagonal, and ``rank_outliers`` sorts it."""
    explainer.fit(X)
    own = explainer.self_influence()
    _assert_same(own, np.diag(explainer.score_influence(X)))
    assert_array_equal(explainer.rank_outliers(), np.argsort(-own, kind="stable"))
    assert_array_equal(explainer.rank_outliers(3), explainer.rank_outliers()[:3])


def check_permutation(explainer, X, Z):
    """Permuting the training rows permutes the columns."""
    order = np.random.default_rng(0).permutation(len(X))
    scores = clone(explainer).fit(X).score_influence(Z)
    _assert_same(explainer.fit(X[order]).score_influence(Z), scores[:, order])


def check_single_queries(explainer, X, Z):
    """A query is scored alike alone and among others."""
    scores = explainer.fit(X).score_influence(Z)
    alone = np.vstack([explainer.score_influence(z[None]) for z in Z])
    _assert_same(alone, scores)


def check_memory_and_threads(explainer, X, Z):
    """Block size, ``working_memory`` and ``n_jobs`` change nothing."""
    scores = clone(explainer).fit(X).score_influence(Z)
    own = clone(explainer).fit(X).self_influence()
    with config_context(working_memory=0.001):
        small = clone(explainer).fit(X)
        _assert_same(small.score_influence(Z), scores)
        _assert_same(small.self_influence(), own)
    threaded = explainer.set_params(n_jobs=2).fit(X)
    _assert_same(threaded.score_influence(Z), scores)
    _assert_same(threaded.self_influence(), own)


def check_sinks(explainer, X, Z):
    """``out``, ``reduce`` and groups are the matrix, written, summed and grouped."""
    scores = explainer.fit(X).score_influence(Z)
    out = np.empty_like(scores)
    assert explainer.score_influence(Z, out=out) is out
    assert_array_equal(out, scores)
    _assert_same(explainer.score_influence(Z, reduce="sum"), scores.sum(axis=0))
    _assert_same(explainer.score_influence(Z, reduce="mean"), scores.mean(axis=0))
    labels = np.arange(len(X)) % 3
    grouped = explainer.score_groups(Z, groups=labels)
    expected = np.stack([scores[:, labels == g].sum(axis=1) for g in range(3)], axis=1)
    _assert_same(grouped, expected)


def check_strongest(explainer, X, Z):
    """Proponents and opponents are the ends of each sorted row of scores."""
    scores = explainer.fit(X).score_influence(Z)
    for k in (1, 3, len(X)):
        for method, sign in ((explainer.proponents, 1.0), (explainer.opponents, -1.0)):
            values, indices = method(Z, k=k)
            _assert_same(values, sign * -np.sort(-sign * scores, axis=1)[:, :k])
            _assert_same(values, np.take_along_axis(scores, indices, axis=1))
            assert_array_equal(method(Z, k=k, return_scores=False), indices)


def check_duplicates(explainer, X, Z):
    """Copies of a row share one score."""
    scores = explainer.fit(np.vstack([X, X[:4]])).score_influence(Z)
    _assert_same(scores[:, len(X) :], scores[:, :4])


def check_far_queries(explainer, X, Z):
    """Far outside nothing is NaN."""
    far = np.vstack([Z[:1] + 1e3, Z[:1] - 1e6])
    assert not np.isnan(explainer.fit(X).score_influence(far)).any()


def check_copies(explainer, X, Z):
    """Pickles and refitted clones give the same scores."""
    scores = explainer.fit(X).score_influence(Z)
    assert_array_equal(pickle.loads(pickle.dumps(explainer)).score_influence(Z), scores)
    _assert_same(clone(explainer).fit(X).score_influence(Z), scores)


def check_fitted_estimator(explainer, X, Z):
    """A fitted estimator is explained as it is, and left as it was."""
    scores = explainer.fit(X).score_influence(Z)
    # Fitted apart, so that a change made by every fit shows.
    fitted = clone(explainer.estimator_).fit(X)
    before = pickle.dumps(fitted)
    again = clone(explainer).set_params(estimator=fitted)
    # clone() dropped the fitted state of the inner estimator; hand it over again.
    again.estimator = fitted
    assert again.fit(X).estimator_ is fitted
    _assert_same(again.score_influence(Z), scores)
    assert pickle.dumps(fitted) == before


def check_sample_weight(explainer, X, Z):
    """Integer weights are repeated rows, and weight 0 is no row."""
    if not has_fit_parameter(explainer, "sample_weight"):
        return
    weights = np.arange(len(X)) % 3
    repeated = clone(explainer).fit(np.repeat(X, weights, axis=0))
    explainer.fit(X, sample_weight=weights)
    _assert_same(explainer.log_density(Z), repeated.log_density(Z))
    assert_array_equal(explainer.score_influence(Z)[:, weights == 0], 0.0)
    ones = weights == 1
    positions = np.repeat(np.arange(len(X)), weights)
    kept = np.isin(positions, np.flatnonzero(ones))
    _assert_same(explainer.score_influence(Z)[:, ones], repeated.score_influence(Z)[:, kept])


def check_interrupted_fit(explainer, X, Z):
    """A fit that fails leaves the explainer as it was."""
    scores = explainer.fit(X).score_influence(Z)
    broken = X.copy()
    broken[0, 0] = np.nan
    try:
        explainer.fit(broken)
    except ValueError:
        assert_array_equal(explainer.score_influence(Z), scores)
    else:
        raise AssertionError("fit accepted a NaN")


def check_outlier_contract(explainer, X, Z):
    """Labels follow from scores and offset, training labels included."""
    explainer.fit(X)
    if not hasattr(explainer, "predict"):
        return
    decision = explainer.score_samples(Z) - explainer.offset_
    _assert_same(explainer.decision_function(Z), decision)
    assert_array_equal(explainer.predict(Z), np.where(decision >= 0, 1, -1))
    if hasattr(explainer, "fit_predict"):
        assert_array_equal(explainer.fit_predict(X), explainer.predict(X))


CHECKS = [
    check_shapes,
    check_self_influence,
    check_permutation,
    check_single_queries,
    check_memory_and_threads,
    check_sinks,
    check_strongest,
    check_duplicates,
    check_far_queries,
    check_copies,
    check_fitted_estimator,
    check_sample_weight,
    check_interrupted_fit,
    check_outlier_contract,
]
