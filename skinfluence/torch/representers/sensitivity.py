"""How features answer to inputs: the sensitivity of each training row's part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skinfluence.torch.data import Batch, Rows
from skinfluence.torch.derivatives import differentiable_twice
from skinfluence.torch.network import Network
from skinfluence.torch.representers.features import block_size, inputs_of

Array = NDArray[np.float64]

# Directions that are propagated back together at most.
TOGETHER = 64


@dataclass(frozen=True)
class Noise:
    """Draws around a query, over which sensitivities are averaged.

    Parameters
    ----------
    n_draws : int
        0 for the query as it is.
    level : float
        Standard deviation, as a share of the range of the query's input.
    seed : int
    """

    n_draws: int = 0
    level: float = 0.0
    seed: int = 0

    def around(self, x: Tensor, first: int) -> Iterator[Tensor]:
        """Noisy copies of inputs (b, ...), of which the first is query number `first`.

        Each query has a stream of its own, so that draws do not depend on blocks.
        """
        if not self.n_draws:
            yield x
            return
        flat = x.reshape(len(x), -1)
        scale = (self.level * (flat.amax(1) - flat.amin(1))).reshape(-1, *[1] * (x.ndim - 1))
        streams = [np.random.default_rng([self.seed, first + j]) for j in range(len(x))]
        for _ in range(self.n_draws):
            drawn = np.stack([stream.standard_normal(x.shape[1:]) for stream in streams])
            yield x + scale * torch.as_tensor(drawn).to(x)


def sensitivity(
    network: Network, layer: nn.Linear, rows: Rows, directions: Array, noise: Noise
) -> Array:
    """``d <u_m, f(z)> / dz`` of every query, along M directions in the space of features.

    Parameters
    ----------
    network : Network
    layer : nn.Linear
        Whose inputs are the features f.
    rows : Rows
        Queries, with one input of floating-point numbers.
    directions : ndarray of shape (M, d)
    noise : Noise

    Returns
    -------
    slopes : ndarray of shape (n_queries, M, \\*shape of a row's input)

    Raises
    ------
    ValueError
        If the network has several inputs, or one of integers.
    """
    shape = shape_of_input(rows.take(slice(0, 1)))
    n, (M, d) = rows.shape[0], directions.shape
    # Of more directions than features, the derivative of each feature is cheaper.
    vectors = directions if d >= M else np.eye(d)
    found = np.empty((n, M, *shape))
    size = block_size(network, rows.take(slice(0, 1)), 2 * (min(len(vectors), TOGETHER) + 1))
    for start in range(0, n, size):
        batch = rows.take(slice(start, min(start + size, n)))
        with differentiable_twice():  # once, but of fused kernels with no batched derivative too
            slopes = _averaged(network, layer, batch, vectors, noise, start)
        part = slopes if vectors is directions else np.tensordot(directions, slopes, 1)
        found[start : start + batch.size] = part.swapaxes(0, 1)
    return found


def _averaged(network, layer, batch, vectors, noise, start):
    """Mean over the draws, (M, b, \\*shape)."""
    total, (x,) = 0.0, batch.inputs
    for draw in noise.around(x, start):
        total = total + _slopes(network, layer, _with_input(batch, draw), vectors)
    return total / max(1, noise.n_draws)


def _with_input(batch: Batch, x: Tensor) -> Batch:
    return replace(
        batch,
        args=(x,) if batch.args else (),
        kwargs=dict.fromkeys(batch.kwargs, x),
    )


def _slopes(network, layer, batch, vectors):
    (x,) = batch.inputs
    x = x.detach().clone().requires_grad_()
    with torch.enable_grad(), inputs_of(layer) as seen:
        network.outputs(_with_input(batch, x))
    features = seen[-1]
    if not features.requires_grad:  # of no input, or detached from it
        return np.zeros((len(vectors), *x.shape))
    u = torch.as_tensor(vectors).to(features)
    parts = [_along(features, x, part) for part in u.split(TOGETHER)]
    return np.concatenate(parts)


def _along(features: Tensor, x: Tensor, u: Tensor) -> Array:
    """Rows do not see each other: the derivative of the sum over rows holds each row's own."""
    vectors = u[:, None].expand(-1, *features.shape)
    try:
        slope = torch.autograd.grad(
            features, x, vectors, retain_graph=True, is_grads_batched=True, materialize_grads=True
        )[0]
    except RuntimeError:  # an operation whose derivative vmap does not know
        slope = torch.stack(
            [
                torch.autograd.grad(features, x, v, retain_graph=True, materialize_grads=True)[0]
                for v in vectors
            ]
        )
    found: Array = slope.detach().double().cpu().numpy()
    return found


def shape_of_input(batch: Batch) -> tuple[int, ...]:
    """Shape of the one input of a row."""
    inputs = batch.inputs
    if len(inputs) != 1:
        raise ValueError(
            f"The network has {len(inputs)} inputs, and sensitivity is the derivative in one. "
            "Wrap the network in a module of the input in question."
        )
    if not inputs[0].is_floating_point():
        raise ValueError(
            f"The inputs are {inputs[0].dtype}, which have no derivative. Explain the network "
            "behind its embedding layer."
        )
    return tuple(inputs[0].shape[1:])
