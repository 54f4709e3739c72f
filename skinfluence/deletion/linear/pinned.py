"""How the minimum of a kinked loss follows small changes: rows on a kink stay on it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skinfluence.deletion.linear.kinks import KinkedFit

Array = NDArray[np.float64]


class Pinned:
    """Derivatives at a minimum of ``sum_i w_i l(f_i) + m sum_p l2_p theta_p^2 / 2``, l with kinks.

    With beta_i the slopes that rows have there, and S the rows on a kink, the minimum solves
    ``m l2 theta = X'beta`` and ``X_S theta = p_S``. Slopes off the kinks are constant, so that

        [m diag(l2), -X_S'; -X_S, 0] (d theta; d beta_S) = (beta_i dx_i; e_i dx_i'theta).

    The matrix is symmetric: of a value with gradient g in theta, the derivative in x_i is
    ``beta_i v + u_i theta`` with (v; u) the solution for (g; 0), and u_i = 0 off the kinks.

    Parameters
    ----------
    fit : KinkedFit

    Attributes
    ----------
    beta : ndarray of shape (n_train,)
    settled : bool
        False where no row is on a kink and an interval of intercepts is optimal.
    """

    def __init__(self, fit: KinkedFit):
        objective, programme, point = fit.objective, fit.programme, fit.point
        self.beta = np.zeros(objective.n_train)
        self.beta[fit.held] = programme.on_rows(point.beta)
        self.on_kink = np.unique(fit.held[programme.row[point.free.members]])
        self.settled = len(point.free.groups) == programme.n_sums
        strength = objective.m * objective.penalty.l2[:, 0]
        self._free = strength == 0  # an intercept without a penalty
        self._over = np.where(self._free, 0.0, 1.0 / np.where(self._free, 1.0, strength))
        self._rows = objective.design.take(self.on_kink).dense()

    def solve(self, gradients: Array) -> tuple[Array, Array]:
        """v, (P, b), and u of all training rows, (n_train, b), for gradients (P, b)."""
        rows, over, free = self._rows, self._over[:, None], self._free
        border, k = rows[:, free], len(rows)
        system = np.block(
            [[(rows * self._over) @ rows.T, border], [border.T, np.zeros((free.sum(),) * 2)]]
        )
        right = -np.vstack([rows @ (over * gradients), gradients[free]])
        solved = np.linalg.lstsq(system, right, rcond=None)[0]
        v = over * (gradients + rows.T @ solved[:k])
        v[free] = solved[k:]
        u = np.zeros((len(self.beta), gradients.shape[1]))
        u[self.on_kink] = solved[:k]
        return v, u
