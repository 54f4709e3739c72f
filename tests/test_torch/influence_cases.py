"""Networks whose influence is known: one layer, which linear models are too, and a small MLP."""

from __future__ import annotations

import dataclasses

import numpy as np

from tests.conftest import import_optional

torch = import_optional("torch")
nn = torch.nn

from skinfluence.torch.curvature import GaussNewton  # noqa: E402
from skinfluence.torch.data import Rows  # noqa: E402
from skinfluence.torch.gradients import RowGradients  # noqa: E402
from skinfluence.torch.influence.trained import Trained  # noqa: E402
from skinfluence.torch.losses import make_loss  # noqa: E402
from skinfluence.torch.network import Network  # noqa: E402
from skinfluence.torch.objective import NetworkObjective  # noqa: E402
from skinfluence.torch.solvers import Dense  # noqa: E402


def classes(n=60, p=4, k=3, seed=0):
    """Rows of k classes that overlap."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    return rng.normal(size=(n, p)) + 0.7 * rng.normal(size=(k, p))[y], y


def regression(n=60, p=4, seed=0):
    """Rows of a noisy linear function."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    return X, X @ rng.normal(size=p) + 0.5 * rng.normal(size=n)


def linear_module(coef, intercept=None):
    """One layer with these coefficients (k, p), in float64."""
    module = nn.Linear(coef.shape[1], coef.shape[0], bias=intercept is not None).double()
    with torch.no_grad():
        module.weight.copy_(torch.as_tensor(coef))
        if intercept is not None:
            module.bias.copy_(torch.as_tensor(intercept))
    return module


def mlp(p=4, k=3, hidden=6, seed=0):
    """A small network with a smooth activation, in float64."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(p, hidden), nn.Tanh(), nn.Linear(hidden, k)).double()


def objective(module, X, y, *, loss="cross_entropy", weights=None, decay=0.0, per_weight=True):
    """Objective of a module; `decay` is a number or one a parameter (by name)."""
    network = Network(module)
    rows = Rows(torch.as_tensor(X), None if y is None else torch.as_tensor(y))
    w = np.ones(len(X)) if weights is None else weights
    given = decay if isinstance(decay, dict) else dict.fromkeys(network.names, decay)
    c = torch.cat(
        [
            torch.full((shape.numel(),), given.get(name, 0.0), dtype=network.dtype)
            for name, shape in network.shapes.items()
        ]
    )
    return NetworkObjective(
        network, make_loss(loss), rows, torch.as_tensor(w, dtype=torch.float64), c, per_weight
    )


def trained(problem, damping=0.0):
    """Everything influence is made of, with a dense Gauss-Newton matrix."""
    gradients = RowGradients(problem.network, problem.loss, problem.rows.take(slice(0, 4)))
    return Trained(problem, gradients, Dense().invert(GaussNewton(problem), damping))


def train(module, problem, steps=200):
    """Minimise the objective by Newton steps with its full Hessian, damped where it must be."""
    network = problem.network
    theta = network.theta.clone()

    def value(theta):
        batch = problem.rows.take(slice(0, problem.n_train))
        losses = problem.loss(network.outputs(batch, network.params(theta)), batch.y)
        penalty = 0.5 * problem.total_weight * (problem.decay * theta.square()).sum()
        return problem.weights @ losses + penalty

    for _ in range(steps):
        g = torch.func.grad(value)(theta)
        if g.norm() < 1e-11 * problem.total_weight:
            break
        H = torch.func.hessian(value)(theta)
        values, vectors = torch.linalg.eigh(H)
        step = vectors @ ((vectors.T @ g) / values.abs().clamp_min(1e-6 * values.abs().max()))
        size = 1.0
        while value(theta - size * step) > value(theta) and size > 1e-8:
            size /= 2
        theta = theta - size * step
    return moved(problem, theta)


def moved(problem, theta):
    """The objective at other parameters."""
    module = Network(problem.network.module).module
    with torch.no_grad():
        for name, value in problem.network.params(theta).items():
            module.get_parameter(name).copy_(value)
    return dataclasses.replace(problem, network=Network(module))


def minimum(module, X, y, *, loss="cross_entropy", weights=None, decay=0.0, per_weight=True):
    """The module at the minimum of its objective nearest by, or so."""
    problem = objective(
        module, X, y, loss=loss, weights=weights, decay=decay, per_weight=per_weight
    )
    return train(module, problem).network.module.requires_grad_(True)
