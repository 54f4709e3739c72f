"""What the numbers of a training's scores depend on."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from skinfluence.torch.data import Rows
from skinfluence.torch.influence.queries import Queries
from skinfluence.torch.influence.targets import OfFunction, Target
from skinfluence.torch.objective import NetworkObjective
from skinfluence.torch.resume import NoRecord, Record, check_functions, fingerprint, update

if TYPE_CHECKING:
    from skinfluence.checkpoints import Checkpoints


def open_record(
    path: Any,
    objective: NetworkObjective,
    checkpoints: Checkpoints,
    target: Target,
    *,
    scaled: bool,
    **options: Any,
) -> NoRecord:
    """Where finished parts of scores are kept; nowhere without a path.

    Parameters
    ----------
    path : path-like or None
    objective : NetworkObjective
    checkpoints : Checkpoints
    target : Target
    scaled : bool
        Whether scores depend on the state of the optimiser.
    **options
        Whatever else the scores depend on; its ``repr`` has to say it.
    """
    if path is None:
        return NoRecord()
    known = {name: _said(value) for name, value in options.items()}
    digest = _of_checkpoints(checkpoints, scaled)
    record = Record(path, fingerprint(objective, checkpoints=digest, **known))
    check_functions(record, objective, target if isinstance(target, OfFunction) else None)
    return record


def _said(value: Any) -> str:
    if callable(value):
        return str(getattr(value, "__qualname__", type(value).__qualname__))
    plain = value is None or isinstance(value, str | int | float | list | tuple | dict)
    return repr(value) if plain else f"{type(value).__name__}{sorted(vars(value).items())}"


def _of_checkpoints(checkpoints: Checkpoints, scaled: bool) -> str:
    digest = hashlib.blake2b(
        repr(checkpoints.optimizer if scaled else "").encode(), digest_size=16
    )
    for checkpoint in checkpoints:
        digest.update(str(checkpoint.step).encode())
        states = (checkpoint.optimizer or {}) if scaled else {}
        owners = [states[name] for name in sorted(states)]
        for arrays in (checkpoint.parameters, checkpoint.buffers, *owners):
            for name in sorted(arrays):
                digest.update(name.encode())
                digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def name_of(record: NoRecord, what: str, asked: Queries | np.ndarray) -> str:
    """A name for sums about some queries or positions, in a record."""
    if not isinstance(record, Record):
        return what
    digest = hashlib.blake2b(digest_size=8)
    if isinstance(asked, np.ndarray):
        digest.update(asked.tobytes())
    else:
        _add_rows(digest, asked.rows)
        if asked.choice is not None:
            update(digest, asked.choice)
    return f"{what}-{digest.hexdigest()}"


def _add_rows(digest: Any, rows: Rows, size: int = 1024) -> None:
    def add(tensor: torch.Tensor) -> torch.Tensor:
        return update(digest, tensor)

    for start in range(0, rows.shape[0], size):
        rows.take(slice(start, min(start + size, rows.shape[0]))).map(add)
