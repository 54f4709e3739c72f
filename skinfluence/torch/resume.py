"""Records of finished parts of a long fit, so that one that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skinfluence.torch.objective import NetworkObjective

Tensors = dict[str, Tensor]
Function = Callable[[Tensor, Tensor | None], Tensor]

# Rows on which functions are compared, and by how much machines may differ.
PROBE, NEAR = 8, 1e-3


class NoRecord:
    """Nothing is kept."""

    def load(self, part: str) -> tuple[Tensors, dict[str, Any]] | None:
        """Tensors and facts of a part, or None where it was not kept."""
        return None

    def keep(
        self,
        part: str,
        tensors: Callable[[], Tensors],
        facts: Mapping[str, Any] | None = None,
        *,
        last: bool = True,
    ) -> None:
        """Keep a part; one that is not its last state only if some time went by since."""

    def once(self, part: str, make: Callable[[], Tensors]) -> Tensors:
        """Tensors of a part, made where they were not kept."""
        found = self.load(part)
        if found is not None:
            return found[0]
        made = make()
        self.keep(part, lambda: made)
        return made


class Record(NoRecord):
    """A directory with one safetensors file a part: plain numbers, of which none is executed.

    Files are written beside their place and moved there, so that a stop in between leaves the
    older one whole.

    Parameters
    ----------
    path : path-like
        Directory, made where there is none.
    fingerprint : str
        Of everything the numbers depend on.

    Raises
    ------
    ValueError
        If the directory records something else.
    """

    # Seconds between two states of the same part: writing must not become the work.
    every = 10.0

    def __init__(self, path: str | PathLike[str], fingerprint: str):
        self.path, self.fingerprint = Path(path), fingerprint
        self.path.mkdir(parents=True, exist_ok=True)
        self._written = time.monotonic()
        for file in sorted(self.path.glob("*.safetensors")):
            self._check(file, _facts(file))

    def _check(self, file: Path, facts: Mapping[str, str]) -> None:
        if facts.get("fingerprint") != self.fingerprint:
            raise ValueError(
                f"{file} belongs to another fit: the network's parameters, the training rows, "
                "their weights, the loss or the options differ. Give this fit a directory of its "
                "own, or remove that one."
            )

    def load(self, part: str) -> tuple[Tensors, dict[str, Any]] | None:
        from safetensors import safe_open

        file = self._file(part)
        if not file.exists():
            return None
        with safe_open(file, framework="pt") as opened:
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
        return tensors, json.loads(_facts(file)["facts"])

    def keep(
        self,
        part: str,
        tensors: Callable[[], Tensors],
        facts: Mapping[str, Any] | None = None,
        *,
        last: bool = True,
    ) -> None:
        from safetensors.torch import save_file

        if not last and time.monotonic() - self._written < self.every:
            return
        beside = self._file(part).with_suffix(".part")
        known = {"fingerprint": self.fingerprint, "facts": json.dumps(dict(facts or {}))}
        save_file({key: t.cpu().contiguous() for key, t in tensors().items()}, beside, known)
        os.replace(beside, self._file(part))
        self._written = time.monotonic()

    def _file(self, part: str) -> Path:
        return self.path / f"{part}.safetensors"


def _facts(file: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            return opened.metadata() or {}
    except SafetensorError as error:
        raise ValueError(
            f"{file} cannot be read ({error}): it was cut short, or is no record of ours. Remove "
            "it, or give this fit a directory of its own."
        ) from error


def check_functions(
    record: NoRecord, objective: NetworkObjective, target: Function | None = None
) -> None:
    """Refuse a record of a network, a loss or a target that computes something else.

    What functions compute is in no digest of their names and parameters, so that it is looked at
    on a few rows: outputs, losses and values of a target function, here and at other parameters,
    where losses do not vanish.

    Raises
    ------
    ValueError
    """
    found = _computed(objective, target)
    known = record.once("functions", lambda: found)
    for key, value in found.items():
        before = known[key].to(value) if key in known else value.new_empty(0)
        size = float(value.abs().max())
        if before.shape != value.shape or float((before - value).abs().max()) > NEAR * size:
            raise ValueError(
                f"The record belongs to another fit: on the same rows the {key} were others, "
                "so that the module's forward, the loss or the target has changed since. Give "
                "this fit a directory of its own, or remove that one."
            )


def _computed(objective: NetworkObjective, target: Function | None) -> Tensors:
    network, batch = objective.network, objective.rows.take(slice(0, PROBE))
    found: Tensors = {}
    with torch.no_grad():
        for where, theta in (("", network.theta), (" elsewhere", 0.5 * network.theta)):
            outputs = network.outputs(batch, network.params(theta))
            losses = objective.loss(outputs, batch.y)
            found |= {f"outputs{where}": outputs, f"losses{where}": losses}
            if target is not None:
                found[f"targets{where}"] = target(outputs, batch.y)
    return {key: value.nan_to_num() for key, value in found.items()}


def fingerprint(objective: NetworkObjective, **options: str) -> str:
    """Digest of a network's state, its training rows and weights, its loss, and some options."""
    digest = hashlib.blake2b(digest_size=16)
    loss = objective.loss
    own = {key: str(value) for key, value in vars(loss).items() if isinstance(value, int | float)}
    function = getattr(getattr(loss, "function", None), "__qualname__", "")
    names = " ".join(objective.network.names)
    digest.update(json.dumps([type(loss).__name__, own, function, names, options]).encode())
    for name, tensor in sorted(objective.network.module.state_dict().items()):
        digest.update(name.encode())
        update(digest, tensor)
    update(digest, objective.weights)
    for start in range(0, objective.n_train, 1024):
        batch = objective.rows.take(slice(start, min(start + 1024, objective.n_train)))
        batch.map(lambda values: update(digest, values))
    return digest.hexdigest()


def update(digest: Any, tensor: Tensor) -> Tensor:
    """Add a tensor's shape, type and numbers to a digest; the tensor comes back."""
    digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
    digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return tensor
