"""Checkpoints in memory."""

from __future__ import annotations

from collections.abc import Sequence

from skinfluence.checkpoints.checkpoint import Checkpoint, OptimizerInfo
from skinfluence.checkpoints.sequence import Checkpoints


class MemoryStore:
    """Checkpoints as they are, in a list.

    Attributes
    ----------
    optimizer : OptimizerInfo or None
    n_rows : int or None
    stride : int
    """

    def __init__(self) -> None:
        self._items: list[Checkpoint] = []
        self.optimizer: OptimizerInfo | None = None
        self.n_rows: int | None = None
        self.stride = 1

    @property
    def steps(self) -> list[int]:
        return [item.step for item in self._items]

    def shapes(self) -> dict[str, tuple[int, ...]] | None:
        """Shapes of the parameters, or None before the first checkpoint."""
        if not self._items:
            return None
        return {name: values.shape for name, values in self._items[0].parameters.items()}

    def add(self, checkpoint: Checkpoint, kept: Sequence[int]) -> None:
        """Add a checkpoint, and drop all whose step is not among those kept."""
        self._items.append(checkpoint)
        self.drop(kept)

    def drop(self, kept: Sequence[int]) -> None:
        """Drop all whose step is not among those kept."""
        self._items = [item for item in self._items if item.step in kept]

    def flush(self) -> None:
        """Nothing waits."""

    def read(self) -> Checkpoints:
        return Checkpoints(self._items, optimizer=self.optimizer, n_rows=self.n_rows)
