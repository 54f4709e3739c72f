"""Curvatures are the sums over rows that they say they are."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import config_context

from tests.conftest import import_optional

torch = import_optional("torch")

from skinfluence.torch.curvature import CURVATURES, GaussNewton, ggn  # noqa: E402
from skinfluence.torch.data import Rows  # noqa: E402
from skinfluence.torch.derivatives import differentiable_twice  # noqa: E402
from skinfluence.torch.losses import make_loss  # noqa: E402
from skinfluence.torch.network import Network  # noqa: E402
from skinfluence.torch.objective import NetworkObjective  # noqa: E402
from tests.test_torch.networks import N_ROWS, NETWORKS  # noqa: E402

nn = torch.nn

# Rows see each other in the first; the second has no second derivative; the third take minutes.
NAMES = sorted(
    set(NETWORKS) - {"embedding_scaled_by_frequency", "embedding_bag", "lstm_deep", "gru_deep"}
)
FEW = ("one_layer", "mlp", "regression", "cnn", "tied_embedding", "own_parameter", "transformer")


def objective_of(name, dtype=torch.float64, order=None, decay=True):
    """An objective with weights that differ from row to row, and a penalty by parameter."""
    module, rows, loss = NETWORKS[name](dtype)
    order = torch.arange(N_ROWS) if order is None else order
    batch = rows.take(order)
    network = Network(module)
    weights = torch.linspace(0.5, 2.0, N_ROWS, dtype=torch.float64)
    c = torch.linspace(0.1, 0.3, network.n_params, dtype=dtype) if decay else None
    X = batch.kwargs or batch.args
    return NetworkObjective(network, make_loss(loss), Rows(X, batch.y), weights[order], c)


def functions_of_rows(objective):
    """Weight, row, outputs and value of each row, as functions of the parameters, in float64."""
    network, loss = objective.network, objective.loss
    module = network.module.double()
    for i, w in enumerate(objective.weights):
        row = objective.rows.take(slice(i, i + 1)).map(
            lambda t: t.double() if t.is_floating_point() else t
        )

        def outputs(theta, row=row):
            split = {n: theta[s].view(network.shapes[n]) for n, s in network.spans.items()}
            return torch.func.functional_call(module, split, row.args)

        def value(theta, row=row, outputs=outputs):
            return loss(outputs(theta), row.y).sum()

        yield w, row, outputs, value


@differentiable_twice()
def brute_force(kind, objective):
    """The matrix by autograd's own Hessian and Jacobian, a row at a time."""
    network, loss = objective.network, objective.loss
    total = torch.zeros(network.n_params, network.n_params, dtype=torch.float64)
    theta = network.theta.double()
    for w, row, outputs, value in functions_of_rows(objective):
        if kind == "hessian":
            found = torch.autograd.functional.hessian(value, theta)
        elif kind == "fisher":
            g = torch.autograd.functional.jacobian(value, theta)
            found = torch.outer(g, g)
        else:
            J = torch.autograd.functional.jacobian(outputs, theta).reshape(-1, len(theta))
            C = torch.autograd.functional.hessian(
                lambda f, row=row: loss(f, row.y).sum(), outputs(theta)
            ).reshape(len(J), len(J))
            found = J.T @ C @ J
        total += w * found
    penalty = objective.penalty_curvature()
    return total if penalty is None else total + torch.diag(penalty.double())


@differentiable_twice()
def brute_force_products(kind, objective, V):
    """Vectors times that matrix; the Hessian, the slowest, is not formed for two of them."""
    V = V.double()
    if kind != "hessian":
        return V @ brute_force(kind, objective)
    theta, penalty = objective.network.theta.double(), objective.penalty_curvature()
    total = V * (0.0 if penalty is None else penalty.double())
    for w, _, _, value in functions_of_rows(objective):
        total += w * torch.stack([torch.autograd.functional.vhp(value, theta, v)[1] for v in V])
    return total


every_kind = pytest.mark.parametrize("kind", ["hessian", "ggn", "fisher"])
few_cases = pytest.mark.parametrize("name", FEW)


def vectors(p, n=4, dtype=torch.float64):
    return torch.as_tensor(np.random.default_rng(0).normal(size=(n, p)), dtype=dtype)


