"""What a layer of a network is given: the features of rows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn import get_config
from torch import Tensor, nn

from skinfluence.torch import faults
from skinfluence.torch.data import Batch, Rows
from skinfluence.torch.gradients.footprint import elements_per_row
from skinfluence.torch.network import Network

Array = NDArray[np.float64]

# Rows that run together at most.
MOST = 1024


@contextlib.contextmanager
def inputs_of(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Inputs of a layer, one a call, while rows run through the network."""
    seen: list[Tensor] = []

    def keep(part, args, kwargs):
        # A copy: the forward may overwrite what it has handed to the layer.
        seen.append((args[0] if args else next(iter(kwargs.values()))).clone())

    handle = layer.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


def block_size(network: Network, batch: Batch, copies: int = 1) -> int:
    """Rows whose activations, `copies` times over, fit into ``working_memory``."""
    row_bytes = copies * elements_per_row(network, batch) * network.theta.element_size()
    return max(1, min(MOST, int(get_config()["working_memory"] * 2**20 / max(1, row_bytes))))


def features_of(network: Network, layer: nn.Linear, rows: Rows) -> Array:
    """Inputs of a layer at all rows, (n, d) in float64, block by block.

    Raises
    ------
    ValueError
        If the forward fails at a row, or its features are NaN or infinite; it names the rows.
    """
    n = rows.shape[0]
    found = np.empty((n, layer.in_features))
    size = block_size(network, rows.take(slice(0, 1)))
    with torch.no_grad():
        for start in range(0, n, size):
            batch = rows.take(slice(start, min(start + size, n)))
            with inputs_of(layer) as seen:
                faults.outputs_at(network, batch, start)
            part = seen[-1].double().cpu().numpy()
            _check_finite(part, start)
            found[start : start + len(part)] = part
    return found


def _check_finite(part: Array, start: int) -> None:
    bad = np.flatnonzero(~np.isfinite(part).all(axis=1))
    if len(bad):
        raise ValueError(
            f"Features of row {start + int(bad[0])} ({len(bad)} of this block) hold NaN or "
            "infinity. Leave such rows out, or fill in what is missing in X."
        )
