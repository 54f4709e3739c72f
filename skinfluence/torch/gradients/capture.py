"""One pass forward and one back, and what every known layer saw."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from skinfluence.torch.data import Batch
from skinfluence.torch.gradients.layers import Use
from skinfluence.torch.network import Network

# Value of each row, (b,), from outputs (b, ...) and targets.
RowValue = Callable[[Tensor, Tensor | None], Tensor]


def capture(
    network: Network, layers: Mapping[str, nn.Module], batch: Batch, value: RowValue
) -> tuple[Tensor, dict[str, list[Use]]]:
    """Run a batch and keep, for each use of each layer, its input and its output's derivative.

    Rows do not see each other, so the derivative of the sum over rows holds each row's own.

    Returns
    -------
    values : Tensor of shape (b,)
    uses : dict of str to list of Use
        By the layer's name, in the order of the calls; uses that no value depends on are absent.
    """
    seen: list[tuple[str, Tensor, Tensor]] = []
    with torch.enable_grad(), _hooked(layers, seen):
        values = value(network.outputs(batch), batch.y)
    uses: dict[str, list[Use]] = {name: [] for name in layers}
    if seen and values.requires_grad:
        slopes = torch.autograd.grad(values.sum(), [out for *_, out in seen], allow_unused=True)
        for (name, a, _), delta in zip(seen, slopes, strict=True):
            if delta is not None:
                uses[name].append(Use(a, delta))
    return values.detach(), uses


@contextlib.contextmanager
def _hooked(layers: Mapping[str, nn.Module], seen: list) -> Iterator[None]:
    def keep(name):
        def hook(module, args, output):
            # No parameter asks for a gradient, so the graph starts at the first known layer.
            if not output.requires_grad:
                output = output.detach().requires_grad_()
            seen.append((name, args[0].detach(), output))
            return output

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
