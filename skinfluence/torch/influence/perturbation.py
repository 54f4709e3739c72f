"""How a target changes when training inputs do."""

from __future__ import annotations

import numpy as np
import torch

from skinfluence.torch.data import Batch
from skinfluence.torch.derivatives import differentiable_twice
from skinfluence.torch.influence.queries import Queries
from skinfluence.torch.influence.trained import Trained


def perturbation(
    trained: Trained,
    queries: Queries,
    positions: np.ndarray,
    features: np.ndarray | None = None,
) -> np.ndarray:
    """``d value(z) / d x_i = -w_i d/dx <A^-1 g_z, grad l(x_i)>``, (m, n_rows, \\*shape of x).

    The derivative of the query's value at the optimum as the rows move, not that of a deletion
    score. The rows' gradients are differentiated a second time, in their inputs; of flat inputs,
    (d,), only those in the columns at `features` are kept.

    Raises
    ------
    ValueError
        If the network has several inputs, or one of integers, or columns are asked for of inputs
        that have none.
    """
    shape = _check_inputs(trained)
    if features is not None:
        _check_flat(shape)
        shape = (len(features),)
    solved = trained.solve(queries.dense(slice(0, queries.shape[0])))
    found = np.empty((len(solved), len(positions), *shape))
    size = max(1, trained.gradients.block_size() // 2)  # the graph of two derivatives
    with differentiable_twice():
        for start in range(0, len(positions), size):
            part = slice(start, start + size)
            slopes = _of_rows(trained, solved, positions[part])
            found[:, part] = slopes if features is None else slopes[..., features]
    return found


def _of_rows(trained, solved, positions):
    batch = trained.batch(positions)
    network, x = trained.network, batch.inputs[0].detach().requires_grad_()
    theta = network.theta.clone().requires_grad_()
    args, kwargs = ((x,), {}) if batch.args else ((), dict.fromkeys(batch.kwargs, x))
    batch = Batch(args, batch.y, kwargs)
    with torch.enable_grad():
        losses = trained.objective.loss(network.outputs(batch, network.params(theta)), batch.y)
        total = losses @ trained.weights(positions).to(losses.dtype)
        slope = torch.autograd.grad(total, theta, create_graph=True)[0]
    if not slope.requires_grad:
        return np.zeros((len(solved), *x.shape))
    # Rows do not see each other: the derivative of the sum holds each row's own.
    return np.stack([_along(slope, x, s) for s in solved])


def _along(slope, x, s):
    found = torch.autograd.grad(slope, x, s, retain_graph=True, materialize_grads=True)[0]
    return -found.detach().cpu().double().numpy()


def _check_inputs(trained):
    """Shape of the one input of a row."""
    inputs = trained.batch(slice(0, 1)).inputs
    if len(inputs) != 1:
        raise ValueError(
            f"The network has {len(inputs)} inputs, and the derivative is taken in one. Wrap the "
            "network in a module of the input in question."
        )
    if not inputs[0].is_floating_point():
        raise ValueError(
            f"The inputs are {inputs[0].dtype}, which have no derivative. Explain the network "
            "behind its embedding layer, or use score_replacement for other inputs."
        )
    return inputs[0].shape[1:]


def _check_flat(shape):
    """Refuse columns of inputs that are no rows of a table."""
    if len(shape) != 1:
        raise ValueError(
            f"features= names columns, and the input of a row has shape {tuple(shape)}. Leave "
            "features=None, and take what you need of the result: its last axes are those of a "
            "row."
        )
