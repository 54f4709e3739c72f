"""One pass forward and back, and what every known layer saw."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from skinfluence.torch.data import Batch
from skinfluence.torch.gradients.layers import Use
from skinfluence.torch.network import Network

# Value of each row, (b,), from outputs (b, ...) and targets.
RowValue = Callable[[Tensor, Tensor | None], Tensor]
# Vectors u_1..u_M in the outputs of every row, (M, b, ...), from the outputs.
Cotangents = Callable[[Tensor], Tensor]


@dataclass
class Call:
    """One call of a known layer while rows run through a network."""

    name: str
    input: Tensor
    output: Tensor


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
    with torch.enable_grad(), _recorded(layers) as calls:
        values = value(network.outputs(batch), batch.y)
    return values.detach(), _uses(layers, calls, values.sum(), None)


def capture_outputs(
    network: Network,
    layers: Mapping[str, nn.Module],
    batch: Batch,
    cotangents: Cotangents | None = None,
) -> tuple[Tensor, dict[str, list[Use]]]:
    """Run a batch, and propagate several vectors in its outputs back to the layers.

    Parameters
    ----------
    network : Network
    layers : dict of str to nn.Module
        Such as ``RowGradients.layers``.
    batch : Batch
    cotangents : callable or None, default=None
        From the outputs (b, \\*output) to the vectors u_1..u_M, (M, b, \\*output); by default the
        K unit vectors, so that the uses hold the rows of each row's Jacobian.

    Returns
    -------
    outputs : Tensor of shape (b, \\*output)
    uses : dict of str to list of Use
        ``input`` is (b, ...) as the layer was called, and ``delta`` (M, b, ...): the derivative
        of ``<u_m, f(x_i)>`` in the layer's output.
    """
    with torch.enable_grad(), _recorded(layers) as calls:
        outputs = network.outputs(batch)
    found = outputs.detach()
    vectors = unit_vectors(found) if cotangents is None else cotangents(found)
    return found, _uses(layers, calls, outputs, vectors)


def unit_vectors(outputs: Tensor) -> Tensor:
    """The unit vectors of each row's outputs, (K, b, \\*output)."""
    b, K = len(outputs), outputs[0].numel()
    eye = torch.eye(K, dtype=outputs.dtype, device=outputs.device)
    return eye[:, None].expand(K, b, K).reshape(K, b, *outputs.shape[1:])


def _uses(layers, calls: list[Call], total: Tensor, vectors: Tensor | None):
    """The calls with the derivatives of ``total``, or of its products with M vectors."""
    uses: dict[str, list[Use]] = {name: [] for name in layers}
    if not calls or not total.requires_grad:
        return uses
    for call, delta in zip(
        calls, _backward(total, [c.output for c in calls], vectors), strict=True
    ):
        if delta is not None:
            uses[call.name].append(Use(call.input, delta))
    return uses


def _backward(total: Tensor, leaves: list[Tensor], vectors: Tensor | None):
    if vectors is None:
        return torch.autograd.grad(total, leaves, allow_unused=True)
    try:
        return torch.autograd.grad(
            total, leaves, vectors, allow_unused=True, is_grads_batched=True, retain_graph=True
        )
    except RuntimeError:  # an operation whose derivative vmap does not know
        found = [
            torch.autograd.grad(total, leaves, vector, allow_unused=True, retain_graph=True)
            for vector in vectors
        ]
        return [
            None if parts[0] is None else torch.stack(parts) for parts in zip(*found, strict=True)
        ]


@contextlib.contextmanager
def _recorded(layers: Mapping[str, nn.Module]) -> Iterator[list[Call]]:
    """Record the calls of some layers; nothing is left behind, whatever the forward does."""
    calls: list[Call] = []

    def keep(name):
        def hook(module, args, output):
            # No parameter asks for a gradient, so the graph starts at the first known layer.
            if not output.requires_grad:
                output = output.detach().requires_grad_()
            calls.append(Call(name, args[0].detach(), output))
            return output

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in layers.items()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
