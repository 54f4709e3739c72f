"""Approximate deletion from a support vector machine whose kinks are smoothed."""

from __future__ import annotations

from typing import Any

import numpy as np

from skinfluence import _loops
from skinfluence.deletion.base import Array
from skinfluence.deletion.closed.base import EVERY, ExactModel, Meeting, Positions
from skinfluence.deletion.svm.polish import polish
from skinfluence.deletion.svm.problems import NuMargin, OneClass, Problem
from skinfluence.deletion.svm.reading import Machine, last_of_their_class
from skinfluence.deletion.svm.smoothed_optimum import smooth_optimum
from skinfluence.deletion.svm.smoothed_programme import SmoothedProgramme, SmoothPoint
from skinfluence.deletion.svm.smoothed_steps import Steps
from skinfluence.objectives.smoothing import TEMPERATURE

# Dense matrices of all rows that are alive at once.
MATRICES = 4
# Share of what sums of kernels could be below which a margin or a spread is none.
TINY = 1e-6
# Of a rational function, its derivative along a direction to the last digit.
IMAGINARY = 1e-30


class SmoothedMachine(ExactModel):
    """Deletion of rows of a support vector machine by derivatives, in place of its path.

    The kinks of its loss become ``t log(1 + exp(u / t))`` [1]_, the machine is polished to the
    minimum of that, and a deletion is a first-order or a Newton step from there: for comparison
    with the exact path, which meets every bound that a step ignores.

    Parameters
    ----------
    machine : Machine
    method : {"first_order", "newton"}
    smoothing : float or None
        t, in units of the margin 1 (SVC, NuSVC), of the targets (SVR, NuSVR) or of the decision
        function (OneClassSVM). None for 0.01, for the last three times the spread of the targets
        or decisions.

    Attributes
    ----------
    stationarity : tuple of float
        Which share of its own objective, kinks and all, the fit could still have won by going to
        the smoothed minimum (0 at its own), and what is left of the gradient there.
    excess : float
        The first of these.
    temperature : float
    at_kinks : float
        How many rows the curvature of the losses amounts to that holds an offset, where that is
        least: one in the middle of a kink counts as 1.

    References
    ----------
    .. [1] Koh and Liang (2017), Understanding black-box predictions via influence functions,
       section 4.2.
    """

    def __init__(self, machine: Machine, method: str, smoothing: float | None):
        self.machine, self.method = machine, method
        self.linear = method == "first_order"
        self.n_train = machine.kernel.n_train
        self.n_outputs = len(machine.problems)
        self.temperature = temperature(machine, smoothing)
        self.points: list[SmoothPoint] = []
        self.steps: list[Steps] = []
        excess = 0.0
        for problem in machine.problems:
            smooth, point = _smoothed(problem, self.temperature)
            self.points.append(point)
            self.steps.append(Steps(problem, smooth, point, newton=method == "newton"))
            excess = max(excess, _excess(smooth, problem.fitted, point))
        self.excess = excess
        self.at_kinks = min(steps.at_kinks for steps in self.steps)
        self.stationarity = excess, max(point.stationarity for point in self.points)
        self._last = last_of_their_class(machine.codes) if len(machine.pairs) else []

    @property
    def alone(self) -> Positions:  # type: ignore[override]
        """Rows without which a class is gone, or nothing holds the offset."""
        return np.array(sorted({*self._last, *(i for s in self.steps for i in s.alone)}), np.intp)

    @property
    def row_block(self) -> int:
        floats = 4 * sum(len(problem.positions) for problem in self.machine.problems)
        rows = 0.25 * _loops.memory_budget() / (8.0 * floats)
        return int(np.clip(rows, 1, max(self.n_train, 1)))

    def floats_a_query(self, n_rows: int) -> int:
        return 2 * self.n_train + (4 * self.n_outputs + 2) * n_rows

    # -- deletions --------------------------------------------------------------------------------

    def delete(self, rows: Positions) -> Any:
        return len(rows), [self._moved(steps, rows) for steps in self.steps]

    def _moved(self, steps, rows):
        """Which deletions move a problem, and how."""
        problem = steps.problem
        moves = np.full(len(rows), problem.follows) | np.isin(rows, problem.positions)
        columns = np.flatnonzero(moves)
        return columns, *steps.without([rows[[column]] for column in columns])

    # -- outputs ----------------------------------------------------------------------------------

    def outputs(self, X: Any) -> Array:
        return self._decisions(X, 1, [None] * self.n_outputs, EVERY)[:, 0]

    def without(self, X: Any, deleted: Any, meeting: Meeting) -> Array:
        n_rows, moved = deleted
        return self._decisions(X, n_rows, moved, meeting)

    def without_group(self, X: Any, rows: Positions) -> Array | None:
        moved = [self._moved_by(steps, rows) for steps in self.steps]
        return self._decisions(X, 1, moved, EVERY)[:, 0]

    def _moved_by(self, steps, group):
        if not (steps.problem.follows or np.isin(group, steps.problem.positions).any()):
            return None
        if self.linear:
            # Influence of a group is the sum of those of its rows.
            beta, offset = steps.without([group[[j]] for j in range(len(group))])
            beta, offset = beta.sum(axis=1)[:, None], offset.sum(axis=1)[:, None]
        else:
            beta, offset = steps.without([group])
        return np.zeros(1, dtype=np.intp), beta, offset

    def _decisions(self, X, n_rows, moved, meeting):
        """Decisions of every problem, (n_queries, n_rows, n_outputs), or (n_rows, n_outputs)."""
        K = self.machine.kernel.between(X, np.arange(self.n_train))
        shape = (X.shape[0], n_rows) if meeting is EVERY else (n_rows,)
        found = np.empty((*shape, self.n_outputs))
        for k, (steps, move) in enumerate(zip(self.steps, moved, strict=True)):
            own = K[:, steps.problem.positions]
            products = meeting.query(own @ steps.smooth.on_rows(steps.beta))
            products = np.broadcast_to(products, shape)
            offset = np.broadcast_to(
                steps.point.offset[:, None], (len(steps.point.offset), n_rows)
            )
            d_products, d_offset = np.zeros(shape), np.zeros(offset.shape)
            if move is not None:
                columns, beta, d_offset[:, columns] = move
                queries = own if meeting is EVERY else own[columns]
                d_products[..., columns] = meeting.dot(queries, beta.T)
            found[..., k] = self._decided(steps.problem, products, offset, d_products, d_offset)
        return found

    def _decided(self, problem, products, offset, d_products, d_offset):
        """Decisions after a move, or to first order in it."""
        if not self.linear:
            return problem.decision(products + d_products, offset + d_offset)
        before = problem.decision(products, offset)
        along = products + 1j * IMAGINARY * d_products, offset + 1j * IMAGINARY * d_offset
        return before + problem.decision(*along).imag / IMAGINARY


