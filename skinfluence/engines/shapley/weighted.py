"""Shapley values of rows whose votes are weighted, and divided by the weights of those who vote.

With weights the value of a subset is a ratio, and ratios do not add up. But ``1 / W`` is the
integral of ``exp(-s W)`` over s > 0, and ``exp(-s W)`` is a product over rows: at each s, sums
over subsets are elementary symmetric polynomials, which grow by a row at a time. A trapezoidal
rule in ``log s`` sees an analytic function that dies away at both ends, and is exact to rounding.

Conventions as in :mod:`skinfluence.engines.shapley.values`: rows are sorted by distance along the
last axis, nearest first; values are (q, N), in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, gammaln

from skinfluence import _loops

Array = NDArray[np.float64]

# The rule is off by about 10 exp(-pi^2 / step), relative to the ratio (10 times that for its
# square); what is cut off of its ends is below exp(-32).
_STEP = {1: 0.29, 2: 0.27}
_LEFT, _RIGHT = 32.0, 3.6

# What the largest weight is beside an infinite one: invisible in a sum.
_FAINT = 1e-18
# The smallest weight, as a share of the largest.
_LEAST = 1e-280


def weighted_shares_of_votes(
    agrees: Array, weights: Array, k: int, *, budget: float = np.inf
) -> Array:
    """Values of rows for ``v(S)``, the share of the weight that votes for a label.

    ``v(S) = sum of w a / sum of w`` over the k nearest rows of S, 0 without rows.

    Parameters
    ----------
    agrees : ndarray of shape (q, N)
        a: 1 where a row has the query's label, else 0.
    weights : ndarray of shape (q, N)
        w > 0; infinite where these rows count alone.
    k : int
    budget : float
        Bytes that may be in use.
    """
    return _values(agrees, weights, k, budget, order=1)


def weighted_squared_errors(
    targets: Array, y: Array, weights: Array, k: int, *, budget: float = np.inf
) -> Array:
    """Values of rows for ``v(S) = -(sum of w t / sum of w - y)^2`` over the k nearest rows of S.

    Without rows the prediction is 0.

    Parameters
    ----------
    targets : ndarray of shape (q, N)
        t.
    y : ndarray of shape (q,)
    weights : ndarray of shape (q, N)
        w > 0; infinite where these rows count alone.
    k : int
    budget : float
        Bytes that may be in use.
    """
    # The weighted mean of t - y is what is squared; the empty set is nothing of the kind.
    found = -_values(targets - y[:, None], weights, k, budget, order=2)
    return found + y[:, None] ** 2 / targets.shape[1]


def floats_a_query(n_rows: int, k: int) -> int:
    """Numbers that a query keeps alive at one node."""
    return 12 * min(k, n_rows) * n_rows


def _values(numbers, weights, k, budget, *, order):
    """Values of rows for the `order`-th power of the weighted mean of `numbers`, (q, N)."""
    weights, total = _finite(weights), 0.0
    n_rows = weights.shape[1]
    nodes = _nodes(weights, min(k, n_rows), order)
    at_once = budget / (8.0 * floats_a_query(n_rows, k) * len(weights))
    size = int(min(max(1.0, at_once), nodes.shape[1]))
    with np.errstate(over="ignore", under="ignore"):
        for part in _loops.slices(nodes.shape[1], size):
            total = total + _at_nodes(numbers, weights, k, nodes[:, part], order)
    return total


def _finite(weights):
    """Weights of each query up to a factor, (q, N), at most 1: infinite ones outweigh all."""
    infinite = np.isinf(weights)
    alone = infinite.any(axis=1, keepdims=True)
    largest = np.where(infinite, 0.0, weights).max(axis=1, keepdims=True)
    shares = np.maximum(weights / np.where(largest > 0, largest, 1.0), _LEAST)
    return np.where(infinite, 1.0, np.where(alone, _FAINT, 1.0) * shares)


def _nodes(weights, k, order):
    """log s at which the integrand of each query is taken, (q, n_nodes), ascending."""
    low = -np.log(k * weights.max(axis=1)) - _LEFT / order
    high = -np.log(weights.min(axis=1)) + _RIGHT
    count = int(np.ceil((high - low).max() / _STEP[order])) + 1
    return low[:, None] + _STEP[order] * np.arange(count)


def _at_nodes(numbers, weights, k, nodes, order):
    """The part of the values that belongs to some of the nodes, (q, N)."""
    scaled = np.exp(nodes[:, :, None] + np.log(weights)[:, None, :])  # s w, (q, nodes, N)
    x = np.exp(-scaled).transpose(2, 0, 1)
    # s w t x is bounded, and s w t alone is not.
    first = np.where(x > 0, scaled.transpose(2, 0, 1), 0.0) * numbers.T[:, :, None]
    terms = [x, x * first, x * first**2][: order + 1]
    steps = _Ranks(terms, min(k, len(x))).steps()
    return np.cumsum(_STEP[order] * steps[::-1].sum(axis=2), axis=0)[::-1].T


@dataclass
class _Ranks:
    """Sums over subsets of the rows before and after each rank, at some nodes.

    A *sum* of degree b is over all subsets of b rows, of the product of their x times a power of
    the sum of their s w t; the powers 0, 1 (and 2) are the first axis, the degrees the second.

    Parameters
    ----------
    terms : list of ndarray of shape (N, q, n_nodes)
        x, x (s w t), and x (s w t)^2 where the square is asked for.
    k : int
        At most N.
    """

    terms: list[Array]
    k: int

    def __post_init__(self):
        self.n = len(self.terms[0])
        self.shape = (len(self.terms), self.k, *self.terms[0].shape[1:])
        # Of rows i and i + 1 exchanged beside a set of b rows: how often b < k - 1 comes up, and
        # how often the k - 1 whose farthest is m do, with any of those beyond m [m from 0].
        degrees = np.arange(self.k, dtype=np.float64)
        small = np.zeros(2 * self.k)
        fewer = np.arange(self.k - 1)
        small[: self.k - 1] = np.exp(_log_inverse_choose(self.n - 2, fewer)) / max(self.n - 1, 1)
        self.hankel = small[np.add.outer(np.arange(self.k), np.arange(self.k))]
        farther = np.arange(1.0, self.n + 1.0)
        self.ends = np.zeros(self.n)
        self.ends[self.k :] = np.exp(betaln(self.k, farther[self.k :] - self.k))
        self.alone = np.exp(_log_inverse_choose(self.n - 1, degrees)) / self.n

    def steps(self):
        """``s_i - s_{i+1}`` of each rank, and s_N for the last, (N, q, n_nodes)."""
        before = self._before()
        steps = np.empty_like(self.terms[0])
        last = self._joined(before[-1], self.n - 1) - before[-1][-1]
        steps[-1] = np.tensordot(self.alone, last, axes=1)
        any_after, ended_after = self._nothing(), np.zeros(self.shape)
        for i in range(self.n - 2, -1, -1):
            if i < self.n - 2:
                self._grow(any_after, i + 2)
                ended_after[0, 0] = self.ends[i + 2]
                self._grow(ended_after, i + 2)
            ended_after[0, 0] = self.ends[i + 1]
            around = self._around(before[i], self._completing(any_after, ended_after))
            steps[i] = self._with_row(around, i) - self._with_row(around, i + 1)
        return steps

    def _nothing(self):
        """Sums over the subsets of no rows."""
        sums = np.zeros(self.shape)
        sums[0, 0] = 1.0
        return sums

    def _before(self):
        """Sums over subsets of the rows before each rank, (N, powers, k, q, n_nodes)."""
        found = np.empty((self.n, *self.shape))
        found[0] = self._nothing()
        for i in range(1, self.n):
            found[i] = found[i - 1]
            self._grow(found[i], i - 1)
        return found

    def _grow(self, sums, row):
        """Let subsets hold one more row, in place."""
        x, *more = [term[row] for term in self.terms]
        added = [sums[0, :-1] * x]
        if more:
            added.append(sums[1, :-1] * x + sums[0, :-1] * more[0])
        if len(more) > 1:
            twice = 2.0 * sums[1, :-1] * more[0]
            added.append(sums[2, :-1] * x + twice + sums[0, :-1] * more[1])
        for power, new in enumerate(added):
            sums[power, 1:] += new

    def _completing(self, any_after, ended_after):
        """What may come after to each number of rows before, with how often it does."""
        flat = any_after.reshape(len(any_after), self.k, -1)
        found = (self.hankel @ flat).reshape(self.shape)
        found += ended_after[:, ::-1]
        return found

    def _around(self, before, after):
        """Sums over the rows on both sides, one a power: products of sums, binomially."""
        found = [np.einsum("k...,k...->...", before[0], after[0])]
        if len(before) > 1:
            one = np.einsum("k...,k...->...", before[1], after[0])
            found.append(one + np.einsum("k...,k...->...", before[0], after[1]))
        if len(before) > 2:
            two = np.einsum("k...,k...->...", before[2], after[0])
            two += 2.0 * np.einsum("k...,k...->...", before[1], after[1])
            found.append(two + np.einsum("k...,k...->...", before[0], after[2]))
        return found

    def _joined(self, sums, row):
        """The highest power over subsets that hold `row` beside what `sums` hold."""
        terms = [term[row] for term in self.terms]
        if len(terms) == 2:
            return sums[1] * terms[0] + sums[0] * terms[1]
        return sums[2] * terms[0] + 2.0 * sums[1] * terms[1] + sums[0] * terms[2]

    _with_row = _joined


def _log_inverse_choose(n, degrees):
    """log of 1 / C(n, degree); -inf where there are not so many."""
    degrees = np.asarray(degrees, dtype=np.float64)
    inside = degrees <= n
    safe = np.where(inside, degrees, 0.0)
    log = gammaln(safe + 1.0) + gammaln(np.maximum(n - safe, 0.0) + 1.0) - gammaln(max(n, 0) + 1.0)
    return np.where(inside, log, -np.inf)