def close(found, expected, tol):
    scale = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0.0, atol=tol * scale, check_dtype=False)


# The few have the same test below, with the matrix.
@pytest.mark.parametrize("name", [name for name in NAMES if name not in FEW])
@every_kind
def test_every_layer(kind, name):
    objective = objective_of(name)
    V = vectors(objective.network.n_params, n=2)
    truth = brute_force_products(kind, objective_of(name), V)
    close(CURVATURES[kind](objective)(V), truth, 1e-12)


@few_cases
@every_kind
def test_products_and_matrix_equal_brute_force(kind, name):
    objective = objective_of(name)
    truth = brute_force(kind, objective_of(name))
    curvature = CURVATURES[kind](objective)
    V = vectors(len(truth))
    close(curvature(V), V @ truth, 1e-12)
    close(curvature(V[:1]), V[:1] @ truth, 1e-12)
    matrix = curvature.matrix(size=3)
    close(matrix, truth, 1e-12)
    torch.testing.assert_close(matrix, matrix.T, rtol=0.0, atol=0.0)
    if curvature.psd:
        assert float(torch.linalg.eigvalsh(matrix).min()) > 0.0


@pytest.mark.parametrize("name", NAMES)
def test_both_routes_of_gauss_newton(name, monkeypatch):
    curvature = GaussNewton(objective_of(name))
    V = vectors(curvature.n_params, n=3)
    found = []
    for through_outputs in (True, False):
        monkeypatch.setattr(
            curvature, "_through_outputs", lambda n, chosen=through_outputs: chosen
        )
        found.append(curvature(V))
    close(found[0], found[1], 1e-12)
    matrix = curvature.matrix(size=4)
    close(V @ matrix, found[0], 1e-12)
    close(curvature.diagonal(), matrix.diagonal(), 1e-12)


def test_gauss_newton_takes_the_cheaper_route():
    wide = nn.Sequential(nn.Linear(30, 20), nn.Tanh(), nn.Linear(20, 3))
    rows = Rows(torch.randn(5, 30), torch.arange(5) % 3)
    objective = NetworkObjective(
        Network(wide), make_loss("cross_entropy"), rows, torch.ones(5, dtype=torch.float64)
    )
    curvature = GaussNewton(objective)
    assert not curvature._through_outputs(1)
    assert curvature._through_outputs(32)


def test_large_jacobians_are_not_formed(monkeypatch):
    objective = objective_of("cnn")
    monkeypatch.setattr(ggn, "MANY_FORMED", 10)
    curvature = GaussNewton(objective)
    assert not curvature._through_outputs(10**6)
    assert curvature.diagonal() is None
    truth = brute_force("ggn", objective)
    close(curvature.matrix(), truth, 1e-12)
    slack = 4 * 0.18 * float((truth - torch.diag(truth.diagonal())).norm())
    assert curvature.trace() == pytest.approx(float(truth.trace()), abs=slack)


def test_layers_without_second_derivatives():
    objective = objective_of("embedding_bag")
    curvature = GaussNewton(objective)
    V = vectors(curvature.n_params)
    J, C = (f(objective.rows.everything) for f in (curvature.row_jacobian, curvature.row_bends))
    truth = torch.einsum("b,bkp,bkl,blq->pq", objective.weights, J, C, J)
    close(curvature(V), V @ (truth + torch.diag(objective.penalty_curvature())), 1e-12)
    with pytest.raises(ValueError, match=r"cannot be differentiated twice.*curvature='fisher'"):
        CURVATURES["hessian"](objective)


@few_cases
def test_rows_of_the_jacobian(name):
    """What a newton step takes: G without a row is G - w J'CJ."""
    objective = objective_of(name, decay=False)
    curvature = GaussNewton(objective)
    J, C = (f(objective.rows.everything) for f in (curvature.row_jacobian, curvature.row_bends))
    terms = J.mT @ C @ J
    objective.weights[2] = 0.0
    w = torch.linspace(0.5, 2.0, N_ROWS, dtype=torch.float64)
    without = torch.tensordot(w, terms, 1) - w[2] * terms[2]
    close(curvature.matrix(), without, 1e-12)


