"""Datasets and loaders, row by row in the dataset's own order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    SequentialSampler,
    default_collate,
)

from skinfluence.torch.data.rows import Batch

# What the targets of a dataset with named fields may be called.
TARGETS = ("y", "label", "labels", "target", "targets")
# Rows that are read twice.
PROBES = 4


def is_dataset(X: Any) -> bool:
    """Whether X is a Dataset, or loads one."""
    return isinstance(X, Dataset | DataLoader)


def open_dataset(X: Any) -> tuple[Any, Callable[[list], Any]]:
    """Map-style dataset of a dataset or loader, and how its rows are put together.

    Raises
    ------
    ValueError
        If positions of the dataset are not what the loader yields, or reading a row twice does
        not give the same.
    """
    collate: Callable[[list], Any] = default_collate
    if isinstance(X, DataLoader):
        _check_order(X)
        # Without batches of its own, a loader does not put rows together at all.
        X, collate = X.dataset, X.collate_fn if X.batch_size is not None else default_collate
    check_positions(X)
    if len(X) == 0:
        raise ValueError(f"{type(X).__name__} has no rows. Pass at least one.")
    _check_repeats(X)
    return X, collate


def check_positions(dataset: Any) -> None:
    """Refuse what can only be iterated."""
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        raise ValueError(
            f"{type(dataset).__name__} has no positions, and every training row needs one that "
            "stays. Pass a map-style Dataset (with __getitem__ and __len__) or arrays."
        )


def fetch(dataset: Dataset, collate: Callable[[list], Any], positions: Sequence[int]) -> Batch:
    """Rows at some positions, read and put together."""
    return as_batch(collate(_items(dataset, [int(i) for i in positions])))


def _items(dataset: Any, positions: list[int]) -> list:
    if callable(getattr(dataset, "__getitems__", None)):
        return list(dataset.__getitems__(positions))
    return [dataset[i] for i in positions]


def as_batch(collated: Any) -> Batch:
    """What a dataset yields: ``(x, y)``, ``(x1, x2, y)``, ``({name: x}, y)``, a dict, or ``x``.

    Of several things the last is y; in a dict, what is called y, label, labels, target or targets.
    """
    if isinstance(collated, Tensor):
        return Batch((collated,))
    if isinstance(collated, Mapping):
        return _named(collated)
    if isinstance(collated, tuple | list) and collated:
        *inputs, y = collated if len(collated) > 1 else (*collated, None)
        if len(inputs) == 1 and isinstance(inputs[0], Mapping):
            named = _named(inputs[0], targets=())
            return Batch((), y, named.kwargs)
        if len(inputs) == 1 and isinstance(inputs[0], tuple | list):
            inputs = list(inputs[0])
        return Batch(_tensors(inputs), None if y is None else _tensors([y])[0])
    raise ValueError(
        f"The dataset yields {type(collated).__name__}, and (x, y), (x1, x2, y), (dict, y), a "
        "dict or x are understood. Wrap it in a Dataset that returns one of these."
    )


def _named(fields: Mapping, targets: Sequence[str] = TARGETS) -> Batch:
    found = [name for name in fields if name in targets]
    if len(found) > 1:
        raise ValueError(
            f"The dataset's rows have {' and '.join(map(repr, found))}, and one of them is the "
            "target. Wrap it in a Dataset that returns (dict of inputs, y)."
        )
    names = [name for name in fields if name not in found]
    values = dict(zip(names, _tensors([fields[name] for name in names]), strict=True))
    return Batch((), fields[found[0]] if found else None, values)


def _tensors(values: Sequence[Any]) -> tuple[Tensor, ...]:
    for value in values:
        if not isinstance(value, Tensor):
            raise ValueError(
                f"The dataset's rows hold {type(value).__name__} objects, and a network takes "
                "tensors. Encode them as numbers in the Dataset, as in training."
            )
    return tuple(values)


def _check_order(loader: DataLoader) -> None:
    """Refuse loaders whose k-th row is not row k of the dataset."""
    advice = "Pass the dataset itself (loader.dataset): the order of its rows is that of scores."
    batches = loader.batch_sampler
    if batches is not None and type(batches) is not BatchSampler:
        raise ValueError(
            f"The DataLoader draws its batches by {type(batches).__name__}, so that its k-th row "
            f"need not be row k of the dataset. {advice}"
        )
    if isinstance(loader.dataset, IterableDataset):
        return
    if not isinstance(loader.sampler, SequentialSampler):
        raise ValueError(
            f"The DataLoader shuffles or chooses rows ({type(loader.sampler).__name__}), so that "
            f"its k-th row is not row k of the dataset. {advice}"
        )
    left = len(loader.dataset) % (loader.batch_size or 1)
    if loader.drop_last and left:
        raise ValueError(
            f"The DataLoader drops the last {left} of {len(loader.dataset)} rows, which may have "
            f"trained the model in other epochs. {advice}"
        )


def _check_repeats(dataset: Any) -> None:
    """Refuse a dataset whose rows change from one reading to the next."""
    for i in range(0, len(dataset), max(1, len(dataset) // PROBES)):
        if not _same(dataset[i], dataset[i]):
            raise ValueError(
                f"Row {i} of {type(dataset).__name__} differs between two readings, as random "
                "augmentation does, so that it has no one gradient. Pass the dataset with a fixed "
                "transform."
            )


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Mapping):
        return all(_same(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(_same, a, b))
    if a is b or a is None:
        return a is b
    try:
        return torch.equal(*(torch.nan_to_num(torch.as_tensor(v)) for v in (a, b)))
    except (TypeError, RuntimeError, ValueError):
        return bool(a == b)
