"""Trainings whose influence is known: by autograd, and by what they did to the loss."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np

from tests.conftest import import_optional

torch = import_optional("torch")

from skinfluence.checkpoints import Checkpoint  # noqa: E402
from skinfluence.torch.given import Given  # noqa: E402
from skinfluence.torch.losses import make_loss  # noqa: E402
from skinfluence.torch.tracing.engine import TracingEngine  # noqa: E402

DEFAULTS = {
    "checkpoints": None,
    "learning_rates": None,
    "target": "loss",
    "output": None,
    "loss": "cross_entropy",
    "params": None,
    "preconditioner": None,
    "n_checkpoints": None,
    "projection": None,
    "n_draws": 16,
    "tol": 0.05,
    "gradient": "reparameterized",
    "resume": None,
    "n_jobs": None,
    "progress": False,
    "random_state": None,
}


def engine(module, X, y, sample_weight=None, **options):
    """The engine of a module, with an explainer's defaults."""
    settings = SimpleNamespace(**{**DEFAULTS, **options})
    TracingEngine.check(module, settings)
    return TracingEngine(module, Given(X), y, sample_weight, settings)


def queries(engine, X, y=None):
    return engine.queries(Given(X), y)


def matrix(engine, asked):
    """All scores of an engine, (n_queries, n_train)."""
    found = np.full((asked.shape[0], engine.n_train), np.nan)
    for part, rows, values in engine.tiles(asked, n_jobs=None, progress=False, desc="scores"):
        found[part, rows] = values
    return found


def state(module, step, **more):
    """A checkpoint of a module as it is."""
    return Checkpoint(
        step,
        {name: p.detach().clone().numpy() for name, p in module.named_parameters()},
        {name: b.detach().clone().numpy() for name, b in module.named_buffers()},
        **more,
    )


def disturbed(module, n_checkpoints=3, size=0.05, seed=0):
    """Copies of a module with other parameters and buffers, as if training had moved them."""
    draw = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(n_checkpoints):
        module = copy.deepcopy(module)
        with torch.no_grad():
            for values in (*module.parameters(), *module.buffers()):
                if values.is_floating_point():
                    noise = torch.randn(values.shape, generator=draw, dtype=torch.float64)
                    # Factors near one, so that variances stay positive.
                    values.mul_(1.0 + size * noise.clamp(-3, 3).to(values.dtype))
        found.append(module)
    return found


def gradients(module, X, y, value):
    """Gradient of every row's value, (n, p) in float64, by autograd, one row at a time."""
    found = []
    for i in range(len(X)):
        module.zero_grad()
        row = value(module(X[i : i + 1]), None if y is None else y[i : i + 1]).sum()
        slopes = torch.autograd.grad(row, list(module.parameters()), materialize_grads=True)
        found.append(torch.cat([slope.reshape(-1) for slope in slopes]))
    return torch.stack(found).double().numpy()


def brute_force(modules, rates, rows, asked, loss, target=None):
    """``sum_c <t_z, D_c g_i>``; rates are numbers or vectors, a checkpoint each."""
    loss = make_loss(loss)
    total = 0.0
    for module, rate in zip(modules, rates, strict=True):
        module = copy.deepcopy(module).eval().requires_grad_(True)
        for part in module.modules():  # derivatives, not what an optimiser is handed instead
            part.scale_grad_by_freq = False
        g = gradients(module, *rows, loss)
        t = gradients(module, *asked, loss if target is None else target)
        total = total + (t * np.asarray(rate)) @ g.T
    return total
