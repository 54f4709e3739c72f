"""Arrays in files, read when they are looked at."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]


class Source(Protocol):
    """Something in a file; two that are equal hold the same."""

    def load(self) -> dict[str, NDArray[Any]]:
        """All arrays, by the names they have there."""


@dataclass
class Latest:
    """The arrays of the file that was read last: checkpoints are gone through one by one."""

    source: Source | None = None
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __call__(self, source: Source) -> dict[str, NDArray[Any]]:
        source_of_mine, arrays = self.source, self.arrays
        if source_of_mine != source:
            arrays = source.load()
            self.source, self.arrays = source, arrays
        return arrays

    def __getstate__(self) -> dict[str, Any]:
        # What can be read again is not pickled.
        return {"source": None, "arrays": {}}


class StoredArrays(Mapping[str, NDArray[Any]]):
    """Some of the arrays of a file.

    Parameters
    ----------
    source : Source
    latest : Latest
        Shared by what is in the same files.
    keys : mapping of str to str
        Names here, and those in the file.
    shapes : mapping of str to tuple of int
        By the names here.
    """

    def __init__(
        self, source: Source, latest: Latest, keys: Mapping[str, str], shapes: Mapping[str, Shape]
    ):
        self._source, self._latest, self._keys = source, latest, dict(keys)
        self.shapes = dict(shapes)

    def __getitem__(self, name: str) -> NDArray[Any]:
        key = self._keys[name]
        return self._latest(self._source)[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def renamed(self, names: Mapping[str, str]) -> StoredArrays:
        """Some of them under other names: names here by new name."""
        keys = {new: self._keys[old] for new, old in names.items()}
        shapes = {new: self.shapes[old] for new, old in names.items()}
        return StoredArrays(self._source, self._latest, keys, shapes)


def shapes_of(arrays: Mapping[str, Any]) -> dict[str, Shape]:
    """Shapes, without reading what is in a file."""
    if isinstance(arrays, StoredArrays):
        return arrays.shapes
    return {name: tuple(np.shape(values)) for name, values in arrays.items()}


def renamed(arrays: Mapping[str, Any], names: Mapping[str, str]) -> Mapping[str, Any]:
    """Some arrays under other names: names there by new name."""
    if isinstance(arrays, StoredArrays):
        return arrays.renamed(names)
    return {new: arrays[old] for new, old in names.items()}


@dataclass(frozen=True)
class RecordedFile:
    """A file of a recording, which is checked when it is read.

    Parameters
    ----------
    path : Path
    size : int
        In bytes.
    digest : str
    """

    path: Path
    size: int
    digest: str

    def check(self) -> None:
        """Refuse a file that is missing or was cut short, without reading it."""
        if not self.path.exists():
            raise FileNotFoundError(
                f"{self.path} is missing, and the manifest beside it lists it. Restore the file, "
                "or record the training again."
            )
        found = self.path.stat().st_size
        if found != self.size:
            raise ValueError(
                f"{self.path} has {found} bytes, and {self.size} were written: it was cut short "
                "or replaced. Restore the file, or record the training again."
            )

    def load(self) -> dict[str, NDArray[Any]]:
        from safetensors.numpy import load

        self.check()
        written = self.path.read_bytes()
        if digest_of(written) != self.digest:
            raise ValueError(
                f"{self.path} is not the file that was recorded: its digest differs. It was "
                "overwritten, or belongs to another step or another training. Restore the file."
            )
        return load(written)


def digest_of(written: bytes) -> str:
    """Checksum of a file's content.

    Against accidents, not forgers, who could write the manifest too; a cryptographic digest takes
    longer than writing the file.
    """
    return f"crc32:{zlib.crc32(written):08x}"
