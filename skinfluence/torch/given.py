"""Rows as the user has them, before a network's objective reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from skinfluence._peel import peel
from skinfluence._seen import is_skorch_net, is_vae
from skinfluence.metrics._rows import take_rows
from skinfluence.torch.data.datasets import check_positions


@dataclass(frozen=True)
class Given:
    """Inputs of any kind, with a shape.

    Parameters
    ----------
    X : array-like, frame, Tensor, tuple or dict of these, Dataset or DataLoader
    """

    X: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_rows, ...); just (n_rows,) where rows are no arrays."""
        X = self.X
        if isinstance(X, Dataset | DataLoader):
            dataset = X.dataset if isinstance(X, DataLoader) else X
            check_positions(dataset)
            return (len(dataset),)
        if isinstance(X, Mapping | tuple):
            first = next(iter(X.values())) if isinstance(X, Mapping) else X[0]
            return (len(first),)
        return tuple(X.shape) if hasattr(X, "shape") else np.shape(X)


def has_targets(X: Any) -> bool:
    """Whether rows bring their targets along."""
    return isinstance(X, Dataset | DataLoader)


def given_rows(owner: Any, heads: Sequence[Any], X: Any, *, reset: bool) -> Given:
    """Rows behind the transformers, with the columns of tables and matrices kept or compared.

    Estimators of scikit-learn's kind take what scikit-learn takes, in its own words; of others,
    whose inputs may be anything, only the number and names of columns are looked at.
    """
    for head in heads:
        X = head.transform(X)
    _refuse_batches(X)
    model = peel(owner.estimator_)[1]
    if hasattr(model, "fit") and not is_skorch_net(model):
        if is_vae(model) and getattr(X, "ndim", 2) > 2:  # images, which it flattens itself
            X = np.reshape(X, (len(X), -1))
        least = {"ensure_min_samples": 2} if reset else {}
        given = {"dtype": np.float64, "accept_sparse": "csr", **least}
        if heads:  # whose columns are those of the pipeline
            return Given(check_array(X, **given))
        return Given(validate_data(owner, X, reset=reset, **given))
    if heads:
        return Given(X)
    if not isinstance(X, Tensor) and not has_targets(X) and len(Given(X).shape) == 2:
        validate_data(owner, X, reset=reset, skip_check_array=True)
    return Given(X)


def _refuse_batches(X):
    """Refuse what yields rows bit by bit, and is neither a Dataset nor a DataLoader."""
    if has_targets(X):
        return
    pairs = isinstance(X, list) and bool(X) and all(map(_is_pair, X))
    if pairs or isinstance(X, Iterator) or callable(X):
        raise ValueError(
            f"X is a {type(X).__name__}{' of tuples' if pairs else ''}, and a network's rows are "
            "gone through many times, by position. Pass arrays or tensors X and y, or a Dataset "
            "or DataLoader of pairs (X, y)."
        )


def _is_pair(batch):
    return isinstance(batch, tuple) and bool(batch) and bool(getattr(batch[0], "shape", ()))


def kept(y: Any) -> Any:
    """A copy of targets."""
    return y.detach().clone() if isinstance(y, Tensor) else np.array(y)


def some(values: Any, positions: np.ndarray) -> Any:
    """Rows at some positions, of whatever kind they are."""
    if values is None:
        return None
    if isinstance(values, DataLoader):
        # In the order of the dataset, which is what positions are about.
        return DataLoader(
            Subset(values.dataset, positions.tolist()),
            batch_size=values.batch_size,
            collate_fn=values.collate_fn,
        )
    if isinstance(values, Dataset):
        return Subset(values, positions.tolist())
    if isinstance(values, Tensor):
        return values[torch.as_tensor(positions, device=values.device)]
    if isinstance(values, Mapping):
        return {name: some(value, positions) for name, value in values.items()}
    if isinstance(values, tuple):
        return tuple(some(value, positions) for value in values)
    return take_rows(values, positions)
