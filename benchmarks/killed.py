"""Runs that are killed at a random moment and gone on with: same numbers, and what was lost."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import setups_tracing as setups
import torch
from common import THREAD_VARIABLES, processes
from nets import images
from recording_cost import BATCH, vae
from vaes import VaeProblem

from skinfluence.checkpoints import CheckpointRecorder
from skinfluence.torch.resume import Record
from skinfluence.torch.tracing.sums import Sums

LOG = "blocks.txt"


@dataclasses.dataclass(frozen=True)
class Survived:
    """What became of a run that was killed.

    Parameters
    ----------
    whole : float
        Seconds of work of the run that nobody disturbed.
    killed : float
        Share of its steps or blocks that were done when it was killed.
    again : int
        Steps or blocks that were done a second time.
    steps : int
        Of the whole run.
    same : bool
        Whether the numbers are the same, to the last bit.
    """

    whole: float
    killed: float
    again: int
    steps: int
    same: bool


# -- what is killed -----------------------------------------------------------------------------


def scored(directory: Path, problem: VaeProblem, own: bool, every: float) -> np.ndarray:
    """Scores of all queries, or self influences, with a record of finished blocks."""
    Record.every = every
    X, Z = problem.arrays()
    explained = setups.explainer(problem, resume=directory / "record").fit(X)
    _log_blocks(directory / LOG)
    return explained.self_influence() if own else explained.score_influence(Z)


def _log_blocks(log: Path) -> None:
    """Write a line for every block of rows that is summed up."""
    keep = Sums._keep

    def logged(self, part, total, checkpoint, row, *, last):
        if not last:
            _line(log)
        keep(self, part, total, checkpoint, row, last=last)

    Sums._keep = logged


def trained(directory: Path, n_steps: int, every: int) -> np.ndarray:
    """Parameters of a VAE after a training that is recorded, and gone on with where it is."""
    torch.manual_seed(0)
    module = vae()
    X = torch.as_tensor(images(1_000)[0])
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    recorder = CheckpointRecorder(directory / "record", every=every)
    done = recorder.restore(module, optimizer) if len(recorder.checkpoints) else 0
    with recorder.watch(module, optimizer, n_rows=len(X)):
        for step in range(done, n_steps):
            # A seed for each step, so that what was drawn before the kill does not matter.
            draw = torch.Generator().manual_seed(step)
            rows = X[torch.randint(len(X), (BATCH,), generator=draw)]
            noise = torch.randn(BATCH, module.latent_dim, generator=draw)
            optimizer.zero_grad()
            (-module.elbo(rows, noise).mean()).backward()
            optimizer.step()
            _line(directory / LOG)
    return torch.nn.utils.parameters_to_vector(module.parameters()).detach().numpy()


def _line(log):
    with log.open("a") as file:
        file.write("x\n")


# -- killing ------------------------------------------------------------------------------------


def survive(work: Callable[..., np.ndarray], share: float, **arguments: Any) -> Survived:
    """Run some work twice: undisturbed, and killed after a share of its steps and gone on with."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        one, other = Path(one), Path(other)
        start = time.perf_counter()
        _finish(work, one, arguments)
        whole, steps = time.perf_counter() - start, _done(one)
        stopped = _kill(work, other, arguments, after=share * steps)
        _finish(work, other, arguments)
        same = np.array_equal(np.load(one / "found.npy"), np.load(other / "found.npy"))
        return Survived(whole, stopped / steps, _done(other) - steps, steps, same)


def _done(directory):
    log = directory / LOG
    return len(log.read_text().splitlines()) if log.exists() else 0


def _start(work, directory, arguments):
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    process = processes().Process(target=_run, args=(work, directory, arguments))
    process.start()
    return process


def _run(work, directory, arguments):
    torch.set_num_threads(1)
    np.save(directory / "found.npy", work(directory, **arguments))


def _finish(work, directory, arguments):
    process = _start(work, directory, arguments)
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{work.__name__} ended with {process.exitcode}: see above.")


def _kill(work, directory, arguments, after):
    """Kill the work once it has done so many steps; how many it did."""
    process = _start(work, directory, arguments)
    while process.is_alive() and _done(directory) <= after:
        time.sleep(0.005)
    process.kill()
    process.join()
    return _done(directory)