def temperature(machine: Machine, smoothing: float | None) -> float:
    """Temperature in units of the decision function."""
    if smoothing is not None:
        return smoothing
    problem = machine.problems[0]
    if machine.classes is not None:
        return TEMPERATURE
    least = 0.0
    if isinstance(problem, OneClass):
        values = polish(problem.programme, problem.fitted)[0].products
        least = TINY * _size(problem.programme)
    else:
        n = len(problem.positions)
        values = problem.programme.p.reshape(-1, n).mean(axis=0)
    centre = np.average(values, weights=problem.weights)
    spread = np.sqrt(np.average(np.square(values - centre), weights=problem.weights))
    return TEMPERATURE * (max(float(spread), least) or 1.0)


def _size(programme):
    """What sums of kernels could be."""
    return float(np.abs(programme.c).sum() * programme.kernel.largest)


def _smoothed(problem: Problem, t: float) -> tuple[SmoothedProgramme, SmoothPoint]:
    """The smoothed problem, and its minimum."""
    programme = problem.programme
    n = programme.kernel.n
    _check_size(n)
    matrix = programme.kernel.rows(np.arange(n))
    if isinstance(problem, NuMargin):
        # Its decision function is divided by the margin, and t is in units of what comes out.
        exact = polish(programme, problem.fitted)[0]
        rho = 0.5 * float(exact.offset[1] - exact.offset[0])
        t = t * (max(rho, TINY * _size(programme)) or 1.0)
    smooth = SmoothedProgramme(programme, t, matrix)
    return smooth, smooth_optimum(smooth, smooth.on_sites(problem.fitted))


def _check_size(n):
    if MATRICES * 8.0 * n * n > 2.0 * _loops.memory_budget():
        raise ValueError(
            f"Smoothing {n} rows holds {MATRICES} matrices of {n} x {n} numbers, which is twice "
            "scikit-learn's working_memory or more. Use method='auto', which needs none of them, "
            "or raise sklearn.set_config(working_memory=...)."
        )


def _excess(smooth, fitted, point):
    """Share of the objective, kinks and all, that the fit could still have won."""
    raw = SmoothedProgramme(smooth.programme, 0.0, smooth.matrix)
    beta = smooth.on_sites(fitted)
    products = smooth.matrix @ beta
    parts = raw.terms(beta, products, raw.best_offsets(products))
    best = raw.value(point.beta, point.products, raw.best_offsets(point.products))
    size = float(np.abs(parts).sum())
    return max(0.0, sum(parts) - best) / size if size > 0 else 0.0
