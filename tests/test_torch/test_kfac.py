"""K-FAC and EK-FAC against brute force."""

from __future__ import annotations

import pytest

from tests.conftest import import_optional

torch = import_optional("torch")

from skinfluence.torch.curvature import CURVATURES, Ekfac, Kfac, SumOfRows  # noqa: E402
from skinfluence.torch.curvature.kfac_blocks import KroneckerBlock  # noqa: E402
from skinfluence.torch.curvature.kfac_roots import softmax_roots  # noqa: E402
from skinfluence.torch.solvers import Lissa  # noqa: E402
from tests.test_torch import kfac_cases as cases  # noqa: E402
from tests.test_torch.networks import NETWORKS  # noqa: E402

CLOSE = {"rtol": 1e-10, "atol": 1e-10}
KINDS = pytest.mark.parametrize("kind", [Kfac, Ekfac])


def spans(curvature):
    """Positions of every block's parameters."""
    network = curvature.network
    where = torch.arange(network.n_params)
    return [torch.cat([where[network.spans[n]] for n in b.names]) for b in curvature.layer_blocks]


# -- what they are exactly ------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("bias", [True, False])
def test_one_linear_layer_under_squared_error_is_exact(kind, bias):
    objective = cases.linear(4, 3, "squared_error", bias=bias, decay=0.1)
    G, _ = cases.gauss_newton(objective)
    torch.testing.assert_close(kind(objective).matrix(), G, **CLOSE)


def test_factors_of_a_softmax_layer_are_their_definition():
    objective = cases.linear(4, 3, "cross_entropy")
    batch, w = objective.rows.take(slice(None)), objective.weights
    a = torch.cat([batch.args[0], torch.ones(len(w), 1, dtype=torch.float64)], 1)
    p = objective.network.outputs(batch).softmax(1)
    A = sum(w[i] * torch.outer(a[i], a[i]) for i in range(len(w))) / w.sum()
    B = sum(w[i] * (p[i].diag() - torch.outer(p[i], p[i])) for i in range(len(w)))
    names, p_in = spans(Kfac(objective))[0], 5
    order = torch.cat([torch.arange(12).reshape(3, 4), torch.arange(12, 15)[:, None]], 1)
    found = Kfac(objective).matrix()
    assert len(names) == 3 * p_in
    flat = order.flatten()
    torch.testing.assert_close(found[flat][:, flat], torch.kron(B, A), **CLOSE)


def test_expected_factors_are_not_those_of_one_pass_with_all_classes():
    """One gradient that sums the classes' has cross terms between them in its outer product."""
    objective = cases.linear(4, 3, "cross_entropy")
    truth = cases.gauss_newton(objective)[0].trace()
    torch.testing.assert_close(Ekfac(objective).matrix().trace(), truth, **CLOSE)
    p = objective.network.outputs(objective.rows.take(slice(None))).softmax(1)
    summed = sum(p[:, c].sqrt()[:, None] * (torch.eye(3)[c] - p) for c in range(3))
    a = objective.rows.take(slice(None)).args[0].square().sum(1) + 1.0
    assert abs((objective.weights * a * summed.square().sum(1)).sum() / truth - 1.0) > 0.2


CASES = [(name, "marginal") for name in NETWORKS]
CASES += [(name, "kfac") for name in ("mlp", "over_positions", "layer_used_twice", "conv2d")]


@pytest.mark.parametrize(("name", "basis"), CASES)
def test_eigenvalues_are_the_diagonal_in_the_basis(name, basis):
    """And the blocks of other layers are the Gauss-Newton matrix's own."""
    objective = cases.named(name)
    G, _ = cases.gauss_newton(objective)
    curvature = Ekfac(objective, basis=basis)
    M = curvature.matrix()
    for block, where in zip(curvature.layer_blocks, spans(curvature), strict=True):
        own = G[where][:, where]
        if not isinstance(block, KroneckerBlock):
            torch.testing.assert_close(M[where][:, where], own, **CLOSE)
            continue
        unit = torch.eye(len(where), dtype=torch.float64)
        V = unit.new_zeros(len(where), curvature.n_params)
        V[:, where] = unit
        Q = block.rotate(curvature.network.split(V)).flatten(1)  # rows: Q of each unit vector
        torch.testing.assert_close((Q * (own @ Q)).sum(0), block.values.flatten(), **CLOSE)
    assert sorted(torch.cat(spans(curvature)).tolist()) == list(range(curvature.n_params))


@pytest.mark.parametrize("name", ["mlp", "over_positions", "layer_used_twice"])
def test_ekfac_is_nearer_than_kfac(name):
    objective = cases.named(name)
    assert _error(Ekfac(objective, basis="kfac")) < _error(Kfac(objective))


