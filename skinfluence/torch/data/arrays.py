"""Arrays, frames, lists and tensors as tensors that a network takes."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor


def as_tensor(values: Any, dtype: torch.dtype, name: str) -> Tensor:
    """Array-like as a tensor of its own memory, rows first.

    Floating-point numbers are cast to the network's type. Integers become int64 (positions of an
    embedding or of classes), bytes and booleans stay as they are, and so do the integers of
    tensors: what a network does with them depends on their type.

    Parameters
    ----------
    values : array-like, frame or Tensor
    dtype : torch.dtype
        The network's type.
    name : str
        What the values are called in messages.

    Raises
    ------
    ValueError
        If they are no numbers, are sparse, or have no rows.
    """
    if isinstance(values, Tensor):
        found = _dense(values.detach(), name)
    else:
        found = torch.from_numpy(_numbers(values, name))
    if found.ndim == 0:
        raise ValueError(
            f"{name} is a single number, and rows are needed. Pass an array whose first axis "
            "counts rows."
        )
    # A copy: scores must not follow what happens to the user's rows later.
    return found.to(dtype, copy=True) if found.is_floating_point() else found.clone()


def _dense(values: Tensor, name: str) -> Tensor:
    if values.layout != torch.strided or values.is_quantized:
        raise ValueError(
            f"{name} is a {'quantised' if values.is_quantized else 'sparse'} tensor, whose rows "
            "cannot be sliced. Pass a dense one, or a Dataset that makes each row dense."
        )
    return values


def _numbers(values: Any, name: str) -> np.ndarray:
    """Array of a type that torch has."""
    if sparse.issparse(values):
        raise ValueError(
            f"{name} is sparse, and a network takes dense rows. Pass {name}.toarray(), or a "
            "Dataset that makes each row dense."
        )
    if isinstance(values, list) and any(isinstance(v, np.ndarray | Tensor) for v in values):
        raise ValueError(
            f"{name} is a list of {len(values)} arrays, which may be rows or inputs. Pass a tuple "
            "of arrays for a module of several inputs, or stack the rows (np.stack)."
        )
    array = np.asarray(values)
    if array.dtype == object:
        array = _from_objects(array, name)
    if array.dtype.kind not in "fiub":
        raise ValueError(
            f"{name} has type {array.dtype}, and a network takes numbers. Encode it as numbers, "
            "as it was in training (e.g. labels as positions 0, 1, ... of their classes)."
        )
    if array.dtype.kind in "iu" and array.dtype != np.uint8:
        array = array.astype(np.int64)
    # What torch lacks: extended precision, foreign byte order, negative strides, read-only memory.
    if array.dtype.itemsize > 8 or not array.dtype.isnative:
        array = array.astype(np.float64 if array.dtype.kind == "f" else array.dtype.newbyteorder())
    return np.require(array, requirements=["C", "W"])


def _from_objects(array: np.ndarray, name: str) -> np.ndarray:
    """Objects that are numbers after all, as mixed columns of a frame are."""
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} holds {type(array.ravel()[0]).__name__} objects, and a network takes "
            "numbers. Encode them as numbers, as they were in training."
        ) from None


def same_length(named: Mapping[str, Sized]) -> None:
    """Refuse inputs and targets of different length, and none at all."""
    lengths = {name: len(values) for name, values in named.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            "The number of rows differs: "
            + ", ".join(f"{name} has {length}" for name, length in lengths.items())
            + ". Pass as many targets as rows, in the same order."
        )
    if not lengths or 0 in lengths.values():
        raise ValueError(f"{next(iter(lengths), 'X')} has no rows. Pass at least one.")
