"""What running a row through a network takes."""

from __future__ import annotations

import torch
from torch import Tensor

from skinfluence.torch.data import Batch
from skinfluence.torch.network import Network


def keep_freed_memory() -> None:
    """Let the C library keep tens of megabytes that blocks free, instead of returning them.

    Each block would page its temporaries in anew, which costs a small network a quarter of its
    time. glibc's threshold follows the largest piece that it has seen come back, up to 32 MiB.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)


def elements_per_row(network: Network, batch: Batch) -> int:
    """Numbers that the parts of a network put out for a row, and those that it takes in.

    Outputs of parts that have parts of their own are not counted again; functions between the
    parts are not seen.
    """
    counted = sum(values.numel() for values in (*batch.args, *batch.kwargs.values()))

    def count(module, args, output):
        nonlocal counted
        if isinstance(output, Tensor):
            counted += output.numel()

    parts = [part for part in network.module.modules() if not any(True for _ in part.children())]
    handles = [part.register_forward_hook(count) for part in parts]
    try:
        with torch.no_grad():
            network.outputs(batch)
    finally:
        for handle in handles:
            handle.remove()
    return counted // batch.size
