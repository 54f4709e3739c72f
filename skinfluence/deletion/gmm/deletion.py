"""Deletion of rows from a fitted GaussianMixture."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.special import logsumexp
from sklearn import get_config
from sklearn.mixture import GaussianMixture
from sklearn.utils.validation import check_is_fitted

from skinfluence.deletion.base import Deletion
from skinfluence.exceptions import (
    DegenerateDeletionWarning,
    NotStationaryWarning,
    UnsupportedEstimatorError,
)

from . import em
from .implicit import Propagation
from .polish import settle
from .refit import damped, finish, one_step, residual, statistic_size, sweep
from .sample import SMALL, Rows, Sample, log_ratio, responsibilities
from .statistics import Array, Frame, frame_of
from .well_separated import hard_frame, hard_responsibilities

METHODS = ("well_separated", "one_step", "implicit", "refit")
_LOOSE = 3e-2  # residual of a fit above which the user should hear about it
_REFINED = 0.05  # share of the rows whose implicit step is replaced by a refit
_CONTRACTION = 0.3  # sound steps shrink by more than this
_SMALL_STEP = 1e-2  # of the whole change: a step below does not matter
_TINY = 1e-8  # an implicit step followed by a smaller one needs no refit
_CHECKS = 2**33  # products that one E step per deletion may cost
_ROUNDS = {"implicit": 6, "refit": 9}  # bursts of 16, 32, ... EM steps for rows that tip
_E_STEP_ROWS = 256  # deletions that share an E step
_BLOCK = 2**16  # queries x models evaluated at once


class GMMDeletion(Deletion):
    """How the loss at a query changes when one row of a Gaussian mixture is deleted.

    Parameters
    ----------
    model : GaussianMixture
        Fitted on `X`; never changed. Scores are computed at a privately polished copy of its
        parameters, because a fit at the default ``tol`` moves by more than a deletion does.
    X : (n_train, d)
    method : {"implicit", "refit", "one_step", "well_separated"}
        "implicit": one Newton step of the equation that the sufficient statistics solve after a
        deletion, evaluated exactly; then one E step a deletion finds the rows that it may serve
        badly, and the worst 5 % are refitted. "refit": EM without the row, run to its limit from
        the fitted parameters. "one_step": one EM step. "well_separated": every row belongs to one
        component only (spherical covariances).

    Attributes
    ----------
    stationarity : (before, after)
        ``|M(theta) - theta|`` of the fit and of its polished copy, free of scale.
    flagged_rows : (n_flagged,) int
        Rows whose deletion is less certain than the others': the implicit step had to be halved,
        the refit did not converge, a component died or lost a dimension.
    refitted_rows : (n_refitted,) int
        Rows whose implicit step was replaced by a refit.
    n_checked : int
        Rows whose implicit step was checked by an E step. All of them unless that would cost more
        than 2**33 products; then those with the largest steps.
    """

    def __init__(self, model: GaussianMixture, X: Array, *, method: str = "implicit") -> None:
        X = np.asarray(X, dtype=np.float64)
        _check(model, X, method)
        self.method, self.model, self.n_train = method, model, len(X)
        self._budget = get_config()["working_memory"] * 2**20 / 4
        self._centre = X.mean(axis=0)
        rows = X - self._centre
        settled = settle(frame_of(model, self._centre, len(X)), rows, self._budget)
        self.stationarity = settled.before, settled.after
        _warn_loose(settled.before, settled.after, settled.converged)
        self._mixture = settled.frame
        if method == "well_separated":
            self._mixture = hard_frame(settled.frame, rows)
        log_r, _ = self._responsibilities(rows)
        self._sample = Sample(self._mixture, rows, log_r, self._budget)
        width = self._mixture.n_components * self._mixture.n_features_out
        self.row_block = int(np.clip(self._budget / (64 * width), 1, min(len(X), 4096)))
        self._propagation = Propagation(self._sample) if method in ("implicit", "refit") else None
        self._flags = np.zeros(len(X), dtype=bool)
        self._stored_rows = np.empty(0, dtype=int)
        self._stored = np.empty((self._mixture.n_components, self._mixture.n_stats, 0))
        self.refitted_rows = np.empty(0, dtype=int)
        self.n_checked = self._prepare()
        self.flagged_rows = np.flatnonzero(self._flags)
        _warn_flagged(self.flagged_rows, len(X), method)

    # Deletion ------------------------------------------------------------------------------
    def query_block(self, n_rows: int, budget: float) -> int:
        width = self._mixture.n_components * self._mixture.n_features_out
        return int(max(1, budget // (8 * (4 * width + 2 * n_rows))))

    def delete(self, rows: slice) -> Array:
        mine = self._sample.rows(rows)
        dT, _ = self._step(mine)
        self._restore(rows, dT)
        return self._mixture.natural(dT, mine.known)[0]

    def change(self, X: Array, deleted: Array) -> Array:
        X = X - self._centre
        scores = np.empty((len(X), deleted.shape[-1]))
        log_r, _ = self._responsibilities(X)
        f = self._mixture.features(X)
        size = max(1, _BLOCK // max(1, deleted.shape[-1]))
        for start in range(0, len(X), size):
            part = slice(start, start + size)
            scores[part] = _change(f[:, :, part], log_r[:, part], deleted)
        return scores

    def self_change(self, rows: slice) -> Array:
        mine = self._sample.rows(rows)
        return -log_ratio(mine.log_r, mine.change(self.delete(rows)))

    def addition(self, X: Array) -> Array:
        scores = np.empty(len(X))
        size = min(self.row_block, _E_STEP_ROWS if self.method == "refit" else self.row_block)
        for start in range(0, len(X), size):
            part = slice(start, start + size)
            Z = X[part] - self._centre
            known = self._mixture.known(Z, 1.0)
            rows = Rows(self._mixture.features(Z), self._responsibilities(Z)[0], known, 1.0)
            dT, _ = self._step(rows)
            if self.method == "refit":
                self._limit(rows, Z, dT)
            eta = self._mixture.natural(dT, known)[0]
            scores[part] = log_ratio(rows.log_r, rows.change(eta))
        return scores

    def log_density(self, X: Array) -> Array:
        return responsibilities(self._mixture, X - self._centre)[1]

    def refit_loss(self, row: int | None, X: Array) -> Array:
        start = _natural_parameters(self._mixture)
        rows = self._sample.X if row is None else np.delete(self._sample.X, row, axis=0)
        kind, reg = self._mixture.covariance_type, self._mixture.reg
        fit, _ = em.run_em(start, rows, kind, reg, tol=1e-10)
        return -logsumexp(em.log_joint(fit, X - self._centre), axis=1)

    def report(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "stationarity": self.stationarity,
            "flagged_rows": self.flagged_rows,
            "refitted_rows": self.refitted_rows,
            "n_checked": self.n_checked,
        }

    # the models without a row ----------------------------------------------------------------
    def _responsibilities(self, X: Array) -> tuple[Array, Array]:
        if self.method == "well_separated":
            return hard_responsibilities(self._mixture, X)
        return responsibilities(self._mixture, X)

    def _step(self, rows: Rows) -> tuple[Array, Array]:
        """dT of the one step or the implicit step, and where the latter was halved."""
        if self._propagation is None:
            return one_step(self._sample, rows), np.zeros(rows.size, dtype=bool)
        return damped(self._sample, rows, self._propagation.step(rows))

    def _restore(self, rows: slice, dT: Array) -> None:
        """Put the refitted rows among `rows` into dT."""
        start, stop, _ = rows.indices(self.n_train)
        first, last = np.searchsorted(self._stored_rows, [start, stop])
        dT[:, :, self._stored_rows[first:last] - start] = self._stored[:, :, first:last]

    def _limit(self, rows: Rows, Z: Array, dT: Array) -> Array:
        """Run EM to its limit from dT, in place; returns which rows converged."""
        _, done = sweep(self._sample, self._propagation, rows, dT)
        left = np.flatnonzero(~done)
        if len(left):
            training = self._sample.X
            if rows.sign < 0:
                others = [np.delete(training, Z[i], axis=0) for i in left]
            else:
                others = [np.vstack([training, Z[i]]) for i in left]
            dT[:, :, left], done[left] = finish(
                self._sample, rows.take(left), others, dT[:, :, left],
                rounds=_ROUNDS[self.method], budget=self._budget,
            )
        return done

    def _prepare(self) -> int:
        """Flag rows, and refit those that the implicit step serves badly."""
        size = np.zeros(self.n_train)
        for block in self._sample.blocks(self.row_block):
            rows = self._sample.rows(block)
            dT, halved = self._step(rows)
            frail = self._mixture.natural(dT, rows.known)[2]
            self._flags[block] = halved | frail
            size[block] = np.where(halved, np.inf, statistic_size(self._sample, dT))
        if self.method == "refit":
            self._keep(np.arange(self.n_train))
            self._refit(np.arange(self.n_train))
        if self.method != "implicit":
            return 0
        width = self._mixture.n_components * self._mixture.n_features_out
        n_checked = int(min(self.n_train, max(1, _CHECKS // (self.n_train * width))))
        checked = np.sort(np.argsort(-size, kind="stable")[:n_checked])
        self._keep(checked)
        self._refit(np.flatnonzero(self._improve()))
        return n_checked

    def _keep(self, rows: np.ndarray) -> None:
        """Keep the models without each of `rows`, starting with the implicit step."""
        K, q = self._mixture.n_components, self._mixture.n_stats
        self._stored_rows, self._stored = rows, np.empty((K, q, len(rows)))
        for part in _parts(len(rows)):
            self._stored[:, :, part] = self._step(self._sample.rows(rows[part]))[0]

    def _improve(self) -> np.ndarray:
        """Take two more steps from the kept models; returns which of them need a refit.

        The steps of a sound deletion shrink fast. Where they do not, the deletion tips EM towards
        another optimum, which only a refit finds; nearly all of the error sits in those few rows.
        """
        n = len(self._stored_rows)
        last, doubtful = np.empty(n), np.empty(n, dtype=bool)
        for part in _parts(n):
            rows = self._sample.rows(self._stored_rows[part])
            sizes, steps = [], self._stored[:, :, part]
            first = statistic_size(self._sample, steps)
            for _ in range(2):
                R, _ = residual(self._sample, rows, steps)
                step = self._propagation.solve(rows, R)
                sizes.append(statistic_size(self._sample, step))
                steps, _ = damped(self._sample, rows, steps + step)
            slow = (sizes[1] > _CONTRACTION * sizes[0]) & (sizes[1] > _SMALL_STEP * first)
            doubtful[part] = slow | self._flags[self._stored_rows[part]]
            last[part] = sizes[1]
            self._improved(part, steps, ~doubtful[part])
        worst = np.argsort(-last, kind="stable")[: int(np.ceil(_REFINED * n))]
        doubtful[worst[last[worst] > _TINY]] = True
        return doubtful

    def _improved(self, part: slice, steps: Array, sound: np.ndarray) -> None:
        kept = self._stored[:, :, part]
        kept[:, :, sound] = steps[:, :, sound]

    def _refit(self, which: np.ndarray) -> None:
        """Run the kept models `which` to the limit of EM."""
        self.refitted_rows = self._stored_rows[which]
        for part in _parts(len(which)):
            rows = self._stored_rows[which[part]]
            mine = self._sample.rows(rows)
            dT = self._stored[:, :, which[part]]
            done = self._limit(mine, rows, dT)
            self._stored[:, :, which[part]] = dT
            self._flags[rows] = ~done | self._mixture.natural(dT, mine.known)[2]


def _parts(n: int) -> Iterator[slice]:
    for start in range(0, n, _E_STEP_ROWS):
        yield slice(start, min(start + _E_STEP_ROWS, n))


def _change(f: Array, log_r: Array, eta: Array) -> Array:
    """-log sum_k r_k exp(f . eta_k) for queries (K, qf, m) and models (K, qf, B), (m, B)."""
    delta = np.matmul(f.swapaxes(1, 2), eta)
    if -SMALL < delta.min() and delta.max() < SMALL:
        np.exp(delta, out=delta)
        delta *= np.exp(log_r)[:, :, None]
        return -np.log(delta.sum(axis=0))
    return -log_ratio(log_r[:, :, None], delta)


def _natural_parameters(frame: Frame) -> em.Parameters:
    """Weights, means and covariances, for code that knows nothing of frames."""
    d = frame.n_features
    scale = frame.scale if frame.scale.ndim == 3 else frame.scale[:, :, None] * np.eye(d)
    covariances = np.linalg.inv(scale @ scale.transpose(0, 2, 1))
    return em.Parameters(frame.weights, frame.means, covariances)


def _check(model: GaussianMixture, X: Array, method: str) -> None:
    if not isinstance(model, GaussianMixture):
        raise UnsupportedEstimatorError(
            f"Rows can be deleted from a GaussianMixture; got {type(model).__name__}, whose "
            "parameters are not a fixed point of EM. Fit sklearn.mixture.GaussianMixture instead."
        )
    check_is_fitted(model)
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}; got {method!r}.")
    if method == "well_separated" and model.covariance_type != "spherical":
        raise ValueError(
            "method='well_separated' is a closed form for spherical components; this model has "
            f"covariance_type={model.covariance_type!r}. Use method='implicit', or fit "
            "GaussianMixture(covariance_type='spherical')."
        )
    if X.ndim != 2 or X.shape[1] != model.means_.shape[1]:
        raise ValueError(
            f"The rows must have the {model.means_.shape[1]} features the mixture was fitted on; "
            f"got an array of shape {X.shape}."
        )
    if not np.isfinite(X).all():
        raise ValueError("The training rows hold NaN or infinity; a mixture has no place for them.")
    if len(X) <= len(model.means_):
        raise ValueError(
            f"Without one of {len(X)} rows a mixture of {len(model.means_)} components cannot be "
            "fitted: it needs at least as many rows as components. Give more rows or fit fewer "
            "components."
        )


def _warn_loose(before: float, after: float, converged: bool) -> None:
    if converged and before <= _LOOSE:
        return
    if not converged:
        seen = f"the residual of its polished copy is still {after:.1e}"
        advice = "Scores may be off by as much; fit fewer components, or raise reg_covar."
    else:
        seen = f"its residual |M(theta) - theta| is {before:.1e} (at an optimum 0)"
        advice = (
            "Scores are computed at a polished copy. Check that these are the rows it was fitted "
            "on, or fit with a smaller `tol` and a larger `max_iter`."
        )
    warnings.warn(f"The mixture is not at an optimum on these rows: {seen}. {advice}",
                  NotStationaryWarning, stacklevel=3)


def _warn_flagged(flagged: np.ndarray, n: int, method: str) -> None:
    if len(flagged):
        warnings.warn(
            f"The deletion of {len(flagged)} of {n} rows is less certain than the others' (a "
            "component dies or loses a dimension, or EM did not settle); their positions are in "
            "`flagged_rows`." + ("" if method == "refit" else " method='refit' is exact."),
            DegenerateDeletionWarning,
            stacklevel=3,
        )
