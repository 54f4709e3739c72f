"""Jobs around recording: a training with and without a recorder, and its time inside it."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import Job
from nets import cnn, images, mlp, small_digits
from torch.nn import functional
from vaes import BETA, LATENTS, WIDTHS

from skinfluence.checkpoints import CheckpointRecorder
from skinfluence.torch import VAE
from skinfluence.torch.vae.networks import dense_networks

BATCH = 128


def vae() -> VAE:
    """The VAE that is traced."""
    networks = dense_networks(784, WIDTHS, LATENTS)
    return VAE(*networks, latent_dim=LATENTS, beta=BETA, likelihood="bernoulli")


# Each with its rows.
NETS = {
    "MLP 64-32-10": (lambda: mlp(64, 32, 10), small_digits),
    "CNN": (cnn, images),
    "MLP 784-128-10": (lambda: mlp(784, 128, 10), images),
    "VAE 784-512-256-128": (vae, images),
}


class Clock:
    """The seconds that go by inside the hooks of an optimiser, and where else it is running."""

    def __init__(self, optimizer: torch.optim.Optimizer):
        self.seconds = 0.0
        for name in ("register_step_pre_hook", "register_step_post_hook"):
            setattr(optimizer, name, partial(self._register, getattr(optimizer, name)))

    def _register(self, register, hook):
        def timed(*args):
            with self.running():
                return hook(*args)

        return register(timed)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Let it run."""
        start = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - start


def training(kind: str, n_steps: int, where: str | None = None, **options: Any) -> Job:
    """Train by Adam for some steps, in batches of 128, and record it in memory or on disk.

    Parameters
    ----------
    kind : str
        One of NETS.
    n_steps : int
    where : {"memory", "disk"} or None
        None trains alone.
    **options
        Of the recorder.
    """
    make, rows = NETS[kind]
    X, y = map(torch.as_tensor, rows(1_000))

    def run():
        torch.manual_seed(0)
        module = make()
        optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
        with tempfile.TemporaryDirectory() as directory:
            start = time.perf_counter()
            if where is None:
                steps(module, optimizer, X, y, n_steps)
                return module, time.perf_counter() - start, 0.0, 0, 0.0
            clock = Clock(optimizer)
            recorder = CheckpointRecorder(directory if where == "disk" else None, **options)
            watching = recorder.watch(module, optimizer, n_rows=len(X))
            with clock.running():
                watching.__enter__()
            steps(module, optimizer, X, y, n_steps)
            with clock.running():
                watching.__exit__(None, None, None)
            whole, kept = time.perf_counter() - start, len(recorder.checkpoints)
            size = sum(file.stat().st_size for file in Path(directory).iterdir()) / 2**20
            return module, whole, clock.seconds, kept, size

    def digest(found):
        module, *measured = found
        return sum(p.numel() for p in module.parameters()), *measured

    return Job(run, digest)


def steps(module, optimizer, X, y, n_steps):
    """The training loop of a user."""
    draw = torch.Generator().manual_seed(0)
    for _ in range(n_steps):
        part = torch.randint(len(X), (BATCH,), generator=draw)
        optimizer.zero_grad()
        if isinstance(module, VAE):
            noise = torch.randn(BATCH, module.latent_dim, generator=draw)
            loss = -module.elbo(X[part], noise).mean()
        else:
            loss = functional.cross_entropy(module(X[part]), y[part])
        loss.backward()
        optimizer.step()
