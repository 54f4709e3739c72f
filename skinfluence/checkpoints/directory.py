"""Checkpoints in a directory: one safetensors file each, and a manifest."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence.checkpoints.checkpoint import Checkpoint, OptimizerInfo
from skinfluence.checkpoints.manifest import NAME, Manifest, read_manifest, replace_file
from skinfluence.checkpoints.sequence import Checkpoints
from skinfluence.checkpoints.stored import Latest, RecordedFile, StoredArrays, digest_of

PREFIXES = ("parameter", "buffer", "optimizer")


class DirectoryStore:
    """Checkpoints in files, of which none is ever half there.

    A file is written before the manifest lists it, and goes after the manifest has dropped it;
    what a stop in between leaves behind is cleared away when the directory is opened again.

    Parameters
    ----------
    directory : Path
    plan : dict
        Options of the recorder that choose the steps; those of a recording must be the same.

    Attributes
    ----------
    patience : float
        With ``keep``, writing takes one part in so many of the time: of a training whose length
        is not known most of the early checkpoints are dropped again, and those that waited in
        memory until then are never written. The newest does not wait long, so that a training
        that is killed goes on from there. Without ``keep`` nothing is dropped, nor waits.
    """

    patience = 100.0

    def __init__(self, directory: Path, plan: dict[str, Any]):
        _check_safetensors()
        self.directory = directory
        self.plan: dict[str, Any] = plan
        self._manifest = self._opened()
        self._steps = [entry["step"] for entry in self._manifest.entries]
        self._waiting: dict[int, Checkpoint] = {}
        self._ended, self._seconds_a_file = 0.0, 0.0

    @property
    def optimizer(self) -> OptimizerInfo | None:
        return self._manifest.optimizer

    @optimizer.setter
    def optimizer(self, info: OptimizerInfo | None) -> None:
        self._manifest.optimizer = info

    @property
    def n_rows(self) -> int | None:
        return self._manifest.n_rows

    @n_rows.setter
    def n_rows(self, n_rows: int | None) -> None:
        self._manifest.n_rows = n_rows

    @property
    def stride(self) -> int:
        return self._manifest.stride

    @stride.setter
    def stride(self, stride: int) -> None:
        self._manifest.stride = stride

    @property
    def steps(self) -> list[int]:
        return [*self._steps]

    def shapes(self) -> dict[str, tuple[int, ...]] | None:
        """Shapes of the parameters, or None before the first checkpoint."""
        for waiting in self._waiting.values():
            return {name: values.shape for name, values in waiting.parameters.items()}
        entries = self._manifest.entries
        return _part(entries[0]["shapes"], "parameter") if entries else None

    def add(self, checkpoint: Checkpoint, kept: Sequence[int]) -> None:
        """Add a checkpoint, and drop all whose step is not among those kept."""
        self._waiting[checkpoint.step] = checkpoint
        self.drop(kept)
        if self.plan.get("keep") is None:
            self.flush()
        elif time.monotonic() - self._ended >= self.patience * self._seconds_a_file:
            self._save([checkpoint.step])

    def drop(self, kept: Sequence[int]) -> None:
        """Drop all whose step is not among those kept."""
        self._steps = list(kept)
        self._waiting = {step: item for step, item in self._waiting.items() if step in kept}

    def flush(self) -> None:
        """Write all that waits."""
        if [entry["step"] for entry in self._manifest.entries] != self._steps:
            self._save([*self._waiting])

    def _save(self, steps: Sequence[int]) -> None:
        """Write those that wait at some steps, then the manifest, then remove what it dropped."""
        before, started = self._manifest.entries, time.monotonic()
        if not before:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._manifest.write(self.directory)
        written = [self._write(self._waiting[step]) for step in steps if step in self._waiting]
        entries = [entry for entry in (*before, *written) if entry["step"] in self._steps]
        self._manifest.entries = sorted(entries, key=lambda entry: entry["step"])
        for step in steps:
            self._waiting.pop(step, None)
        self._manifest.write(self.directory)
        for entry in before:
            if entry["step"] not in self._steps:
                (self.directory / entry["file"]).unlink(missing_ok=True)
        self._ended = time.monotonic()
        self._seconds_a_file = (self._ended - started) / max(1, len(written))

    def _write(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """Write a file; its entry in the manifest."""
        from safetensors.numpy import save

        arrays = _flat(checkpoint)
        written = save(arrays)
        name = f"step-{checkpoint.step:09d}.safetensors"
        replace_file(self.directory / name, written)
        return {
            "step": checkpoint.step,
            "file": name,
            "size": len(written),
            "digest": digest_of(written),
            "shapes": {key: values.shape for key, values in arrays.items()},
            "learning_rate": checkpoint.learning_rate,
            "path": checkpoint.path,
            "loss": checkpoint.loss,
        }

    def read(self) -> Checkpoints:
        self.flush()
        return checkpoints_of(self.directory, self._manifest)

    def _opened(self) -> Manifest:
        """Manifest of a recording that is gone on with, or a new one."""
        if not (self.directory / NAME).exists():
            self._check_empty()
            return Manifest(self.plan)
        manifest = read_manifest(self.directory)
        if manifest.plan != self.plan:
            raise ValueError(
                f"{self.directory} was recorded with {_said(manifest.plan)}, and this recorder "
                f"has {_said(self.plan)}. Pass the same, or another directory."
            )
        checkpoints_of(self.directory, manifest)
        listed = {entry["file"] for entry in manifest.entries}
        for file in [*self.directory.glob("step-*.safetensors*"), self.directory / f"{NAME}.part"]:
            if file.name not in listed:
                file.unlink(missing_ok=True)
        return manifest

    def _check_empty(self) -> None:
        if self.directory.exists() and not self.directory.is_dir():
            raise NotADirectoryError(
                f"{self.directory} is a file, and checkpoints are written to a directory. Pass "
                "one, or a path where there is nothing yet."
            )
        if any(self.directory.glob("*.safetensors")):
            raise ValueError(
                f"{self.directory} holds safetensors files and no {NAME}, so that it is not known "
                "what they are. Pass another directory."
            )


def _check_safetensors() -> None:
    if find_spec("safetensors") is None:
        raise ModuleNotFoundError(
            "Checkpoints are written as safetensors files, and safetensors is not installed. "
            "Install skinfluence[torch], or leave directory=None to keep them in memory."
        )
    # Now, and not in the middle of the training whose steps are timed.
    import_module("safetensors.numpy")


def checkpoints_of(directory: Path, manifest: Manifest) -> Checkpoints:
    """Checkpoints of a manifest, whose files are there and are read when they are looked at."""
    latest = Latest()
    found = []
    for entry in manifest.entries:
        source = RecordedFile(directory / entry["file"], entry["size"], entry["digest"])
        source.check()
        found.append(_checkpoint(entry, source, latest))
    return Checkpoints(found, optimizer=manifest.optimizer, n_rows=manifest.n_rows)


def _checkpoint(entry: dict[str, Any], source: RecordedFile, latest: Latest) -> Checkpoint:
    def stored(prefix: str) -> StoredArrays:
        shapes = _part(entry["shapes"], prefix)
        return StoredArrays(source, latest, {n: f"{prefix}/{n}" for n in shapes}, shapes)

    names = dict.fromkeys(key.partition("/")[0] for key in _part(entry["shapes"], "optimizer"))
    return Checkpoint(
        entry["step"],
        stored("parameter"),
        stored("buffer"),
        {name: stored(f"optimizer/{name}") for name in names} or None,
        entry["learning_rate"],
        entry["path"],
        entry["loss"],
    )


def _flat(checkpoint: Checkpoint) -> dict[str, NDArray[Any]]:
    """All arrays under keys that say what they are."""
    found = {f"parameter/{name}": values for name, values in checkpoint.parameters.items()}
    found |= {f"buffer/{name}": values for name, values in checkpoint.buffers.items()}
    for name, state in (checkpoint.optimizer or {}).items():
        found |= {f"optimizer/{name}/{key}": values for key, values in state.items()}
    return {key: np.asarray(values, order="C") for key, values in found.items()}


def _part(shapes: dict[str, Any], prefix: str) -> dict[str, tuple[int, ...]]:
    """What follows a prefix, with its shapes."""
    start = f"{prefix}/"
    return {
        key[len(start) :]: tuple(shape) for key, shape in shapes.items() if key.startswith(start)
    }


def _said(plan: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in plan.items() if value is not None)
