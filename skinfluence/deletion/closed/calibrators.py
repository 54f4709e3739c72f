"""Curves that turn scores into probabilities, fitted without each row of many at once.

Platt's sigmoid [1]_ is a logistic regression on one score whose targets are not 0 and 1 but
``(N_+ + 1) / (N_+ + 2)`` and ``1 / (N_- + 2)``, where N are the weights of both classes, so that a
row moves the targets of its whole class. The temperature [2]_ is one factor of the scores of all
classes. Both are convex in one or two numbers, and Newton's method finds them. Its steps are
shortened to ``log(1 + r) / r`` where they change a log odds by r, which is always a descent and
soon a whole step [3]_.

References
----------
.. [1] J. Platt (2000), Probabilistic outputs for support vector machines and comparisons to
   regularized likelihood methods.
.. [2] C. Guo et al. (2017), On calibration of modern neural networks, ICML 34.
.. [3] F. Bach (2010), Self-concordant analysis for logistic regression, Electronic Journal of
   Statistics 4.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from skinfluence.deletion.closed.base import Array, Positions

# A step that changes no log odds by more than this is the last one.
DONE = 1e-9
MAX_STEPS = 200
# Bounds of scikit-learn's for the logarithm of an inverse temperature.
WIDEST = 10.0


class Calibrator(ABC):
    """A curve, and the rows that it is fitted to.

    Attributes
    ----------
    width : int
        Numbers that a fit without one row keeps alive for each row.
    """

    width: int

    @abstractmethod
    def fit(
        self, weights: Array, gone: Positions | None = None, near: Array | None = None
    ) -> Array:
        """Parameters with `weights` (n,), (1, ...), or without each row `gone` too, (b, ...).

        They are searched from those `near`, (1, ...).
        """

    @abstractmethod
    def having(self, place: int, scores: Array, code: int) -> Self:
        """The same with other scores (n_scores,), and another class, of the row at `place`."""

    @abstractmethod
    def slope(self, weights: Array, fitted: list[Any]) -> float:
        """Largest slope of the loss where curves of scikit-learn's are, in its own parameters."""

    @abstractmethod
    def probabilities(self, scores: Array, parameters: Array) -> Array:
        """Of each class, (..., n_classes), from scores (..., n_scores) and what fits give."""


class Sigmoids(Calibrator):
    """One sigmoid a class, or one of two classes, normalised to sum to 1.

    Parameters
    ----------
    scores : ndarray of shape (n, n_scores)
        One column a class; of two classes, one for the second.
    codes : ndarray of int of shape (n,)
        Class of each row.
    """

    def __init__(self, scores: Array, codes: Positions):
        self.n_scores = scores.shape[1]
        # Differences to a middle, in units of the spread: the sigmoid is the same.
        self.middle = scores.mean(axis=0)
        spread = scores.std(axis=0)
        self.spread = np.where(spread > 0.0, spread, 1.0)
        self._scores = (scores - self.middle) / self.spread
        self._wanted = np.arange(self.n_scores) if self.n_scores > 1 else np.array([1])
        self._positive = codes[:, None] == self._wanted
        self.width = 4

    def fit(
        self, weights: Array, gone: Positions | None = None, near: Array | None = None
    ) -> Array:
        found = []
        for c, (F, own) in enumerate(zip(self._scores.T, self._positive.T, strict=True)):
            start = None if near is None else near[..., c]
            found.append(_sigmoid(F, own, weights, gone, start))
        return np.stack(found, axis=-1)

    def having(self, place: int, scores: Array, code: int) -> Self:
        other = copy.copy(self)
        other._scores, other._positive = self._scores.copy(), self._positive.copy()
        other._scores[place] = (scores - self.middle) / self.spread
        other._positive[place] = code == self._wanted
        return other

    def slope(self, weights: Array, fitted: list[Any]) -> float:
        found = 0.0
        scores = self.middle + self.spread * self._scores
        for F, own, curve in zip(scores.T, self._positive.T, fitted, strict=True):
            up, down = weights[own].sum(), weights[~own].sum()
            targets = np.where(own, (up + 1.0) / (up + 2.0), 1.0 / (down + 2.0))
            gaps = weights * (expit(-(curve.a_ * F + curve.b_)) - targets)
            # scikit-learn divides large scores by the largest.
            unit = max(1.0, np.abs(F).max() / 30.0)
            found = max(found, abs(gaps @ F) / unit, abs(gaps.sum()))
        return found

    def probabilities(self, scores: Array, parameters: Array) -> Array:
        along = (scores - self.middle) / self.spread
        each = expit(parameters[..., 0, :] * along + parameters[..., 1, :])
        if self.n_scores == 1:
            return np.concatenate([1.0 - each, each], axis=-1)
        total = each.sum(axis=-1, keepdims=True)
        even = np.full_like(each, 1.0 / self.n_scores)
        return np.divide(each, total, out=even, where=total > 0.0)


