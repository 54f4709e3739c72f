"""Tracing a VAE as people do it without this package: row by row, or by vmap.

The published scripts of VAE-TracIn differentiate one row after the other, averaging losses over
draws of the latents in a loop, and keep the gradients of the queries.
"""

from __future__ import annotations

import torch
from torch import func


def mean_loss(module, x, noise):
    """Minus the bound of one row, averaged over its draws one by one."""
    return -sum(module.elbo(x[None], draw[None])[0] for draw in noise) / len(noise)


def joint_loss(module, x, noise):
    """The same with all draws at once."""
    return -module.elbo(x[None], noise[None])[0]


def gradient(module, x, noise, loss):
    """Gradient of one row, (p,)."""
    found = torch.autograd.grad(loss(module, x, noise), list(module.parameters()))
    return torch.cat([part.flatten() for part in found])


def query_gradients(module, xq, noise_q):
    """Gradients of the queries, (q, p)."""
    pairs = zip(xq, noise_q, strict=True)
    return torch.stack([gradient(module, *pair, joint_loss) for pair in pairs])


def row_loop(module, queries, x, noise, loss=mean_loss):
    """``<g_q, g_i>``, (q, n), a row at a time."""
    pairs = zip(x, noise, strict=True)
    return torch.stack([queries @ gradient(module, *pair, loss) for pair in pairs], 1)


def loop_with_joint_draws(module, queries, x, noise):
    """The loop over rows, but with all draws of a row at once."""
    return row_loop(module, queries, x, noise, joint_loss)


def vmapped(module, queries, x, noise, block=50):
    """``<g_q, g_i>``, (q, n), by vmap of the gradient, `block` rows at a time."""
    parameters = {name: value.detach() for name, value in module.named_parameters()}

    def loss(values, row, draws):
        return -func.functional_call(Bound(module), values, (row[None], draws[None]))[0]

    each = func.vmap(func.grad(loss), in_dims=(None, 0, 0))
    named, found = {f"module.{name}": value for name, value in parameters.items()}, []
    for start in range(0, len(x), block):
        part = slice(start, start + block)
        gradients = each(named, x[part], noise[part])
        flat = torch.cat([gradients[name].flatten(1) for name in named], 1)
        found.append(queries @ flat.T)
    return torch.cat(found, 1)


class Bound(torch.nn.Module):
    """A module whose forward is the bound of another."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x, noise):
        return self.module.elbo(x, noise)
