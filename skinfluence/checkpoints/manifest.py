"""What a recorded directory says about itself."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from skinfluence.checkpoints.checkpoint import OptimizerInfo

NAME = "manifest.json"
FORMAT = "skinfluence checkpoints"
VERSION = 1


@dataclass
class Manifest:
    """Entries of the checkpoints, and what they have in common.

    Parameters
    ----------
    plan : dict
        Options of the recorder that choose the steps.
    stride : int
        Distance of the checkpoints at present.
    entries : list of dict
        Of each checkpoint its step, file, size, digest, shapes by key, rates, path and loss.
    optimizer : OptimizerInfo or None
    n_rows : int or None
    """

    plan: dict[str, Any] = field(default_factory=dict)
    stride: int = 1
    entries: list[dict[str, Any]] = field(default_factory=list)
    optimizer: OptimizerInfo | None = None
    n_rows: int | None = None

    def write(self, directory: Path) -> None:
        """Write beside the place and move there, so that a stop leaves the older one whole."""
        said = {"format": FORMAT, "version": VERSION, **asdict(self)}
        replace_file(directory / NAME, json.dumps(said, default=float).encode())


def read_manifest(directory: Path) -> Manifest:
    """Manifest of a directory, checked.

    Raises
    ------
    ValueError
        If it is no manifest, of another format or version, or lists steps out of order.
    """
    path = directory / NAME
    try:
        said = json.loads(path.read_bytes())
    except ValueError:
        raise ValueError(
            f"{path} is no JSON: it was cut short, or is another program's. Restore the file, or "
            "record the training again."
        ) from None
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise ValueError(
            f"{path} is not the manifest of recorded checkpoints. Pass a directory that "
            "CheckpointRecorder has written, or the files themselves, as a list in order."
        )
    if said.get("version") != VERSION:
        raise ValueError(
            f"{path} is of version {said.get('version')!r}, and version {VERSION} is read here. "
            "Use the release of skinfluence that recorded it."
        )
    try:
        return _of(said)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{path} lacks what a manifest has ({type(error).__name__}: {error}): it was edited. "
            "Restore the file, or record the training again."
        ) from None


def _of(said: dict[str, Any]) -> Manifest:
    told = said["optimizer"]
    optimizer = None
    if told is not None:
        options = {
            name: {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
            for name, values in told["options"].items()
        }
        optimizer = OptimizerInfo(told["name"], options)
    entries = [{key: entry[key] for key in ENTRY} for entry in said["entries"]]
    for entry in entries:
        entry["shapes"] = {key: tuple(shape) for key, shape in entry["shapes"].items()}
    return Manifest(said["plan"], int(said["stride"]), entries, optimizer, said["n_rows"])


ENTRY = ("step", "file", "size", "digest", "shapes", "learning_rate", "path", "loss")


def replace_file(path: Path, written: bytes) -> None:
    """Write a file beside its place, and move it there."""
    beside = path.with_name(path.name + ".part")
    beside.write_bytes(written)
    os.replace(beside, path)
