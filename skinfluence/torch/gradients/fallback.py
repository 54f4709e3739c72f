"""Gradients of parameters whose layer is not known: formed row by row."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from skinfluence.torch.data import Batch
from skinfluence.torch.network import Network

RowValue = Callable[[Tensor, Tensor | None], Tensor]


def row_by_row(
    network: Network, names: tuple[str, ...], batch: Batch, value: RowValue, *, loop: bool = False
) -> dict[str, Tensor]:
    """Gradients (b, \\*shape) by name, by ``vmap(grad)`` or in a loop over the rows.

    Raises
    ------
    RuntimeError
        By ``vmap``, of operations that it cannot batch: those need the loop.
    """
    params = {name: p for name, p in network.params().items() if name in names}

    def of_one(params: dict[str, Tensor], *row: Tensor | None) -> Tensor:
        *inputs, y = row
        args = tuple(x[None] for x in inputs[: len(batch.args)] if x is not None)
        named = zip(batch.kwargs, inputs[len(batch.args) :], strict=True)
        kwargs = {name: x[None] for name, x in named if x is not None}
        outputs = functional_call(network.module, params, args, kwargs)
        return value(outputs, None if y is None else y[None]).sum()

    rows = (*batch.args, *batch.kwargs.values(), batch.y)
    if loop:
        return _looped(of_one, params, rows, batch.size)
    dims = (None, *(None if r is None else 0 for r in rows))
    with warnings.catch_warnings():
        # Operations without a batching rule run one after the other: slow, and right.
        warnings.filterwarnings("ignore", message="There is a performance drop")
        found: dict[str, Tensor] = vmap(grad(of_one), in_dims=dims)(params, *rows)
    return found


def _looped(of_one, params, rows, size):
    leaves = {name: p.detach().requires_grad_() for name, p in params.items()}
    found = {name: p.new_zeros(size, *p.shape) for name, p in params.items()}
    for i in range(size):
        with torch.enable_grad():
            value = of_one(leaves, *(None if r is None else r[i] for r in rows))
        if not value.requires_grad:  # no value depends on them
            continue
        slopes = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True)
        for name, slope in zip(leaves, slopes, strict=True):
            found[name][i] = slope
    return found
