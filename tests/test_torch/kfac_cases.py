"""Brute force that the tests of K-FAC compare with: one derivative at a time."""

from __future__ import annotations

from tests.conftest import import_optional

torch = import_optional("torch")

from skinfluence.torch.data import Rows  # noqa: E402
from skinfluence.torch.losses import make_loss  # noqa: E402
from skinfluence.torch.network import Network  # noqa: E402
from skinfluence.torch.objective import NetworkObjective  # noqa: E402
from tests.test_torch.networks import NETWORKS  # noqa: E402


def objective(module, rows, loss, *, weights=None, decay=None, **options):
    """An objective with weights of its own, (n,)."""
    network = Network(module)
    n = rows.shape[0]
    weights = torch.linspace(0.5, 2.0, n, dtype=torch.float64) if weights is None else weights
    decay = None if decay is None else torch.full_like(network.theta, decay)
    return NetworkObjective(network, make_loss(loss), rows, weights, decay, **options)


def named(name, dtype=None, **options):
    """The objective of a network of the table."""
    dtype = torch.float64 if dtype is None else dtype
    return objective(*NETWORKS[name](dtype=dtype), **options)


def linear(d_in, d_out, loss, *, n=9, bias=True, seed=0, **options):
    """One linear layer."""
    generator = torch.Generator().manual_seed(seed)
    module = torch.nn.Linear(d_in, d_out, bias=bias, dtype=torch.float64)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64))
    X = torch.randn(n, d_in, generator=generator, dtype=torch.float64)
    y = torch.randint(0, d_out, (n,), generator=generator)
    if loss == "squared_error":
        y = torch.randn(n, d_out, generator=generator, dtype=torch.float64)
    return objective(module, Rows(X, y), loss, **options)


def jacobian(objective):
    """Derivatives of the flattened outputs, (n, K, p), and the outputs, (n, ...)."""
    network, batch = objective.network, objective.rows.take(slice(None))
    leaves = {name: p.clone().requires_grad_() for name, p in network.params().items()}
    with torch.enable_grad():
        outputs = network.outputs(batch, leaves)
    flat = outputs.flatten(1)
    rows = [
        torch.autograd.grad(f, list(leaves.values()), retain_graph=True, materialize_grads=True)
        for f in flat.flatten()
    ]
    J = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])
    return J.reshape(*flat.shape, -1), outputs.detach()


def gauss_newton(objective):
    """``sum w J'CJ + diag(c)``, (p, p), and its square roots a row, (n, K, p)."""
    J, outputs = jacobian(objective)
    C = objective.loss.hessian(outputs, objective.rows.take(slice(None)).y)
    values, vectors = torch.linalg.eigh(C)
    roots = (vectors * values.clamp(min=0).sqrt()[:, None]).transpose(1, 2) @ J
    G = torch.einsum("n,nkp,nkq->pq", objective.weights.to(J), roots, roots)
    penalty = objective.penalty_curvature()
    return (G if penalty is None else G + penalty.diag()), roots