def test_the_marginal_basis_is_nearer_where_most_rows_fit():
    """Rows without derivatives are no rows of the curvature, but K-FAC's inputs count them."""
    module, rows, loss = NETWORKS["mlp"]()
    X = rows.everything.args[0].clone()
    X[:, 1] = 0.1
    X[:4] = torch.eye(5, dtype=X.dtype)[1] * 8.0
    with torch.no_grad():
        module[4].weight.mul_(30.0)
    objective = cases.objective(module, type(rows)(X, rows.everything.y), loss)
    near, far = (_error(Ekfac(objective, basis=basis)) for basis in ("marginal", "kfac"))
    assert near < 0.9 * far


def _error(curvature):
    """Squared distance to the blocks of the Gauss-Newton matrix."""
    G, _ = cases.gauss_newton(curvature.objective)
    apart = curvature.matrix() - G
    return sum(apart[s][:, s].square().sum() for s in spans(curvature))


@pytest.mark.parametrize("name", ["mlp", "over_positions", "conv2d", "layer_used_twice"])
def test_marginals_are_partial_traces_of_the_block(name):
    objective = cases.named(name)
    G, _ = cases.gauss_newton(objective)
    curvature = Ekfac(objective)
    block, where = curvature.layer_blocks[0], spans(curvature)[0]
    d_out, d_in = block.values.shape
    n_weights = d_out * (d_in - 1)
    order = torch.cat(
        [torch.arange(n_weights).view(d_out, -1), torch.arange(n_weights, len(where))[:, None]], 1
    )
    own = G[where][:, where][order.flatten()][:, order.flatten()]
    own = own.view(d_out, d_in, d_out, d_in)
    for q, marginal in ((block.q_in, "oioj->ij"), (block.q_out, "oipi->op")):
        rotated = q.T @ torch.einsum(marginal, own) @ q
        torch.testing.assert_close(rotated, rotated.diagonal().diag(), **CLOSE)


def test_factors_over_positions_count_each_as_a_row():
    objective = cases.named("over_positions")
    first = Kfac(objective).layer_blocks[0]
    X = objective.rows.take(slice(None)).args[0]
    a, w = torch.cat([X, torch.ones_like(X[..., :1])], 2), objective.weights
    A = torch.einsum("n,nti,ntj->ij", w, a, a) / (w.sum() * X.shape[1])
    sizes = first.values.sum(0) / first.values.sum() * A.trace()
    torch.testing.assert_close(first.q_in @ (sizes[:, None] * first.q_in.T), A, **CLOSE)
    trace = sum(torch.einsum("n,nko->", w, d) for d in _squared_outputs(objective))
    assert float(first.values.sum() / A.trace()) == pytest.approx(float(trace), rel=1e-10)


def _squared_outputs(objective):
    """Squared derivatives of the roots in the first layer's output, a position at a time."""
    network, batch = objective.network, objective.rows.take(slice(None))
    hidden = network.module[0](batch.args[0]).requires_grad_()
    with torch.enable_grad():
        outputs = network.module[1:](hidden)
    for root in softmax_roots(outputs.detach()):
        yield torch.autograd.grad(outputs, hidden, root, retain_graph=True)[0].square()


# -- the law of an inverse ------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize(
    "name", ["mlp", "over_positions", "one_weight_two_layers", "bilinear", "conv2d"]
)
def test_inverse_is_that_of_the_matrix(kind, name):
    objective = cases.named(name, decay=0.01)
    curvature = kind(objective)
    damping = 0.3
    M = curvature.matrix()
    M.diagonal().add_(objective.total_weight * damping)
    inverse = curvature.inverse(damping)
    U, V = torch.randn(2, 4, curvature.n_params, dtype=torch.float64)
    truth = torch.linalg.solve(M, V.T).T
    torch.testing.assert_close(inverse(V), truth, **CLOSE)
    torch.testing.assert_close(inverse.half(U) @ inverse.half(V).T, U @ truth.T, **CLOSE)
    block = curvature.gradients.block(objective.rows.take(slice(None)))
    G = block.dense()
    squares = (G * torch.linalg.solve(M, G.T).T).sum(1)
    torch.testing.assert_close(inverse.quadratic(block), squares, **CLOSE)
    torch.testing.assert_close(inverse.of_gradients(block), torch.linalg.solve(M, G.T).T, **CLOSE)


@KINDS
def test_diagonal_and_trace(kind):
    curvature = kind(cases.named("over_positions", decay=0.1))
    M = curvature.matrix()
    torch.testing.assert_close(curvature.diagonal(), M.diagonal(), **CLOSE)
    assert curvature.trace() == pytest.approx(float(M.trace()), rel=1e-12)


def test_without_damping_directions_that_no_row_bends_are_left_out():
    objective = cases.linear(4, 3, "cross_entropy")
    inverse = Kfac(objective).inverse(0.0)
    truth = torch.linalg.pinv(Kfac(objective).matrix(), hermitian=True, rtol=1e-10)
    V = torch.randn(2, 15, dtype=torch.float64)
    torch.testing.assert_close(inverse(V), V @ truth, rtol=1e-8, atol=1e-8)
    # Softmax does not feel what all classes share.
    assert inverse.report()["layers"]["weight, bias"]["n_left_out"] == 5


