"""Contract checks that every explainer must pass, for ours and for yours.

:func:`check_explainer` runs them all on one explainer and one data set; :func:`explainer_checks`
yields them one by one for a parametrised test. They come on top of scikit-learn's
:func:`~sklearn.utils.estimator_checks.check_estimator`.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import has_fit_parameter

__all__ = ["check_explainer", "explainer_checks"]

# Methods that delete the rows of a group together, but for densities, whose groups are sums.
_TOGETHER = ("exact", "newton", "refit")


def check_explainer(
    explainer: BaseEstimator,
    X: ArrayLike,
    y: ArrayLike | None = None,
    *,
    queries: ArrayLike | None = None,
    query_targets: ArrayLike | None = None,
    error: float = 1e-8,
    correlation: float = -1.0,
    repeats: bool = True,
) -> None:
    """Run every contract check on an explainer.

    Parameters
    ----------
    explainer : estimator
        Unfitted, and deterministic (a fixed ``random_state`` where it has one).
    X : array-like or sparse array of shape (n_train, n_features)
        Training rows on which the explainer works well; a few dozen are enough.
    y : array-like of shape (n_train,) or (n_train, n_outputs), default=None
        Their targets, for an explainer of a supervised model.
    queries : array-like of shape (n_queries, n_features), default=None
        By default the first training rows, shifted a little.
    query_targets : array-like of shape (n_queries,) or (n_queries, n_outputs), default=None
        Targets of the queries; by default those of the first training rows.
    error : float, default=1e-8
        Largest relative error against real refits that the explainer promises.
    correlation : float, default=-1.0
        Smallest Pearson correlation with real refits that it promises.
    repeats : bool, default=True
        Whether a row of weight w is w rows to the model. Not where the objective counts rows, as
        those of ``SGDClassifier`` and of "balanced" class weights in ``RidgeClassifier`` do. Nor
        where a model takes no weights, as ``PCA``.

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
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import InfluenceExplainer, KDEInfluence
    >>> from skinfluence.testing import check_explainer
    >>> X = np.random.default_rng(0).normal(size=(30, 2))
    >>> check_explainer(KDEInfluence(), X)
    >>> check_explainer(InfluenceExplainer(Ridge()), X, X[:, 0] + X[:, 1] ** 2)
    """
    for _, check in explainer_checks(
        explainer,
        X,
        y,
        queries=queries,
        query_targets=query_targets,
        error=error,
        correlation=correlation,
        repeats=repeats,
    ):
        check()


def explainer_checks(
    explainer: BaseEstimator,
    X: ArrayLike,
    y: ArrayLike | None = None,
    *,
    queries: ArrayLike | None = None,
    query_targets: ArrayLike | None = None,
    error: float = 1e-8,
    correlation: float = -1.0,
    repeats: bool = True,
) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield the contract checks, each with its name.

    Parameters
    ----------
    explainer : estimator
        As for :func:`check_explainer`.
    X : array-like or sparse array of shape (n_train, n_features)
        As for :func:`check_explainer`.
    y : array-like of shape (n_train,) or (n_train, n_outputs), default=None
        As for :func:`check_explainer`.
    queries : array-like of shape (n_queries, n_features), default=None
        As for :func:`check_explainer`.
    query_targets : array-like of shape (n_queries,) or (n_queries, n_outputs), default=None
        As for :func:`check_explainer`.
    error : float, default=1e-8
        As for :func:`check_explainer`.
    correlation : float, default=-1.0
        As for :func:`check_explainer`.
    repeats : bool, default=True
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
    data = _make_data(X, y, queries, query_targets)
    for check in CHECKS:
        yield check.__name__, partial(check, clone(explainer), data)
    if repeats:
        yield "check_sample_weight", partial(check_sample_weight, clone(explainer), data)
    promised = {"error": error, "correlation": correlation}
    yield "check_refits", partial(check_refits, clone(explainer), data, **promised)


@dataclass(frozen=True)
class Data:
    """Training rows X with targets y, and queries Z with targets t; targets may be None."""

    X: Any
    y: Any
    Z: Any
    t: Any

    def __len__(self) -> int:
        return self.X.shape[0]

    def rows(self, index: Any) -> Data:
        """With some of the training rows, in this order."""
        return replace(self, X=self.X[index], y=None if self.y is None else self.y[index])

    def queries(self, index: Any) -> tuple[Any, Any]:
        """Some of the queries, as the methods of an explainer take them."""
        return self.Z[index], None if self.t is None else self.t[index]

    def scores(self, explainer: Any, **options: Any) -> Any:
        """Scores of all queries by a new fit to all rows."""
        return explainer.fit(self.X, self.y).score_influence(self.Z, self.t, **options)


def _make_data(X, y, queries, targets):
    X = sparse.csr_array(X, dtype=np.float64) if sparse.issparse(X) else np.asarray(X, dtype=float)
    y = None if y is None else np.asarray(y)
    if queries is None:
        queries = X[:7] if sparse.issparse(X) else X[:7] + 0.1
    Z = queries if sparse.issparse(queries) else np.asarray(queries, dtype=np.float64)
    targets = y[: Z.shape[0]] if targets is None and y is not None else targets
    return Data(X, y, Z, None if targets is None else np.asarray(targets))


def _assert_same(actual, desired):
    # Rounding only: nothing here compares two approximations.
    assert_allclose(actual, desired, rtol=1e-9, atol=1e-11)


def check_refits(explainer, data, *, error, correlation):
    """Sign, unit and size agree with real refits."""
    queries = (data.Z,) if data.y is None else (data.Z, data.t)
    agreement = explainer.fit(data.X, data.y).validate(*queries, n_refits=6, random_state=0)
    assert agreement.relative_error <= error, str(agreement)
    if correlation > -1.0:
        assert agreement.pearson >= correlation, str(agreement)


def check_shapes(explainer, data):
    """Queries first, training rows second; float64, and never NaN."""
    scores = data.scores(explainer)
    assert scores.shape == (data.Z.shape[0], len(data))
    assert scores.dtype == np.float64
    assert not np.isnan(scores).any()
    assert explainer.self_influence().shape == (len(data),)
    assert explainer.n_samples_fit_ == len(data)


def check_self_influence(explainer, data):
    """Self influence is the diagonal, and ``rank_outliers`` sorts it (by size, if no loss)."""
    explainer.fit(data.X, data.y)
    own = explainer.self_influence()
    _assert_same(own, np.diag(explainer.score_influence(data.X, data.y)))
    suspicion = own if explainer.score_unit_.startswith("loss") else np.abs(own)
    assert_array_equal(explainer.rank_outliers(), np.argsort(-suspicion, kind="stable"))
    assert_array_equal(explainer.rank_outliers(3), explainer.rank_outliers()[:3])


def check_permutation(explainer, data):
    """Permuting the training rows permutes the columns."""
    order = np.random.default_rng(0).permutation(len(data))
    scores = data.scores(clone(explainer))
    _assert_same(data.rows(order).scores(explainer), scores[:, order])


def check_single_queries(explainer, data):
    """A query is scored alike alone and among others."""
    scores = data.scores(explainer)
    each = [data.queries(slice(z, z + 1)) for z in range(len(scores))]
    _assert_same(np.vstack([explainer.score_influence(*one) for one in each]), scores)


def check_memory_and_threads(explainer, data):
    """Block size, ``working_memory`` and ``n_jobs`` change nothing."""
    scores = data.scores(clone(explainer))
    own = clone(explainer).fit(data.X, data.y).self_influence()
    with config_context(working_memory=0.001):
        small = clone(explainer)
        _assert_same(data.scores(small), scores)
        _assert_same(small.self_influence(), own)
    explainer.set_params(n_jobs=2)
    _assert_same(data.scores(explainer), scores)
    _assert_same(explainer.self_influence(), own)


def check_sinks(explainer, data):
    """``out`` and ``reduce`` are the matrix, written and summed."""
    scores = data.scores(explainer)
    out = np.empty_like(scores)
    assert explainer.score_influence(data.Z, data.t, out=out) is out
    assert_array_equal(out, scores)
    for reduce in ("sum", "mean"):
        expected = getattr(scores, reduce)(axis=0)
        _assert_same(explainer.score_influence(data.Z, data.t, reduce=reduce), expected)


def check_groups(explainer, data):
    """A group of one row scores as its row; densities and first order add up.

    Where the groups of a model are deleted together, as those of an exact one are whether it has
    targets or not, labels and positions agree, and order within a group is nothing.
    """
    scores = data.scores(explainer)
    alone = explainer.score_groups(data.Z, data.t, groups=[[i] for i in range(len(data))])
    _assert_same(alone, scores)
    labels = np.arange(len(data)) % 3
    grouped = explainer.score_groups(data.Z, data.t, groups=labels)
    positions = [np.flatnonzero(labels == g)[::-1] for g in range(3)]
    _assert_same(explainer.score_groups(data.Z, data.t, groups=positions), grouped)
    if _groups_add_up(explainer, data):
        sums = [scores[:, labels == g].sum(axis=1) for g in range(3)]
        _assert_same(grouped, np.stack(sums, axis=1))


def _groups_add_up(explainer, data):
    method = getattr(explainer, "method_", None)
    if data.y is None:
        return hasattr(explainer, "log_density") or method not in _TOGETHER
    return method == "first_order"


def check_strongest(explainer, data):
    """Proponents and opponents are the ends of each sorted row of scores."""
    scores = data.scores(explainer)
    for k in (1, 3, len(data)):
        for method, sign in ((explainer.proponents, 1.0), (explainer.opponents, -1.0)):
            values, indices = method(data.Z, data.t, k=k)
            _assert_same(values, sign * -np.sort(-sign * scores, axis=1)[:, :k])
            _assert_same(values, np.take_along_axis(scores, indices, axis=1))
            assert_array_equal(method(data.Z, data.t, k=k, return_scores=False), indices)


def check_duplicates(explainer, data):
    """Copies of a row share one score."""
    scores = data.rows(np.append(np.arange(len(data)), np.arange(4))).scores(explainer)
    _assert_same(scores[:, len(data) :], scores[:, :4])


def check_far_queries(explainer, data):
    """Far outside nothing is NaN."""
    if sparse.issparse(data.Z):
        return
    z, t = data.queries(slice(0, 1))
    explainer.fit(data.X, data.y)
    for far in (z + 1e3, z - 1e6):
        assert not np.isnan(explainer.score_influence(far, t)).any()


def check_copies(explainer, data):
    """Pickles and refitted clones give the same scores."""
    scores = data.scores(explainer)
    copy = pickle.loads(pickle.dumps(explainer))
    assert_array_equal(copy.score_influence(data.Z, data.t), scores)
    _assert_same(data.scores(clone(explainer)), scores)


def check_fitted_estimator(explainer, data):
    """A fitted estimator is explained as it is, and left as it was."""
    scores = data.scores(explainer)
    # Fitted apart, so that a change made by every fit shows.
    fitted = clone(explainer.estimator_).fit(data.X, data.y)
    before = pickle.dumps(fitted)
    again = clone(explainer).set_params(estimator=fitted)
    # clone() dropped the fitted state of the inner estimator; hand it over again.
    again.estimator = fitted
    assert again.fit(data.X, data.y).estimator_ is fitted
    _assert_same(again.score_influence(data.Z, data.t), scores)
    assert pickle.dumps(fitted) == before


def check_sample_weight(explainer, data):
    """Integer weights are repeated rows, and weight 0 is no row.

    A row goes with all its weight: it scores as its copies do when they go together.
    """
    if not has_fit_parameter(explainer, "sample_weight"):
        return
    weights = np.arange(len(data)) % 3
    positions = np.repeat(np.arange(len(data)), weights)
    repeated = clone(explainer)
    expected = data.rows(positions).scores(repeated)
    explainer.fit(data.X, data.y, sample_weight=weights)
    scores = explainer.score_influence(data.Z, data.t)
    assert_array_equal(scores[:, weights == 0], 0.0)
    _assert_same(scores[:, weights == 1], expected[:, weights[positions] == 1])
    if hasattr(explainer, "log_density"):
        _assert_same(explainer.log_density(data.Z), repeated.log_density(data.Z))
        return
    copies = [np.flatnonzero(positions == i) for i in np.flatnonzero(weights == 2)]
    together = repeated.score_groups(data.Z, data.t, groups=copies)
    _assert_same(scores[:, weights == 2], together)


def check_interrupted_fit(explainer, data):
    """A fit that fails leaves the explainer as it was."""
    scores = data.scores(explainer)
    broken = data.X.copy()
    broken[0, 0] = np.nan
    try:
        explainer.fit(broken, data.y)
    except ValueError:
        assert_array_equal(explainer.score_influence(data.Z, data.t), scores)
    else:
        raise AssertionError("fit accepted a NaN")


def check_outlier_contract(explainer, data):
    """Labels follow from scores and offset, training labels included."""
    explainer.fit(data.X, data.y)
    if not hasattr(explainer, "predict"):
        return
    decision = explainer.score_samples(data.Z) - explainer.offset_
    _assert_same(explainer.decision_function(data.Z), decision)
    assert_array_equal(explainer.predict(data.Z), np.where(decision >= 0, 1, -1))
    if hasattr(explainer, "fit_predict"):
        assert_array_equal(explainer.fit_predict(data.X), explainer.predict(data.X))


CHECKS = [
    check_shapes,
    check_self_influence,
    check_permutation,
    check_single_queries,
    check_memory_and_threads,
    check_sinks,
    check_groups,
    check_strongest,
    check_duplicates,
    check_far_queries,
    check_copies,
    check_fitted_estimator,
    check_interrupted_fit,
    check_outlier_contract,
]
