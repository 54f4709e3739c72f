"""Checkpoints in files: recorded directories, and what other programs saved."""

from __future__ import annotations

import re
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from skinfluence.checkpoints import models
from skinfluence.checkpoints.checkpoint import Checkpoint
from skinfluence.checkpoints.directory import _check_safetensors, checkpoints_of
from skinfluence.checkpoints.manifest import NAME, read_manifest
from skinfluence.checkpoints.sequence import Checkpoints
from skinfluence.checkpoints.stored import Latest, StoredArrays

AnyPath = str | PathLike[str]


def read_checkpoints(path: AnyPath | Iterable[AnyPath]) -> Checkpoints:
    """Read checkpoints from a recorded directory, or from files in the order of the training.

    Arrays stay in their files until they are looked at, and only one file's are in memory at a
    time. Files are read as plain numbers: a pickle that holds anything else, which could run
    code, is refused, and nothing of it is run.

    Parameters
    ----------
    path : path-like, or iterable of path-like
        A directory that `CheckpointRecorder` has written; or files of one module's state dicts,
        safetensors (``.safetensors``) or torch's (``.pt``, ``.pth``, ``.bin``), also where they
        lie under "state_dict", "model" or another name beside other things. Tensors of any device
        are read on the CPU.

    Returns
    -------
    checkpoints : Checkpoints
        Of files, which say neither learning rates nor steps, the steps are the numbers that
        their names end in, or 1, 2, ... where not all have one; buffers are among the
        parameters, as state dicts do not tell them apart.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a file was cut short, replaced or is of another format, or files are out of order.

    See Also
    --------
    CheckpointRecorder : Writes such directories.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> import numpy as np
    >>> from sklearn.linear_model import SGDRegressor
    >>> from skinfluence.checkpoints import CheckpointRecorder, read_checkpoints
    >>> directory = mkdtemp()
    >>> recorder, model = CheckpointRecorder(directory), SGDRegressor()
    >>> recorder.partial_fit(model, np.eye(3), [0.0, 1.0, 2.0])
    >>> found = read_checkpoints(directory)
    >>> bool(np.all(found[0].parameters["weight"] == model.coef_))
    True
    """
    if isinstance(path, str | PathLike):
        given = Path(path)
        if given.is_dir():
            return _read_directory(given)
        return _read_files([given])
    return _read_files([Path(file) for file in path])


def _read_directory(directory: Path) -> Checkpoints:
    if not (directory / NAME).exists():
        raise FileNotFoundError(
            f"{directory} has no {NAME}, so that nothing was recorded there. Pass the files "
            "themselves, as a list in the order of the training."
        )
    _check_safetensors()
    return checkpoints_of(directory, read_manifest(directory))


def _read_files(paths: list[Path]) -> Checkpoints:
    if not paths:
        raise ValueError("No files are passed. Pass the paths of one or more checkpoints.")
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(
                f"{path} does not exist. Pass the files of the checkpoints, or a directory that "
                "CheckpointRecorder has written."
            )
    latest = Latest()
    found = []
    for step, path in zip(_steps(paths), paths, strict=True):
        source = models.of_torch("state_files").StateFile(path)
        shapes = source.shapes()
        _check_foreign(path, shapes)
        stored = StoredArrays(source, latest, {name: name for name in shapes}, shapes)
        found.append(Checkpoint(step, stored))
    return Checkpoints(found)


def _check_foreign(path: Path, names: Iterable[str]) -> None:
    """Refuse a recorder's own files, whose arrays its manifest explains."""
    if any(name.startswith("parameter/") for name in names):
        raise ValueError(
            f"{path} was written by a CheckpointRecorder. Pass its directory, {path.parent}, "
            "where steps and learning rates are too, and choose from it by at() or evenly()."
        )


def _steps(paths: list[Path]) -> list[int]:
    """Numbers that the names end in, where all have one, or positions."""
    numbers = [re.findall(r"\d+", path.stem) for path in paths]
    found = [int(parts[-1]) for parts in numbers if parts]
    if len(set(found)) == len(paths):
        return found
    return list(range(1, len(paths) + 1))