def test_report_names_layers():
    objective = cases.named("mlp", decay=0.1)
    report = Ekfac(objective).inverse(0.2).report()
    assert report["damping"] == 0.2
    first = report["layers"]["0.weight, 0.bias"]
    assert first["kind"] == "kronecker"
    assert first["n_params"] == 36
    assert first["penalty"] == "exact"
    low, high = first["eigenvalues"]
    assert 0.1 * objective.total_weight <= low < high


def test_penalty_that_spares_the_bias_keeps_its_diagonal_in_the_basis():
    objective = cases.named("mlp")
    bare = Ekfac(objective).matrix()
    decay = torch.full_like(objective.network.theta, 0.3)
    for name, span in objective.network.spans.items():
        if name.endswith("bias"):
            decay[span] = 0.0
    objective.decay = decay
    curvature = Ekfac(objective)
    added = curvature.matrix() - bare
    assert curvature.inverse(0.1).report()["layers"]["0.weight, 0.bias"]["penalty"] == "mean"
    torch.testing.assert_close(added.trace(), objective.total_weight * decay.sum(), **CLOSE)


# -- what they must not depend on -----------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("name", ["mlp", "over_positions"])
@pytest.mark.parametrize("fisher", ["expected", "empirical"])
def test_blocks_of_rows_do_not_matter(kind, name, fisher, monkeypatch):
    objective = cases.named(name)
    whole = kind(objective, fisher=fisher).matrix()
    monkeypatch.setattr("skinfluence.torch.curvature.kfac_fit.BLOCK", 3)
    torch.testing.assert_close(
        kind(objective, fisher=fisher).matrix(), whole, rtol=1e-12, atol=1e-12
    )


@KINDS
def test_order_and_repetition_of_rows(kind):
    module, rows, loss = NETWORKS["mlp"]()
    everything = rows.everything
    counts = torch.tensor([1, 2, 1, 3, 1, 0, 2])
    weighted = kind(cases.objective(module, rows, loss, weights=counts.double())).matrix()
    positions = torch.repeat_interleave(torch.arange(7), counts).flip(0)
    repeated = type(rows)(everything.args[0][positions], everything.y[positions])
    ones = torch.ones(len(positions), dtype=torch.float64)
    found = kind(cases.objective(module, repeated, loss, weights=ones)).matrix()
    torch.testing.assert_close(found, weighted, rtol=1e-11, atol=1e-12)


@KINDS
def test_float32_is_near(kind):
    exact = kind(cases.named("mlp", decay=0.1)).inverse(0.1)
    near = kind(cases.named("mlp", torch.float32, decay=0.1)).inverse(0.1)
    V = torch.randn(3, exact.network.n_params, dtype=torch.float64)
    assert near(V.float()).dtype == torch.float32
    torch.testing.assert_close(near(V.float()).double(), exact(V), rtol=1e-3, atol=1e-4)


# -- options and faults ---------------------------------------------------------------------------


def test_empirical_factors_are_those_of_the_rows_own_gradients():
    objective = cases.named("mlp")
    curvature = Ekfac(objective, fisher="empirical")
    G = curvature.gradients.block(objective.rows.take(slice(None))).dense()
    truth = (objective.weights * G.square().sum(1)).sum()
    assert curvature.trace() == pytest.approx(float(truth), rel=1e-12)


def test_a_loss_that_is_not_convex_is_refused():
    objective = cases.linear(4, 3, "squared_error")
    objective.loss = cases.make_loss(lambda f, y: -f.square().sum(1))
    with pytest.raises(ValueError, match="curves downwards"):
        Kfac(objective)


def test_a_loss_with_coupled_outputs():
    """Square roots of Hessians that are neither diagonal nor softmax's."""
    objective = cases.linear(4, 3, "squared_error")
    objective.loss = cases.make_loss(lambda f, y: (f - y).logsumexp(1) + f[:, 0].square())
    G, _ = cases.gauss_newton(objective)
    assert Ekfac(objective).trace() == pytest.approx(float(G.trace()), rel=1e-10)


def test_unknown_fisher_is_refused():
    with pytest.raises(ValueError, match="'expected', 'empirical'"):
        Kfac(cases.linear(4, 3, "cross_entropy"), fisher="sampled")


def test_rows_that_are_not_finite_are_named_by_layer():
    objective = cases.linear(4, 3, "cross_entropy")
    objective.rows.everything.args[0][5] = torch.nan
    with pytest.raises(ValueError, match="'weight' are not finite"):
        Kfac(objective)


def test_no_share_of_a_row():
    curvature = Kfac(cases.linear(4, 3, "cross_entropy"))
    assert not isinstance(curvature, SumOfRows)
    with pytest.raises(ValueError, match=r"Kfac is made of means.*batch_size asks for the share"):
        Lissa(batch_size=2).invert(curvature, 0.1)


def test_unknown_basis_is_refused():
    with pytest.raises(ValueError, match="'marginal', 'kfac'"):
        Ekfac(cases.linear(4, 3, "cross_entropy"), basis="eigen")


def test_names():
    assert CURVATURES["kfac"] is Kfac
    assert CURVATURES["ekfac"] is Ekfac
