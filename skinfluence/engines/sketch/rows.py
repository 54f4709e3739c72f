"""Training rows, block by block: from arrays, behind pipelines, or from blocks out of core."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.validation import check_consistent_length, validate_data

from skinfluence import _loops
from skinfluence._peel import to_model_space
from skinfluence.engines.base import check_columns
from skinfluence.metrics._rows import take_rows

Array = NDArray[np.float64]

# Numbers that a block of projected rows may hold, and one of dense rows: a few copies of the
# first fit the cache, and one of the second is made where rows are float32 or integers.
PROJECTED, DENSE = 2**20, 2**23
# Rows that say where features are.
CENTRE_ROWS = 1024
# Nothing of a row's type is changed: a block is, when it is multiplied.
_ROWS: dict[str, Any] = {"dtype": "numeric", "accept_sparse": "csr"}


class BlockedRows:
    """Rows in model space that are made block by block, and never all at once.

    Parameters
    ----------
    X : object
        Rows before the heads; an array or CSR where there are none.
    heads : sequence of Pipeline
        Fitted transformers before the model, which take one row like another.
    """

    def __init__(self, X: Any, heads: Sequence[Any] = ()):
        X = X.tocsr() if sparse.issparse(X) else X
        self._X = X if hasattr(X, "shape") or hasattr(X, "__len__") else np.asarray(X)
        self._heads = heads
        self.shape = (self._n_rows(), self[:1].shape[1])

    def __getitem__(self, rows: slice) -> Any:
        """An array or CSR in float64."""
        positions = np.arange(*rows.indices(self._n_rows()))
        if self._heads:
            part = take_rows(self._X, positions)
            return to_model_space(self._heads, part, accept_sparse="csr")
        return floats(self._X[rows])

    def _n_rows(self):
        return self._X.shape[0] if hasattr(self._X, "shape") else len(self._X)

    def slices(self, width: int, block_size: int | None) -> list[slice]:
        """Blocks for products with `width` columns."""
        if block_size is None:
            block_size = max(64, PROJECTED // max(width, 1))
            if not sparse.issparse(self._X):
                block_size = max(1, min(block_size, DENSE // max(self.shape[1], 1)))
        return _loops.slices(self.shape[0], block_size)


def floats(X: Any) -> Any:
    """A block in float64, as sums over it are long; entries that occur twice are added up."""
    if sparse.issparse(X) and not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X.astype(np.float64, copy=False)


def centre_of(rows: BlockedRows, block_size: int | None) -> Array | None:
    """Where features roughly are, from the first rows, (p,); None for sparse ones.

    Sums over features that lie far from 0 compared to their spread lose its digits, and any point
    among them is as good as the mean of all.
    """
    some = rows[: max(1, min(block_size or CENTRE_ROWS, DENSE // max(rows.shape[1], 1)))]
    return None if sparse.issparse(some) else some.mean(axis=0)


def blocked_rows(owner: Any, heads: Sequence[Any], X: Any, *, reset: bool) -> BlockedRows:
    """Rows as the model sees them; parameters as in ``Engine.model_rows``."""
    if heads:
        return BlockedRows(X, heads)
    if not reset:
        return BlockedRows(validate_data(owner, X, reset=False, **_ROWS))
    rows = validate_data(owner, X, **_ROWS)
    check_columns(owner)
    return BlockedRows(rows)


@dataclass(frozen=True)
class Given:
    """A block as a user has it: rows, targets and weights."""

    X: Any
    y: Any
    sample_weight: Any = None


def blocks_of(X: Any, y: Any) -> Callable[[], Iterator[Given]] | None:
    """What makes the blocks again and again, where `X` is made of blocks; else None.

    Parameters
    ----------
    X : object
        A function without parameters that yields tuples (X, y) or (X, y, sample_weight), or an
        iterable of them that starts anew each time, such as a list.
    y : object
        None: blocks come with their own.
    """
    if y is None and _are_matrices(X):
        raise ValueError(
            f"X is a {type(X).__name__} of {len(X)} matrices without targets. Yield (X, y) or "
            "(X, y, sample_weight) tuples: each block of rows comes with its own."
        )
    if not _looks_like_blocks(X):
        return None
    if y is not None:
        raise ValueError(
            "X is made of blocks, which come with their own targets, and y was passed beside it. "
            "Leave y=None and sample_weight=None, and let X yield (X, y) or (X, y, sample_weight)."
        )
    if iter_once(X):
        raise ValueError(
            f"X is a {type(X).__name__}, which can be gone through once, and a sketch needs two "
            "passes over the rows. Pass the generator function itself (without calling it), a "
            "list of blocks, or an object whose __iter__ starts anew."
        )
    return Blocks(X)


@dataclass(frozen=True)
class Blocks:
    """The user's blocks from the start, each time it is called."""

    X: Any

    def __call__(self) -> Iterator[Given]:
        blocks = self.X() if callable(self.X) else self.X
        if not hasattr(blocks, "__iter__"):
            raise ValueError(
                f"X returned a {type(blocks).__name__} where blocks of rows are needed. Pass a "
                "function that yields (X, y) or (X, y, sample_weight)."
            )
        return map(_given, blocks)


def _looks_like_blocks(X):
    if hasattr(X, "shape") or hasattr(X, "__array__") or hasattr(X, "iloc"):
        return False
    if isinstance(X, list | tuple):
        return bool(X) and all(isinstance(block, tuple) and _is_rows(block[0]) for block in X)
    return callable(X) or (hasattr(X, "__iter__") and not isinstance(X, str | bytes | dict))


def _are_matrices(X):
    return (
        isinstance(X, list | tuple)
        and bool(X)
        and all(len(getattr(block, "shape", ())) == 2 for block in X)
    )


def _is_rows(first):
    return hasattr(first, "shape") or isinstance(first, list | tuple)


def iter_once(X: Any) -> bool:
    """Whether `X` is an iterator, which is used up by one pass."""
    return hasattr(X, "__next__")


def _given(block):
    if not isinstance(block, tuple) or len(block) not in (2, 3):
        raise ValueError(
            f"A block is a {type(block).__name__}, and (X, y) or (X, y, sample_weight) is needed. "
            "Yield a tuple of them."
        )
    if block[1] is None:
        raise ValueError("A block has y=None. Yield (X, y) with the targets of its rows.")
    return Given(*block)


def block_weights(sample_weight: Any, X: Any) -> Array:
    """Weights of a block, (b,); all of them may be zero, as other blocks have others."""
    n = X.shape[0] if hasattr(X, "shape") else len(X)
    if sample_weight is None:
        return np.ones(n)
    weights = np.asarray(sample_weight, dtype=np.float64)
    check_consistent_length(X, weights)
    if weights.ndim != 1 or not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(
            "The sample weights of a block are negative, not finite, or no vector. Pass one "
            "number of at least 0 for each row."
        )
    return weights
