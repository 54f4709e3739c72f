"""Convolutions: a linear map of every patch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn import grad

from skinfluence.torch.gradients.factors import Dense, Factor, Together
from skinfluence.torch.gradients.layers import Names, Use, joined, layer
from skinfluence.torch.gradients.outer import Outer

WEIGHT_GRADIENTS = {1: grad.conv1d_weight, 2: grad.conv2d_weight, 3: grad.conv3d_weight}


@layer(nn.Conv1d, nn.Conv2d, nn.Conv3d)
def convolution(module: Any, uses: Sequence[Use], names: Names) -> Factor:
    """Outer products over patches, or the gradients themselves where those are smaller.

    They are for all but wide layers on small maps, and a convolution of derivatives with inputs,
    every row a group of its own, forms them without a patch being copied: on a CPU 1-3 times as
    fast as patches and a matrix product.
    """
    frames = [(_frames(module, u.input), _frames(module, u.delta)) for u in uses]
    if "weight" not in names:
        return Dense({names["bias"]: total_bias(frames)})
    shape = tuple(module.weight.shape)
    places = sum(delta[0, :, 0].numel() for _, delta in frames)
    wide = module.weight.numel() > places * (module.weight[0].numel() + shape[0])
    if wide and module.groups == 1:
        a = joined([_positions(conv_patches(module, x)) for x, _ in frames])
        delta = joined([_positions(d.flatten(3)) for _, d in frames])
        return Outer(names["weight"], names.get("bias"), a, delta, shape)
    found = {names["weight"]: _formed(module, frames)}
    if "bias" in names:
        found[names["bias"]] = total_bias(frames)
    return Dense(found)


@layer(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
def transposed(module: Any, uses: Sequence[Use], names: Names) -> Factor:
    """A transposed convolution's weight has the gradient of a convolution's, roles exchanged."""
    frames = [(_frames(module, u.input), _frames(module, u.delta)) for u in uses]
    found = {names["bias"]: total_bias(frames)} if "bias" in names else {}
    if "weight" not in names:
        return Dense(found)
    turned = [(_reached(module, delta, x), x) for x, delta in frames]
    shape = tuple(module.weight.shape)
    places = sum(x[0, :, 0].numel() for x, _ in frames)
    wide = module.weight.numel() > places * (module.weight[0].numel() + shape[0])
    if wide and module.groups == 1:
        a = joined([_positions(_unfolded(module, delta)) for delta, _ in turned])
        inputs = joined([_positions(x.flatten(3)) for x, _ in frames])
        outer = Outer(names["weight"], None, a, inputs, shape)
        return Together((outer, Dense(found))) if found else outer
    formed = [_weight_gradients(module, delta, x) for delta, x in turned]
    own = torch.stack(formed).sum(0) if len(formed) > 1 else formed[0]
    return Dense({names["weight"]: own, **found})


def _reached(module: Any, delta: Tensor, x: Tensor) -> Tensor:
    """Derivatives of the outputs that inputs reach, with the margin that the layer cuts off.

    `output_padding` may add others, which only the bias moves.
    """
    found, dims = padded(module, delta), len(module.kernel_size)
    axes = zip(module.kernel_size, module.stride, module.dilation, strict=True)
    for axis, (size, step, gap) in enumerate(axes, -dims):
        found = found.narrow(axis, 0, (x.shape[axis] - 1) * step + gap * (size - 1) + 1)
    return found


def total_bias(frames: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Derivatives summed over places, (b, channels)."""
    sums = [delta.flatten(3).sum((1, 3)) for _, delta in frames]
    return torch.stack(sums).sum(0) if len(sums) > 1 else sums[0]


def _frames(module: Any, values: Tensor) -> Tensor:
    """(b, ..., channels, *map) as (b, n_frames, channels, *map)."""
    inner = values.shape[-1 - len(module.kernel_size) :]
    return values.reshape(len(values), -1, *inner)


def _formed(module: Any, frames) -> Tensor:
    """Gradients of the weight, (b, *shape)."""
    found = [_weight_gradients(module, padded(module, x), delta) for x, delta in frames]
    return torch.stack(found).sum(0) if len(found) > 1 else found[0]


def _weight_gradients(module: Any, x: Tensor, delta: Tensor) -> Tensor:
    """The weight's gradient of every row, (b, *shape): one convolution of b times the groups.

    `x` has its margin.
    """
    b, shape = len(x), module.weight.shape
    gradient = WEIGHT_GRADIENTS[len(module.kernel_size)](
        x.transpose(0, 1).flatten(1, 2),
        (b * shape[0], *shape[1:]),
        delta.transpose(0, 1).flatten(1, 2),
        stride=module.stride,
        dilation=module.dilation,
        groups=b * module.groups,
    )
    return gradient.view(b, *shape)


def padded(module: Any, x: Tensor) -> Tensor:
    """Input with the margin that the convolution adds, (..., channels, *map)."""
    sides: list[int] = []
    for axis, size in enumerate(module.kernel_size):
        if module.padding == "same":
            both = module.dilation[axis] * (size - 1)
            pair = (both // 2, both - both // 2)
        else:
            pair = (0, 0) if module.padding == "valid" else (module.padding[axis],) * 2
        sides = [*pair, *sides]  # the last axis comes first
    if not any(sides):
        return x
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    flat = x.reshape(-1, *x.shape[-1 - len(module.kernel_size) :])
    wide = F.pad(flat, sides, mode=mode)
    return wide.view(*x.shape[: x.ndim - wide.ndim + 1], *wide.shape[1:])


def conv_patches(module: Any, x: Tensor) -> Tensor:
    """What a convolution multiplies its weight with.

    Parameters
    ----------
    module : nn.Conv1d, nn.Conv2d or nn.Conv3d
    x : Tensor of shape (..., channels, \\*map)

    Returns
    -------
    Tensor of shape (..., channels * kernel, n_places)
        In the order in which the weight is flattened, ``weight.flatten(1)``; the channels of all
        groups, one group after the other.
    """
    return _unfolded(module, padded(module, x))


def _unfolded(module: Any, x: Tensor) -> Tensor:
    """The patches of maps that have their margin."""
    x = x.contiguous()
    dims = len(module.kernel_size)
    lead, (channels, *size) = x.shape[: -dims - 1], x.shape[-dims - 1 :]
    steps = x.stride()[-dims:]
    axes = tuple(zip(size, module.kernel_size, module.stride, module.dilation, strict=True))
    places = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in axes]
    view = x.as_strided(
        (*lead, channels, *module.kernel_size, *places),
        (
            *x.stride()[:-dims],
            *(step * d for step, (_, _, _, d) in zip(steps, axes, strict=True)),
            *(step * s for step, (_, _, s, _) in zip(steps, axes, strict=True)),
        ),
    )
    kernel = channels * torch.Size(module.kernel_size).numel()
    return view.reshape(*lead, kernel, torch.Size(places).numel())


def _positions(patches: Tensor) -> Tensor:
    """(b, n_frames, d, n_places) as (b, T, d)."""
    return patches.transpose(2, 3).flatten(1, 2)
