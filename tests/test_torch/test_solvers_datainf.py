"""DataInf is what its paper says, from any blocks of rows."""

from __future__ import annotations

import re
import warnings

import pytest
from sklearn.exceptions import ConvergenceWarning

from tests.conftest import import_optional

torch = import_optional("torch")

from skinfluence.torch.curvature import GaussNewton  # noqa: E402
from skinfluence.torch.data import Rows  # noqa: E402
from skinfluence.torch.gradients import RowGradients  # noqa: E402
from skinfluence.torch.losses import CrossEntropy  # noqa: E402
from skinfluence.torch.network import Network  # noqa: E402
from skinfluence.torch.objective import NetworkObjective  # noqa: E402
from skinfluence.torch.solvers import DataInf  # noqa: E402
from tests.test_torch import solver_cases as cases  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def problem(*, decay=None, dtype=torch.float64):
    """A small network, its curvature and all rows' gradients."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
    network = Network(module.to(dtype))
    X = cases.normal(23, 4).to(dtype)
    y = X[:, :3].argmax(1)
    weights = torch.linspace(0.5, 2.0, 23, dtype=torch.float64)
    decay = None if decay is None else torch.full_like(network.theta, decay)
    objective = NetworkObjective(network, CrossEntropy(), Rows(X, y), weights, decay)
    gradients = RowGradients(network, CrossEntropy(), objective.rows.take(slice(0, 4)))
    return GaussNewton(objective), gradients.block(objective.rows.take(slice(0, 23))).dense()


def by_definition(curvature, G, V, damping, ratio):
    """The mean of explicit inverses, layer by layer."""
    objective, out = curvature.objective, torch.zeros_like(V)
    share = objective.weights / objective.total_weight
    for layer in (slice(0, 25), slice(25, 43)):
        g = G[:, layer].double()
        held = 0.0 if objective.decay is None else float(objective.decay[layer].mean())
        x = damping + held + ratio * float((share[:, None] * g.square()).sum()) / g.shape[1]
        eye = torch.eye(g.shape[1], dtype=torch.float64)
        mean = sum(
            w * torch.linalg.inv(torch.outer(row, row) + x * eye)
            for w, row in zip(share, g, strict=True)
        )
        out[:, layer] = V[:, layer] @ mean / objective.total_weight
    return out


@pytest.mark.parametrize("decay", [None, 0.01])
@pytest.mark.parametrize(("damping", "ratio"), [(0.0, 0.1), (0.05, 0.0), (0.05, 0.1)])
def test_it_is_the_mean_of_inverses(damping, ratio, decay):
    curvature, G = problem(decay=decay)
    inverse = DataInf(ratio=ratio).invert(curvature, damping)
    V = cases.normal(6, 43)
    truth = by_definition(curvature, G, V, damping, ratio)
    torch.testing.assert_close(inverse(V), truth, rtol=1e-9, atol=1e-12)
    names = ["0.weight + 0.bias", "2.weight + 2.bias"]
    assert sorted(inverse.report()["layer_damping"]) == names


@pytest.mark.parametrize(("damping", "near"), [(100.0, True), (0.05, False)])
def test_its_residual_is_measured_once(damping, near):
    curvature, _ = problem()
    inverse = DataInf(ratio=0.0).invert(curvature, damping)
    V = cases.normal(10, 43)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        found = inverse(V)
        inverse(V)
    assert len(seen) == (0 if near else 1)
    A = curvature.matrix() + curvature.objective.total_weight * damping * torch.eye(43).double()
    left = (V - found @ A).norm(dim=1) / V.norm(dim=1)
    report = inverse.report()
    assert report["residual"] == pytest.approx(float(left[:8].max()), rel=1e-6)
    assert (report["n_rhs"], report["measured"], report["products"]) == (20, 8, 8)
    if not near:
        assert seen[0].category is ConvergenceWarning
        assert re.search(
            r"of 8 right-hand sides .* residual of 0.1: .*nothing to raise but the damping",
            str(seen[0].message),
        )


def test_float32_and_blocks_of_rows(monkeypatch):
    """A hundredfold of other packages' scores hangs on the size of their batches."""
    curvature, _ = problem(dtype=torch.float32)
    V = cases.normal(6, 43)
    found = {}
    for size in (1, 7, 23):
        monkeypatch.setattr(RowGradients, "block_size", lambda self, size=size: size)
        found[size] = DataInf().invert(curvature, 0.01)(V)
    torch.testing.assert_close(found[1], found[23], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[7], found[23], rtol=1e-5, atol=1e-6)
    exact, G = problem()
    truth = by_definition(exact, G, V, 0.01, 0.1)
    torch.testing.assert_close(found[7], truth, rtol=1e-3, atol=1e-4)


def test_it_needs_a_damping():
    curvature, _ = problem()
    with pytest.raises(ValueError, match=r"0.weight \+ 0.bias has no damping"):
        DataInf(ratio=0.0).invert(curvature, 0.0)
