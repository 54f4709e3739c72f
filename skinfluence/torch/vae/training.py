"""The training loop: shuffled batches, seeded draws, and what is recorded on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from skinfluence._loops import progress_bar
from skinfluence.torch.vae.module import VAE


def adam(module: VAE, **options: float) -> torch.optim.Optimizer:
    """Adam in one pass over the parameters a step, where torch has one.

    The ten passes of the usual one are a fifth of a step of dense layers and small batches.
    """
    fused = next(module.parameters()).device.type in ("cpu", "cuda")
    return torch.optim.Adam(module.parameters(), fused=fused, **options)


def sgd(module: VAE, **options: float) -> torch.optim.Optimizer:
    """Plain gradient descent."""
    return torch.optim.SGD(module.parameters(), **options)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"adam": adam, "sgd": sgd}

# Multiplies of the learning rate, by the share of the steps that have been made. None is zero
# before the last step.
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
}

# Rows whose loss is recorded before the first step, and the weight of the newest batch in the
# moving average that is recorded later.
FIRST, FORGET = 1024, 0.05


@dataclass
class Training:
    """Minimise the mean of ``-w_i elbo(x_i)`` over batches, one draw a row and step.

    Parameters
    ----------
    module : VAE
    optimizer : torch.optim.Optimizer
    rows : Tensor of shape (n, d)
        On the module's device.
    weights : Tensor of shape (n,) or None
        w, of mean 1: a row of weight 2 is worth two of the n rows.
    batch_size : int
        Of the largest batch: those of an epoch differ by one row at most.
    seeds : tuple of int
        Of the order of the rows, and of the draws.
    schedule : {"constant", "linear", "cosine"}, default="constant"
        What becomes of the optimiser's rate on the way to the last of all epochs.
    note_loss : callable or None, default=None
        Told a moving average of the batches' losses before every step.
    """

    module: VAE
    optimizer: torch.optim.Optimizer
    rows: Tensor
    weights: Tensor | None
    batch_size: int
    seeds: tuple[int, int]
    schedule: str = "constant"
    note_loss: Callable[[Tensor], None] | None = None

    def __post_init__(self):
        # Each of its own: the order of the rows is the same on every device.
        self._order = torch.Generator().manual_seed(self.seeds[0])
        self._noise = self._new_noise()
        self._average: Tensor | None = None
        self._rate, self._steps = self.optimizer.param_groups[0]["lr"], 0

    def _new_noise(self) -> torch.Generator:
        return torch.Generator(self.rows.device).manual_seed(self.seeds[1])

    @property
    def steps_an_epoch(self) -> int:
        return math.ceil(len(self.rows) / self.batch_size)

    def epochs(self, n_epochs: int) -> Iterator[float]:
        """Mean loss of each epoch, over its own steps."""
        n = len(self.rows)
        for _ in range(n_epochs):
            order = torch.randperm(n, generator=self._order, device="cpu").to(self.rows.device)
            total = self.rows.new_zeros((), dtype=torch.float64)
            # Even batches: a row in a remainder of two would move the parameters as much as half
            # of a full batch, and no mean over all rows has such weights.
            for batch in order.tensor_split(self.steps_an_epoch):
                self._set_rate(self._steps / (n_epochs * self.steps_an_epoch))
                total += len(batch) * self._step(batch)
                self._steps += 1
            loss = float(total) / n
            self._check(loss)
            yield loss

    def run(
        self, max_epochs: int, *, tol: float | None, patience: int, progress: bool
    ) -> list[float]:
        """Mean loss of each epoch, until none of `patience` epochs has improved it by `tol`."""
        curve: list[float] = []
        epochs = self.epochs(max_epochs)
        bar: Any = progress_bar(epochs, total=max_epochs, enabled=progress, desc="BetaVAE")
        for loss in bar:
            curve.append(loss)
            if progress:
                bar.set_postfix(loss=f"{curve[-1]:.5g}")
            if tol is not None and stalled(curve, tol, patience):
                break
        return curve

    def loss_at_start(self) -> Tensor:
        """Mean loss of some rows before the first step."""
        with torch.no_grad():
            return self._loss(slice(0, FIRST), self._new_noise())

    def _loss(self, batch: Tensor | slice, generator: torch.Generator) -> Tensor:
        rows = self.rows[batch]
        shape = (len(rows), self.module.latent_dim)
        noise = torch.randn(shape, generator=generator, dtype=rows.dtype, device=rows.device)
        losses = -self.module.elbo(rows, noise)
        if self.weights is not None:
            losses = losses * self.weights[batch]
        return losses.mean()

    def _set_rate(self, done: float) -> None:
        """The rate of the next step, where this share of all has been made."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate * SCHEDULES[self.schedule](done)

    def _step(self, batch: Tensor) -> Tensor:
        loss = self._loss(batch, self._noise)
        self.optimizer.zero_grad()
        loss.backward()
        loss = loss.detach()
        if self.note_loss is not None:
            before = loss if self._average is None else self._average
            self._average = before.lerp(loss, FORGET)
            self.note_loss(self._average)
        self.optimizer.step()
        return loss

    def _check(self, loss: float) -> None:
        """Refuse a training that has left the numbers, as soon as an epoch shows it.

        Adam's squares of the gradient overflow long before the loss, and its steps are zero then.
        """
        moments = (v for state in self.optimizer.state.values() for v in state.values())
        numbers = [*self.module.parameters(), *(v for v in moments if isinstance(v, Tensor))]
        if math.isfinite(loss) and all(bool(v.isfinite().all()) for v in numbers):
            return
        largest = float(self.rows.abs().max())
        raise ValueError(
            f"The training left the numbers of {str(self.rows.dtype).removeprefix('torch.')}: the "
            f"mean loss of an epoch was {loss:.3g}, and the largest value of X is {largest:.3g}. "
            "Scale the columns first (StandardScaler, MinMaxScaler), or lower learning_rate."
        )


def stalled(curve: Sequence[float], tol: float, patience: int) -> bool:
    """Whether the last epochs have not improved on the best before them by `tol`."""
    if len(curve) <= patience:
        return False
    return min(curve[-patience:]) > min(curve[:-patience]) - tol
