"""Rows of queries must be of the kind that the network was trained on."""

from __future__ import annotations

from torch import Tensor

from skinfluence.torch.data.rows import Batch


def resembling(batch: Batch, example: Batch) -> Batch:
    """A batch whose inputs have the names, types and numbers of features of a training row.

    Whole numbers become floating-point ones where those were trained on.

    Raises
    ------
    ValueError
        If they cannot be what the network was trained on.
    """
    if len(batch.args) != len(example.args) or list(batch.kwargs) != list(example.kwargs):
        raise ValueError(
            f"X brings {_inputs(batch)}, and the training rows had {_inputs(example)}. Pass "
            "queries as the training rows were passed."
        )
    args = zip(batch.args, example.args, strict=True)
    return Batch(
        tuple(_alike(x, e, "X") for x, e in args),
        batch.y,
        {name: _alike(x, example.kwargs[name], name) for name, x in batch.kwargs.items()},
    )


def _inputs(batch: Batch) -> str:
    if batch.kwargs:
        return f"inputs called {', '.join(batch.kwargs)}"
    return f"{len(batch.args)} input{'s' if len(batch.args) > 1 else ''}"


def _alike(x: Tensor, example: Tensor, name: str) -> Tensor:
    # Lengths of sequences and sizes of images may differ, the number of features may not.
    features = example.ndim == 2 and example.is_floating_point()
    if x.ndim != example.ndim or (features and x.shape[1] != example.shape[1]):
        raise ValueError(
            f"{name} has rows of shape {tuple(x.shape[1:])}, and those of the training rows have "
            f"{tuple(example.shape[1:])}. Pass queries as the training rows were passed."
        )
    if example.is_floating_point():
        return x.to(example.dtype)
    if x.is_floating_point():
        raise ValueError(
            f"{name} has type {x.dtype}, and the training rows had {example.dtype}. Pass whole "
            "numbers."
        )
    return x
