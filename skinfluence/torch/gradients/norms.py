"""Scales and shifts of normalisations, whose statistics do not cross rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skinfluence.torch.gradients.factors import Dense, Factor
from skinfluence.torch.gradients.layers import Names, Use, layer


def _affine(module: Any, uses: Sequence[Use], names: Names, normal, over) -> Factor:
    """``delta * normal(x)`` for the weight and ``delta`` for the bias, summed over places."""
    found: dict[str, list[Tensor]] = {name: [] for name in names.values()}
    for use in uses:
        x, delta = (v.flatten(0, 1) if use.folded else v for v in (use.input, use.delta))
        if "weight" in names:
            found[names["weight"]].append(_by_row(over(delta * normal(x)), use))
        if "bias" in names:
            found[names["bias"]].append(_by_row(over(delta), use))
    return Dense({name: torch.stack(parts).sum(0) for name, parts in found.items()})


def _by_row(values: Tensor, use: Use) -> Tensor:
    """Sums over positions that were on the rows' axis: (b * positions, ...) to (b, ...)."""
    return values.unflatten(0, use.input.shape[:2]).sum(1) if use.folded else values


@layer(nn.LayerNorm, nn.RMSNorm)
def layer_norm(module: Any, uses: Sequence[Use], names: Names) -> Factor:
    """Over the last axes: all others are summed."""
    shape = module.normalized_shape
    function = F.rms_norm if isinstance(module, nn.RMSNorm) else F.layer_norm

    def over(values):
        return values.reshape(len(values), -1, *shape).sum(1)

    return _affine(module, uses, names, lambda x: function(x, shape, eps=module.eps), over)


@layer(nn.GroupNorm)
def group_norm(module: Any, uses: Sequence[Use], names: Names) -> Factor:
    """Over groups of the channels, which are the second axis."""
    return _affine(
        module,
        uses,
        names,
        lambda x: F.group_norm(x, module.num_groups, eps=module.eps),
        _over_places,
    )


@layer(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
def instance_norm(module: Any, uses: Sequence[Use], names: Names) -> Factor:
    """Each channel on its own, by its own moments or by those that training left."""

    def normal(x):
        own = not module.track_running_stats
        return F.instance_norm(
            x, module.running_mean, module.running_var, use_input_stats=own, eps=module.eps
        )

    return _affine(module, uses, names, normal, _over_places)


@layer(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
def batch_norm(module: Any, uses: Sequence[Use], names: Names) -> Factor:
    """By the moments that training left: a layer without them mixes rows, which is refused."""

    def normal(x):
        return F.batch_norm(x, module.running_mean, module.running_var, eps=module.eps)

    return _affine(module, uses, names, normal, _over_places)


def _over_places(values: Tensor) -> Tensor:
    """(b, channels, ...) summed over the rest, (b, channels)."""
    return values.flatten(2).sum(2) if values.ndim > 2 else values
