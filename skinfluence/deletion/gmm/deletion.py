"""Deletion of rows from a fitted GaussianMixture."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import logsumexp
from sklearn import get_config
from sklearn.mixture import GaussianMixture

from skinfluence.deletion.base import DensityDeletion

from . import em
from .checks import (
    check_memory,
    check_request,
    warn_additions,
    warn_dead,
    warn_flagged,
    warn_loose,
    warn_singular,
    warn_truth,
)
from .covariance_types import frame_of
from .models import BATCH, MODELS
from .polish import settle
from .sample import SMALL, Rows, Sample, log_ratio, responsibilities
from .statistics import Array, Frame
from .well_separated import hard_frame, hard_responsibilities

_BLOCK = 2**16  # queries x models evaluated at once


class GMMDeletion(DensityDeletion):
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
        than 2**31 products; then those with the largest steps.
    """

    def __init__(
        self,
        model: GaussianMixture,
        X: Array,
        *,
        method: str = "implicit",
        progress: bool = False,
    ) -> None:
        X = np.asarray(X, dtype=np.float64)
        check_request(model, X, method)
        self.method, self.n_train = method, len(X)
        budget = get_config()["working_memory"] * 2**20 / 4
        self._centre = X.mean(axis=0)
        rows = X - self._centre
        warn_dead(model, len(X))
        frame = frame_of(model, self._centre, len(X))
        check_memory(frame, method)
        settled = settle(frame, rows, budget)
        self.stationarity = settled.before, settled.after
        warn_loose(model, settled)
        hard = method == "well_separated"
        self._mixture = hard_frame(settled.frame, rows) if hard else settled.frame
        log_r, _ = self._responsibilities(rows)
        width = self._mixture.n_components * self._mixture.n_features_out
        self.row_block = int(np.clip(budget / (64 * width), 1, min(len(X), 4096)))
        sample = Sample(self._mixture, rows, log_r, budget)
        self._models = MODELS[method](sample, self.row_block, budget, progress)
        warn_singular(self._models.condition)
        self.flagged_rows = np.flatnonzero(self._models.flags)
        self.refitted_rows = self._models.refitted
        self.n_checked = self._models.n_checked
        warn_flagged(self._models.flags, self._models.frail, method)

    def query_block(self, n_rows: int, budget: float) -> int:
        width = self._mixture.n_components * self._mixture.n_features_out
        return int(max(1, budget // (8 * (4 * width + 2 * n_rows))))

    def delete(self, rows: slice) -> Array:
        """Changes of the natural parameters of the models without each row, (K, qf, n_rows)."""
        mine, dT = self._models.deleted(rows)
        return self._mixture.natural(dT, mine.known)[0]

    def change(self, X: Array, deleted: Array) -> Array:
        X = X - self._centre
        log_r, _ = self._responsibilities(X)
        f = self._mixture.features(X)
        scores = np.empty((len(X), deleted.shape[-1]))
        size = max(1, _BLOCK // max(1, deleted.shape[-1]))
        for start in range(0, len(X), size):
            part = slice(start, start + size)
            scores[part] = _change(f[:, :, part], log_r[:, part], deleted)
        return scores

    def self_change(self, rows: slice) -> Array:
        return self._models.self_change[rows].copy()

    def addition(self, X: Array) -> Array:
        scores, unsettled = np.empty(len(X)), 0
        for start in range(0, len(X), min(self.row_block, BATCH)):
            part = slice(start, start + min(self.row_block, BATCH))
            Z = X[part] - self._centre
            known = self._mixture.known(Z, 1.0)
            rows = Rows(self._mixture.features(Z), self._responsibilities(Z)[0], known, 1.0)
            dT, sound = self._models.added(rows, Z)
            unsettled += int(np.sum(~sound))
            scores[part] = log_ratio(rows.log_r, rows.change(self._mixture.natural(dT, known)[0]))
        warn_additions(unsettled, len(X))
        return scores

    def log_density(self, X: Array) -> Array:
        return responsibilities(self._mixture, X - self._centre)[1]

    def refit_loss(self, row: int | None, X: Array) -> Array:
        rows = self._models.sample.X
        rows = rows if row is None else np.delete(rows, row, axis=0)
        kind, reg = self._mixture.covariance_type, self._mixture.reg
        fit, converged = em.run_em(_natural_parameters(self._mixture), rows, kind, reg)
        warn_truth(row, converged)
        return -logsumexp(em.log_joint(fit, X - self._centre), axis=1)

    def report(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "stationarity": self.stationarity,
            "flagged_rows": self.flagged_rows,
            "refitted_rows": self.refitted_rows,
            "n_checked": self.n_checked,
        }

    def _responsibilities(self, X: Array) -> tuple[Array, Array]:
        if self.method == "well_separated":
            return hard_responsibilities(self._mixture, X)
        return responsibilities(self._mixture, X)


def _change(f: Array, log_r: Array, eta: Array) -> Array:
    """-log sum_k r_k exp(f . eta_k) for queries (K, qf, m) and models (K, qf, B), (m, B)."""
    delta = np.matmul(f.swapaxes(1, 2), eta)
    if delta.min() > -SMALL and delta.max() < SMALL:
        np.exp(delta, out=delta)
        delta *= np.exp(log_r)[:, :, None]
        return -np.log(delta.sum(axis=0))
    return -log_ratio(log_r[:, :, None], delta)


def _natural_parameters(frame: Frame) -> em.Parameters:
    """Weights, means and covariances, for code that knows nothing of frames."""
    d = frame.n_features
    scale = frame.scale if frame.scale.ndim == 3 else frame.scale[:, :, None] * np.eye(d)
    covariances: Array = np.asarray(np.linalg.inv(scale @ scale.transpose(0, 2, 1)), dtype=float)
    return em.Parameters(frame.weights, frame.means, covariances)
