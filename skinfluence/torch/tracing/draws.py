"""Rows of a loss that is a mean over noise: each with draws of its own, the same whoever asks."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from skinfluence.torch.data import Batch, Rows
from skinfluence.torch.objective import Draws

# Noise of training rows and of queries is independent even where the rows are the same, since
# the product of two noisy gradients is unbiased only then.
TRAINING, QUERIES, PILOT = 0, 1, 2


class DrawnRows(Rows):
    """Rows with noise as their last input, (b, n_draws, \\*shape).

    Noise belongs to a row's position: blocks, their order and threads do not matter, and fewer
    draws are the first of more. It comes from Philox, a generator whose state is a counter, which
    position, step and stream are a part of; no two of them ever share a number.

    Parameters
    ----------
    rows : Rows
        Inputs without noise.
    draws : Draws
        What one draw looks like.
    n_draws : int
    seed : int
    stream : int
        TRAINING, QUERIES or PILOT: another stream is independent noise.
    step : int, default=0
        Step of the checkpoint.
    positions : range or ndarray of int, default=None
        Which rows these are; ``range(n)`` by default.
    """

    def __init__(
        self,
        rows: Rows,
        draws: Draws,
        n_draws: int,
        *,
        seed: int,
        stream: int,
        step: int = 0,
        positions: range | np.ndarray | None = None,
    ):
        self.rows, self.draws, self.n_draws = rows, draws, n_draws
        self.seed, self.stream, self.step = int(seed), int(stream), int(step)
        self.positions = range(rows.shape[0]) if positions is None else positions
        self.device = rows.device

    @property
    def shape(self) -> tuple[int, ...]:
        return self.rows.shape

    def take(self, rows: slice | np.ndarray | Tensor) -> Batch:
        return with_noise(self.rows.take(rows), self.noise(rows))

    def apart(self, rows: slice | np.ndarray | Tensor) -> Batch:
        """The draws one by one: each row n_draws times, and a draw with each, (b * n_draws, ...).

        Those of a row follow one another.
        """
        return one_by_one(self.rows.take(rows), self.noise(rows))

    def __getitem__(self, rows: slice) -> DrawnRows:
        return DrawnRows(
            self.rows[rows],
            self.draws,
            self.n_draws,
            seed=self.seed,
            stream=self.stream,
            step=self.step,
            positions=self.positions[rows],
        )

    def noise(self, rows: slice | np.ndarray | Tensor) -> Tensor:
        """Standard normal numbers of some rows, (b, n_draws, \\*shape), on the rows' device."""
        rows = rows.cpu().numpy() if isinstance(rows, Tensor) else rows
        own = self.positions[rows] if isinstance(rows, slice) else np.asarray(self.positions)[rows]
        found = np.empty((len(own), self.n_draws * math.prod(self.draws.shape)))
        for i, values in zip(own, found, strict=True):
            self._generator(int(i)).standard_normal(out=values)
        # Drawn in float64, so that the noise of a network does not depend on its type.
        drawn = torch.from_numpy(found).to(self.device, self.draws.dtype)
        return drawn.view(len(own), self.n_draws, *self.draws.shape)

    def _generator(self, position: int) -> np.random.Generator:
        # The lowest word counts the numbers of a row, of which there are fewer than 2^64.
        counter = np.array([0, position, self.step, self.stream], dtype=np.uint64)
        return np.random.Generator(np.random.Philox(counter=counter, key=self.seed))


def without_draws(rows: Rows) -> Rows:
    """The inputs alone."""
    return rows.rows if isinstance(rows, DrawnRows) else rows


def one_by_one(batch: Batch, noise: Tensor) -> Batch:
    """Rows repeated, one draw of their noise (b, m, \\*shape) with each, (b * m, ...)."""
    repeated = batch.map(lambda values: values.repeat_interleave(noise.shape[1], 0))
    return with_noise(repeated, noise.flatten(0, 1)[:, None])


def with_noise(batch: Batch, noise: Tensor) -> Batch:
    """A batch with noise as its last input, by name where the others are named."""
    if batch.kwargs:
        return Batch(batch.args, batch.y, {**batch.kwargs, "noise": noise})
    return Batch((*batch.args, noise), batch.y)


def without_noise(batch: Batch) -> tuple[Batch, Tensor]:
    """The other inputs of a batch, and its noise."""
    if batch.kwargs:
        others = {name: values for name, values in batch.kwargs.items() if name != "noise"}
        return Batch(batch.args, batch.y, others), batch.kwargs["noise"]
    return Batch(batch.args[:-1], batch.y), batch.args[-1]
