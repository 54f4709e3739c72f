"""Rows of any kind as rows of one network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.utils.data import TensorDataset, default_collate

from skinfluence.torch.data.arrays import as_tensor, same_length
from skinfluence.torch.data.datasets import fetch, is_dataset, open_dataset
from skinfluence.torch.data.resemblance import resembling
from skinfluence.torch.data.rows import Batch, FetchedRows, Rows

# From targets as the user passes them to a tensor, rows first.
Encode = Callable[[Any], Tensor]


@dataclass(frozen=True)
class RowReader:
    """Turns arrays, frames, tensors, datasets and loaders into rows.

    Arrays are copied once, in the network's type. Memory maps, sparse matrices and datasets are
    read block by block, in the dataset's order; tensors of a TensorDataset are at hand.

    Parameters
    ----------
    dtype : torch.dtype
        What floating-point inputs and targets are cast to.
    device : torch.device
        Where blocks are wanted.
    encode : callable or None, default=None
        Targets to tensors: labels to positions, say. None leaves numbers as they are.
    frames_by_column : bool, default=False
        Whether the columns of a frame are inputs of their own, (n, 1) each, as skorch has it.
    example : Batch or None, default=None
        A training row, which the rows of queries must resemble.
    """

    dtype: torch.dtype
    device: torch.device | str = "cpu"
    encode: Encode | None = None
    frames_by_column: bool = False
    example: Batch | None = None

    def __call__(self, X: Any, y: Any = None) -> Rows:
        """Rows with inputs `X` and targets `y`.

        Parameters
        ----------
        X : array-like, Tensor, frame, tuple or dict of these, Dataset or DataLoader
            Several inputs come as a tuple or, by name, as a dict.
        y : array-like, Tensor or None, default=None
            None where there are none, or where a dataset brings its own.
        """
        if is_dataset(X):
            return self._of_dataset(X, y)
        if isinstance(X, np.memmap) or sparse.issparse(X):
            return self._of_slices(X, y)
        if self.frames_by_column and hasattr(X, "columns"):
            X = {name: np.asarray(X[name]).reshape(-1, 1) for name in X.columns}
        named = self._inputs(X)
        targets = None if y is None else self.targets(y)
        same_length(named if targets is None else {**named, "y": targets})
        batch = (
            Batch((), targets, named)
            if isinstance(X, dict)
            else Batch((*named.values(),), targets)
        )
        batch = self._like_example(batch)
        return Rows(batch.kwargs or batch.args, batch.y, device=self.device)

    def for_queries(self, rows: Rows) -> RowReader:
        """The same reader, for rows that must resemble those it read."""
        return replace(self, example=rows.take(slice(0, 1)))

    def _like_example(self, batch: Batch) -> Batch:
        return batch if self.example is None else resembling(batch, self.example)

    def targets(self, y: Any) -> Tensor:
        """Targets as the loss takes them."""
        return self._cast((self.encode or self.numbers)(y))

    def numbers(self, y: Any) -> Tensor:
        """Numbers as they are, floating-point ones in the network's type."""
        return as_tensor(y, self.dtype, "y")

    def _inputs(self, X: Any) -> dict[str, Tensor]:
        if isinstance(X, dict):
            return {str(k): as_tensor(v, self.dtype, f"X[{k!r}]") for k, v in X.items()}
        if isinstance(X, tuple):
            return {f"X[{k}]": as_tensor(v, self.dtype, f"X[{k}]") for k, v in enumerate(X)}
        return {"X": as_tensor(X, self.dtype, "X")}

    def _of_dataset(self, X: Any, y: Any) -> Rows:
        if y is not None:
            raise ValueError(
                f"y is passed beside a {type(X).__name__}, which holds its own. Pass y=None, or "
                "arrays."
            )
        dataset, collate = open_dataset(X)
        if isinstance(dataset, TensorDataset) and collate is default_collate:
            *inputs, y = dataset.tensors if len(dataset.tensors) > 1 else (*dataset.tensors, None)
            return self(tuple(inputs), y)
        read = partial(self._read, partial(fetch, dataset, collate))
        return FetchedRows(read, range(len(dataset)), device=self.device)

    def _of_slices(self, X: Any, y: Any) -> Rows:
        """Rows of what can be sliced and should not be held dense."""
        targets = None if y is None else self.targets(y)
        n = X.shape[0]
        same_length({"X": range(n), **({} if targets is None else {"y": targets})})
        X = sparse.csr_array(X) if sparse.issparse(X) else X

        def at(positions: Sequence[int]) -> Batch:
            part = X[np.asarray(positions)]
            x = part.toarray() if sparse.issparse(part) else np.array(part)
            y = None if targets is None else targets[torch.as_tensor(np.asarray(positions))]
            return self._like_example(Batch((as_tensor(x, self.dtype, "X"),), y))

        return FetchedRows(at, range(n), device=self.device)

    def _read(self, fetched: Callable[[Sequence[int]], Batch], positions: Sequence[int]) -> Batch:
        """Rows of a dataset in the network's type, targets encoded."""
        batch = fetched(positions)
        batch = Batch(
            tuple(self._cast(x) for x in batch.args),
            None if batch.y is None else self.targets(batch.y),
            {name: self._cast(x) for name, x in batch.kwargs.items()},
        )
        return self._like_example(batch)

    def _cast(self, values: Tensor) -> Tensor:
        return values.to(self.dtype) if values.is_floating_point() else values
