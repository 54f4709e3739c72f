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
    network: Network,
    layers: Mapping[str, nn.Module],
    batch: Batch,
    value: RowValue,
    *,
    overwritten: bool = False,
    channels_last: bool = False,
) -> tuple[Tensor, dict[str, list[Use]]]:
    """Run a batch and keep, for each use of each layer, its input and its output's derivative.

    Rows do not see each other, so the derivative of the sum over rows holds each row's own. The
    graph starts at the first of the layers: what lies below it runs forward only.

    Parameters
    ----------
    network : Network
    layers : dict of str to nn.Module
    batch : Batch
    value : callable
        ``value(outputs, y) -> (b,)``.
    overwritten : bool, default=False
        Whether the forward overwrites outputs of the layers, which then have to be copied.
    channels_last : bool, default=False
        Whether images are stored pixel by pixel between convolutions.

    Returns
    -------
    values : Tensor of shape (b,)
    uses : dict of str to list of Use
        By the layer's name, in the order of the calls; uses that no value depends on are absent.
    """
    layout = _pixel_by_pixel(network.module) if channels_last else contextlib.nullcontext()
    with torch.enable_grad(), layout, _recorded(layers, overwritten) as calls:
        values = value(network.outputs(batch), batch.y)
    return values.detach(), _uses(layers, calls, batch.size, values.sum(), None)


def capture_outputs(
    network: Network,
    layers: Mapping[str, nn.Module],
    batch: Batch,
    cotangents: Cotangents | None = None,
    *,
    overwritten: bool = True,
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
    overwritten : bool, default=True
        As for ``capture``; a copy is right for every forward, and nothing beside several passes.

    Returns
    -------
    outputs : Tensor of shape (b, \\*output)
    uses : dict of str to list of Use
        ``input`` is (b, ...), rows first, and ``delta`` (M, b, ...): the derivative of
        ``<u_m, f(x_i)>`` in the layer's output.
    """
    with torch.enable_grad(), _recorded(layers, overwritten) as calls:
        outputs = network.outputs(batch)
    found = outputs.detach()
    vectors = unit_vectors(found) if cotangents is None else cotangents(found)
    return found, _uses(layers, calls, batch.size, outputs, vectors)


def unit_vectors(outputs: Tensor) -> Tensor:
    """The unit vectors of each row's outputs, (K, b, \\*output)."""
    b, K = len(outputs), outputs[0].numel()
    eye = torch.eye(K, dtype=outputs.dtype, device=outputs.device)
    return eye[:, None].expand(K, b, K).reshape(K, b, *outputs.shape[1:])


def _uses(layers, calls: list[Call], b: int, total: Tensor, vectors: Tensor | None):
    """The calls with the derivatives of ``total``, or of its products with M vectors."""
    uses: dict[str, list[Use]] = {name: [] for name in layers}
    if not calls or not total.requires_grad:
        return uses
    slopes = _backward(total, [call.output for call in calls], vectors)
    for call, delta in zip(calls, slopes, strict=True):
        if delta is not None:
            of_rows = _rows_first(delta, b, 0 if vectors is None else 1)
            seen = _rows_first(call.input, b, 0)
            uses[call.name].append(Use(seen, of_rows, seen.ndim > call.input.ndim))
    return uses


def _rows_first(values: Tensor, b: int, axis: int) -> Tensor:
    """Positions of a row that the forward has put on the rows' axis get one of their own."""
    length = values.shape[axis]
    return values if length == b or length % b else values.unflatten(axis, (b, length // b))


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
def _pixel_by_pixel(module: nn.Module) -> Iterator[None]:
    """Convolutions take, and hence give, images in the layout that CPUs pool and scale fastest."""

    def hook(part, args):
        if args and args[0].ndim == 4:
            return (args[0].to(memory_format=torch.channels_last), *args[1:])
        return None

    parts = [part for part in module.modules() if isinstance(part, nn.Conv2d)]
    handles = [part.register_forward_pre_hook(hook) for part in parts]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def _recorded(layers: Mapping[str, nn.Module], overwritten: bool) -> Iterator[list[Call]]:
    """Record the calls of some layers; nothing is left behind, whatever the forward does."""
    calls: list[Call] = []

    def keep(name):
        def hook(module, args, kwargs, output):
            seen = (args[0] if args else next(iter(kwargs.values()))).detach()
            if overwritten:
                # A zero of no memory stands for the output as it left the layer.
                tap = output.new_zeros(()).expand_as(output).requires_grad_()
                calls.append(Call(name, seen, tap))
                return output + tap
            # No parameter asks for a gradient, so the graph starts at the first known layer.
            if not output.requires_grad:
                output = output.detach().requires_grad_()
            calls.append(Call(name, seen, output))
            return output

        return hook

    # First of all hooks: what others make of an output is no longer the layer's.
    handles = [
        module.register_forward_hook(keep(name), with_kwargs=True, prepend=True)
        for name, module in layers.items()
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