@few_cases
@every_kind
def test_single_precision(kind, name):
    curvature = CURVATURES[kind](objective_of(name, torch.float32))
    V = vectors(curvature.n_params, n=2, dtype=torch.float32)
    truth = brute_force_products(kind, objective_of(name, torch.float32), V)
    assert curvature(V).dtype is torch.float32
    close(curvature(V), truth, 1e-5)


@few_cases
@every_kind
def test_blocks_and_order_do_not_matter(kind, name, monkeypatch):
    curvature = CURVATURES[kind](objective_of(name))
    V = vectors(curvature.n_params)
    whole = curvature(V)
    for size in (1, 2, 3):  # the last block is shorter for 2 and 3
        monkeypatch.setattr(curvature, "block_size", lambda n_vectors, size=size: size)
        close(curvature(V), whole, 1e-13)
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    close(CURVATURES[kind](objective_of(name, order=order))(V), whole, 1e-13)


@every_kind
def test_blocks_fit_the_working_memory(kind):
    curvature = CURVATURES[kind](objective_of("mlp"))
    assert curvature.block_size(10**6) < curvature.block_size(1)
    with config_context(working_memory=1e-9):
        assert curvature.block_size(1) == 1


@every_kind
def test_integer_weights_are_repeated_rows(kind):
    objective = objective_of("mlp", decay=False)
    counts = torch.arange(N_ROWS) % 3
    objective.weights = counts.double()
    repeated = objective_of(
        "mlp", order=torch.arange(N_ROWS).repeat_interleave(counts), decay=False
    )
    repeated.weights = torch.ones(len(repeated.weights), dtype=torch.float64)
    V = vectors(objective.network.n_params)
    close(CURVATURES[kind](objective)(V), CURVATURES[kind](repeated)(V), 1e-13)


@every_kind
def test_trace_and_diagonal(kind):
    for name in ("one_layer", "mlp"):
        objective = objective_of(name)
        curvature = CURVATURES[kind](objective)
        truth = curvature.matrix()
        diagonal = curvature.diagonal()
        if diagonal is not None:
            close(diagonal, truth.diagonal(), 1e-12)
        slack = 4 * 0.18 * float((truth - torch.diag(truth.diagonal())).norm())
        exact = diagonal is not None or curvature.n_params <= 64
        expected = pytest.approx(float(truth.trace()), rel=1e-10, abs=0.0 if exact else slack)
        assert curvature.trace() == expected


@every_kind
def test_a_row_that_is_not_finite_is_named(kind):
    objective = objective_of("mlp")
    objective.rows.everything.args[0][4, 0] = float("nan")
    curvature = CURVATURES[kind](objective)
    with pytest.raises(ValueError, match=r"training row 4 is NaN or infinite"):
        curvature(vectors(curvature.n_params))


@every_kind
def test_vectors_that_are_not_finite(kind):
    curvature = CURVATURES[kind](objective_of("mlp"))
    with pytest.raises(ValueError, match="vectors that hold NaN"):
        curvature(vectors(curvature.n_params).fill_(float("nan")))


def test_one_linear_layer_has_its_gauss_newton_matrix_as_hessian():
    """And it is ``sum_i a_i a_i' (x) C_i``, which is no product of two sums."""
    objective = objective_of("one_layer", decay=False)
    hessian = CURVATURES["hessian"](objective).matrix()
    close(CURVATURES["ggn"](objective).matrix(), hessian, 1e-13)
    X, w = objective.rows.everything.args[0], objective.weights
    a = torch.cat([X, X.new_ones(N_ROWS, 1)], 1)  # the bias is the weight of a constant input
    C = objective.loss.hessian(objective.network.outputs(objective.rows.take(slice(N_ROWS))), None)
    weight_first = torch.einsum("n,nkl,ni,nj->kilj", w, C, a, a)
    p = torch.arange(15).reshape(3, 5)
    order = torch.cat([p[:, :4].flatten(), p[:, 4]])
    close(hessian, weight_first.reshape(15, 15)[order][:, order], 1e-13)
    product = torch.einsum("nkl,n,ij->kilj", C, w, (a.T * w) @ a / w.sum())
    gap = (product - weight_first).norm() / weight_first.norm()
    assert float(gap) > 0.05