def _sigmoid(F, positive, weights, gone, near):
    """Slope and offset of one sigmoid, (b, 2)."""
    none = gone is None
    own = np.zeros(1) if none else weights[gone]
    at = 0.0 if none else F[gone]
    b, mine = len(own), False if none else positive[gone]
    # Platt's targets follow the weights of the classes.
    up = weights[positive].sum() - np.where(mine, own, 0.0)
    down = weights[~positive].sum() - np.where(mine, 0.0, own)
    high, low = (up + 1.0) / (up + 2.0), 1.0 / (down + 2.0)
    tilt = high * (weights * F)[positive].sum() + low * (weights * F)[~positive].sum()
    target = np.where(mine, high, low)
    wanted = np.stack([tilt - target * own * at, high * up + low * down], axis=-1)
    features = np.stack([F**2, F, np.ones_like(F)], axis=-1)
    left = np.stack([own * at**2, own * at, own], axis=-1)
    found = np.zeros((b, 2))
    found[:, 1] = np.log((up + 1.0) / (down + 1.0))
    if near is not None:
        found[:] = near
    lowest, highest = F.min(), F.max()
    for _ in range(MAX_STEPS):
        s = expit(found[:, :1] * F + found[:, 1:])
        theirs = 0.0 if none else s[np.arange(b), gone]
        slopes = (s * weights) @ features[:, 1:] - _of_row(theirs, left[:, 1:]) - wanted
        bends = (s * (1.0 - s) * weights) @ features - _of_row(theirs * (1.0 - theirs), left)
        step = _solved(slopes, bends)
        reach = np.maximum(
            np.abs(step[:, 0] * lowest + step[:, 1]), np.abs(step[:, 0] * highest + step[:, 1])
        )
        found += step * _shortened(reach)[:, None]
        if (reach <= DONE).all():
            break
    return found


def _of_row(value, left):
    return np.reshape(value, (-1, 1)) * left


def _solved(slopes, bends):
    """Newton steps of two parameters; of the offset alone where scores do not differ."""
    aa, ab, bb = bends.T
    det = aa * bb - ab**2
    flat = ~(det > 1e-13 * aa * bb)
    with np.errstate(divide="ignore", invalid="ignore"):
        first = (ab * slopes[:, 1] - bb * slopes[:, 0]) / det
        second = (ab * slopes[:, 0] - aa * slopes[:, 1]) / det
        alone = np.where(bb > 0.0, -slopes[:, 1] / bb, 0.0)
    return np.stack([np.where(flat, 0.0, first), np.where(flat, alone, second)], axis=-1)


def _shortened(reach):
    small = reach < 1e-12
    return np.where(small, 1.0, np.log1p(reach) / np.where(small, 1.0, reach))


class Temperature(Calibrator):
    """One factor of all scores.

    Parameters
    ----------
    scores : ndarray of shape (n, n_classes)
        Decisions, or log probabilities.
    codes : ndarray of int of shape (n,)
        Class of each row.
    """

    def __init__(self, scores: Array, codes: Positions):
        self._scores, self.width = scores, 4 * scores.shape[1]
        self._own = scores[np.arange(len(codes)), codes]
        self._spread = max(float(np.ptp(scores, axis=1).max(initial=0.0)), 1e-300)

    def fit(
        self, weights: Array, gone: Positions | None = None, near: Array | None = None
    ) -> Array:
        z, none = self._scores, gone is None
        own = np.zeros(1) if none else weights[gone]
        beta = np.full(len(own), 1.0 if near is None else near.item())
        for _ in range(MAX_STEPS):
            p = softmax(beta[:, None, None] * z, axis=-1)
            mean = np.einsum("bnk,nk->bn", p, z)
            bends = np.einsum("bnk,nk->bn", p, z**2) - mean**2
            gaps = mean - self._own
            slope, bend = gaps @ weights, bends @ weights
            if not none:
                every = np.arange(len(own))
                slope -= own * gaps[every, gone]
                bend -= own * bends[every, gone]
            step = -np.divide(slope, bend, out=np.zeros_like(slope), where=bend > 0.0)
            reach = np.abs(step) * self._spread
            after = beta + step * _shortened(reach)
            # A negative factor is none; half the way there is.
            after = np.maximum(after, 0.5 * beta)
            after = np.clip(after, np.exp(-WIDEST), np.exp(WIDEST))
            rest = (reach <= DONE) | (after == beta)
            beta = after
            if rest.all():
                break
        return beta[:, None, None]

    def having(self, place: int, scores: Array, code: int) -> Self:
        other = copy.copy(self)
        other._scores, other._own = self._scores.copy(), self._own.copy()
        other._scores[place], other._own[place] = scores, scores[code]
        other._spread = max(self._spread, float(np.ptp(scores)))
        return other

    def slope(self, weights: Array, fitted: list[Any]) -> float:
        (curve,) = fitted
        p = softmax(curve.beta_ * self._scores, axis=-1)
        gaps = np.einsum("nk,nk->n", p, self._scores) - self._own
        return abs(float(curve.beta_ * (weights @ gaps)))

    def probabilities(self, scores: Array, parameters: Array) -> Array:
        found: NDArray[np.float64] = softmax(parameters[..., 0] * scores, axis=-1)
        return found
