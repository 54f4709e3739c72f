"""Sums of scores against what training did to the queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from skinfluence import _loops
from skinfluence.checkpoints.momentum import ways
from skinfluence.metrics import Agreement, agreement
from skinfluence.torch.influence.queries import Queries
from skinfluence.torch.influence.trained import as_array, gradient_blocks
from skinfluence.torch.tracing.metric import make_metric
from skinfluence.torch.tracing.rates import Rates
from skinfluence.torch.tracing.scores import checked
from skinfluence.torch.tracing.sums import check_finite
from skinfluence.torch.tracing.trajectory import Point, Trajectory


@dataclass
class Drops:
    """What happened to queries from each checkpoint to the next, (n_queries, C - 1).

    Parameters
    ----------
    estimated : ndarray
        Sums over the training rows of their scores, of the steps in between alone.
    actual : ndarray
        Values at the earlier checkpoint minus those at the later one.
    steps : ndarray of int of shape (C - 1,)
        Of the later one.
    """

    estimated: np.ndarray
    actual: np.ndarray
    steps: np.ndarray

    def agreement(self, *, consecutive: bool) -> Agreement:
        """Of whole trainings, a pair for each query, or of their intervals."""
        if consecutive:
            return agreement(self.estimated, self.actual, rows=self.steps)
        return agreement(self.estimated.sum(1), self.actual.sum(1))


@dataclass
class Intervals:
    """How far the optimiser went before and after each checkpoint, by parameter name.

    Parameters
    ----------
    before, after : list of dict of str to float
        Half of the way to each neighbour; nothing outside the first and the last.
    """

    before: Rates
    after: Rates


def recorded_intervals(
    trajectory: Trajectory, n_train: int, *, consecutive: bool = False
) -> Intervals:
    """Of recorded sums of rates; `n_train` where the recording does not say the rows.

    Of whole trainings as in the scores; `consecutive` ones count momentum where it is spent.
    """
    checkpoints = trajectory.checkpoints
    n, names = checkpoints.n_rows or n_train, trajectory.objective.network.names
    paths: list[Mapping[str, float]] = [c.path or {} for c in checkpoints]
    if not consecutive:
        taken = ways(checkpoints, checkpoints.optimizer, paths[-1])
        later = [{name: way[c] for name, way in taken.items()} for c in range(1, len(paths))]
        paths = [paths[0], *later]
    halves = [
        {name: (b.get(name, 0.0) - a.get(name, 0.0)) / (2 * n) for name in names}
        for a, b in pairwise(paths)
    ]
    nothing = dict.fromkeys(names, 0.0)
    return Intervals([nothing, *halves], [*halves, nothing])


def make_intervals(
    trajectory: Trajectory, n_train: int, *, given: bool, consecutive: bool = False
) -> Intervals:
    """Of rates that were passed (`given`), else of recorded ones."""
    if given:
        return given_intervals(trajectory.rates)
    return recorded_intervals(trajectory, n_train, consecutive=consecutive)


def given_intervals(rates: Rates) -> Intervals:
    """Of rates that were passed: a checkpoint's steps follow it, those of the last precede it."""
    nothing = dict.fromkeys(rates[0], 0.0)
    before = [nothing] * (len(rates) - 1) + [rates[-1]]
    return Intervals(before, [*rates[:-1], nothing])


def drops(
    trajectory: Trajectory,
    intervals: Intervals,
    queries: Queries,
    weights: np.ndarray,
    *,
    progress: bool = False,
) -> Drops:
    """Compare sums of scores with drops of the queries' values.

    Parameters
    ----------
    trajectory : Trajectory
        At least two checkpoints.
    intervals : Intervals
    queries : Queries
    weights : ndarray of shape (n_train,)
        Of the training rows.
    progress : bool
    """
    n, C = queries.shape[0], len(trajectory)
    estimated, values = np.zeros((n, C - 1)), np.empty((n, C))
    bar = _loops.progress_bar(range(C), total=C, enabled=progress, desc="validate")
    for c in bar:
        point = trajectory.point(c)
        moves = _moves(point, trajectory, intervals, c, weights)
        # The same noise all the way: else its differences would be taken for drops.
        asked = point.asked(queries, step=trajectory.steps[0])
        for part, found, change in _at(point, asked, moves):
            values[part, c] = found
            if c > 0:
                estimated[part, c - 1] += change[:, 0]
            if c < C - 1:
                estimated[part, c] += change[:, 1]
    steps = np.asarray(trajectory.steps[1:])
    return Drops(estimated, values[:, :-1] - values[:, 1:], steps)


def _moves(
    point: Point, trajectory: Trajectory, intervals: Intervals, c: int, weights: np.ndarray
) -> Tensor:
    """What the steps before and after a checkpoint take the parameters back by, (2, p)."""
    network = point.objective.network
    gradient = torch.zeros(1, network.n_params, dtype=torch.float64, device=network.device)
    for rows in _loops.slices(len(weights), point.gradients.block_size()):
        w = torch.from_numpy(weights[rows])[None].to(network.device, network.dtype)
        gradient += checked(point, rows).adjoint(w)
    scale = trajectory.scale(c, network)
    both = (intervals.before[c], intervals.after[c])
    return torch.cat([make_metric(network, rates, scale).times(gradient) for rates in both])


def _at(
    point: Point, asked: Queries, moves: Tensor
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    for part, block in gradient_blocks(asked.gradients, asked.take, asked.shape[0]):
        check_finite(block.values, point, "The value of query", part.start)
        yield part, as_array(block.values), as_array(block.times(moves))
