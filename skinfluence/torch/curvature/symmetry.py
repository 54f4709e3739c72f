"""Directions in which a network's loss cannot change, whatever the rows."""

from __future__ import annotations

import torch
from torch import Tensor

from skinfluence.torch.data import Batch
from skinfluence.torch.network import Network
from skinfluence.torch.objective import NetworkObjective

# Rows that are tried, and how far from constant a shift of their outputs may be to be one.
PROBE = 2
NEAR = {torch.float64: 1e-8, torch.float32: 1e-4}


def null_directions(objective: NetworkObjective) -> Tensor | None:
    """Unpenalised directions that shift all outputs of a row alike, where the loss ignores that.

    Probabilities of classes do not change where the same number is added to every logit, so the
    last biases, moved together, are in no row's loss; nor are the last weights of one input. They
    are found by moving every parameter whose first axis is the classes', in two random ways, and
    every symmetric curvature of the rows is exactly zero in them.

    Returns
    -------
    directions : Tensor of shape (q, p) or None
        Orthonormal, float64; no two have an entry in common, and the entries of one are equal.
        None where there are none.
    """
    network, penalty = objective.network, objective.decay
    found = []
    for name, shape in network.shapes.items():
        free = penalty is None or not bool(penalty[network.spans[name]].any())
        if free and len(shape) and shape[0] > 1 and _ignored(objective, name):
            n, others = shape[0], shape[1:].numel()
            each = torch.eye(others, dtype=torch.float64, device=network.device) / n**0.5
            block = each.new_zeros(others, network.n_params)
            block[:, network.spans[name]] = each.repeat(1, n)
            found.append(block)
    return torch.cat(found) if found else None


def _ignored(objective: NetworkObjective, name: str) -> bool:
    """Whether a parameter, moved alike along its first axis, shifts outputs unseen by the loss."""
    network = objective.network
    batch = objective.rows.take(slice(0, min(PROBE, objective.n_train)))
    shape = network.shapes[name]
    draws = torch.Generator().manual_seed(0)
    move = 1.0 + torch.rand(shape[1:], generator=draws, dtype=torch.float64)
    near = NEAR.get(network.dtype, 1e-2)
    with torch.no_grad():
        before = network.outputs(batch)
        if before.ndim < 2 or shape[0] not in before.shape[1:]:
            return False
        shift = _shift(network, batch, name, move, before)
        rise = float(before.abs().max()) / max(float(shift.abs().max()), 1e-300)
        if rise > 1.0:  # of inputs that are small, so that rounding does not hide the shift
            shift = _shift(network, batch, name, rise * move, before)
        # A row that does not move proves nothing.
        size = shift.flatten(1).abs().amax(1)
        axis = 1 if before.shape[1] == shape[0] else before.ndim - 1
        uneven = (shift - shift.mean(axis, keepdim=True)).flatten(1).abs().amax(1)
        rounding = near * torch.maximum(size, before.flatten(1).abs().amax(1))
        if not bool((uneven <= rounding).all() & (size > 100 * rounding).all()):
            return False
        # Not at the outputs themselves, where the loss may be flat because it is saturated.
        other = torch.randn(before.shape, generator=draws, dtype=torch.float64).to(before)
        losses = [objective.loss(f, batch.y) for f in (other, other + shift)]
        bound = near * (1.0 + losses[0].abs() + size)
        return bool(((losses[0] - losses[1]).abs() <= bound).all())


def _shift(network: Network, batch: Batch, name: str, move: Tensor, before: Tensor) -> Tensor:
    """What a move of one parameter, alike along its first axis, does to the outputs."""
    theta = network.theta.clone()
    theta[network.spans[name]] += move.to(theta).expand(network.shapes[name]).reshape(-1)
    return network.outputs(batch, network.params(theta)) - before
