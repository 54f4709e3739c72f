"""Squared lengths of gradients: exact, or unbiased with their standard errors."""

from __future__ import annotations

import pytest

from tests.conftest import import_optional

torch = import_optional("torch")

from skinfluence.torch.gradients import RowGradients  # noqa: E402
from skinfluence.torch.losses import make_loss  # noqa: E402
from skinfluence.torch.models.elbo import read_elbo  # noqa: E402
from skinfluence.torch.network import Network  # noqa: E402
from skinfluence.torch.tracing.draws import TRAINING, DrawnRows  # noqa: E402
from skinfluence.torch.tracing.own import own_squares, unbiased_squares  # noqa: E402
from tests.test_torch.networks import NETWORKS  # noqa: E402
from tests.test_torch.test_models_elbo import of_each_draw, quadrature, ready  # noqa: E402
from tests.test_torch.vae_cases import CASES, N_ROWS, vae_case  # noqa: E402

SEEDS = 400


def metrics(network):
    """None, numbers by name and numbers by entry, each with its diagonal (p,)."""
    source = torch.Generator().manual_seed(0)
    by_entry = torch.rand(network.n_params, dtype=torch.float64, generator=source)
    by_name = {name: float(k % 3) for k, name in enumerate(network.names)}
    diagonal = torch.cat(
        [torch.full((shape.numel(),), by_name[name]) for name, shape in network.shapes.items()]
    )
    ones = torch.ones(network.n_params, dtype=torch.float64)
    return {"none": (None, ones), "name": (by_name, diagonal.double()), "entry": (by_entry,) * 2}


METRICS = pytest.mark.parametrize("metric", ["none", "name", "entry"])


@METRICS
@pytest.mark.parametrize("name", ["mlp", "cnn", "lstm_time_first", "unused"])
def test_deterministic_losses(name, metric):
    module, rows, loss = NETWORKS[name]()
    gradients = RowGradients(Network(module), make_loss(loss), rows.take(slice(None)))
    given, D = metrics(gradients.network)[metric]
    G = gradients.block(rows.take(slice(None))).dense()
    values, variances = own_squares(gradients, rows, given)
    torch.testing.assert_close(values, G.square() @ D, rtol=1e-11, atol=1e-14)
    assert not variances.any()


@METRICS
@pytest.mark.parametrize("m", [2, 3, 5])
@pytest.mark.parametrize("name", CASES)
def test_products_of_different_draws(name, m, metric):
    objective, gradients, rows, _ = ready(name, m)
    given, D = metrics(objective.network)[metric]
    G = gradients.block(rows.apart(slice(None))).dense().view(N_ROWS, m, -1)
    K = (G * D) @ G.transpose(1, 2)
    pairs = [(i, j) for i in range(m) for j in range(m) if i != j]
    truth = sum(K[:, i, j] for i, j in pairs) / len(pairs)
    values, variances = own_squares(gradients, rows, given)
    scale = float(K.abs().max())
    torch.testing.assert_close(values, truth, rtol=0, atol=1e-11 * scale)
    if m == 2:
        assert variances.isnan().all()
    else:
        assert (variances > 0).all()


def test_blocks_do_not_matter(monkeypatch):
    _, gradients, rows, _ = ready("shared", 4)
    whole = own_squares(gradients, rows)
    monkeypatch.setattr(type(gradients), "block_size", lambda self, like=None: 9)
    for found, truth in zip(own_squares(gradients, rows), whole, strict=True):
        torch.testing.assert_close(found, truth, rtol=1e-12, atol=0)
    parts = [own_squares(gradients, rows[part])[0] for part in (slice(0, 2), slice(2, 6))]
    torch.testing.assert_close(torch.cat(parts), whole[0], rtol=1e-12, atol=0)


@METRICS
def test_many_draws_are_multiplied_in_groups(metric):
    objective, gradients, rows, _ = ready("shared", 150)
    given, D = metrics(objective.network)[metric]
    G = gradients.block(rows.apart(slice(None))).dense().view(N_ROWS, 150, -1)
    parts = G.split(50, 1)
    own = [(g.sum(1).square() - g.square().sum(1)) @ D / (50 * 49) for g in parts]
    values, variances = own_squares(gradients, rows, given)
    torch.testing.assert_close(values, sum(own) / 3, rtol=1e-9, atol=1e-12)
    fewer = own_squares(gradients, ready("shared", 50)[2], given)[1]
    assert 0.15 < float((variances / fewer).mean()) < 0.7  # about a third


def test_little_memory(monkeypatch):
    """Not even the draws of one row fit a block."""
    _, gradients, rows, _ = ready("mlp", 40)
    whole = own_squares(gradients, rows)[0]
    sizes, block = [], type(gradients).block
    monkeypatch.setattr(type(gradients), "block_size", lambda self, like=None: 3)
    monkeypatch.setattr(
        type(gradients), "block", lambda self, b: (sizes.append(b.size), block(self, b))[1]
    )
    found, variances = own_squares(gradients, rows)
    assert max(sizes) <= 16
    assert bool(((found - whole).abs() < 4 * variances.sqrt()).all())


def test_float32_is_as_good():
    single, double = (ready("shared", 16, dtype) for dtype in (torch.float32, torch.float64))
    found, truth = (own_squares(gradients, rows) for _, gradients, rows, _ in (single, double))
    assert found[0].dtype == found[1].dtype == torch.float64
    for a, b in zip(found, truth, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * float(b.max()))


def test_one_draw_is_refused():
    _, gradients, rows, _ = ready("mlp", 1)
    with pytest.raises(ValueError, match="n_draws=1 leaves nothing to correct it with"):
        own_squares(gradients, rows)


# -- bias and standard error ----------------------------------------------------------------------


def repeated(m, gradient="reparameterized"):
    """Estimates from many draws of the same rows, (SEEDS, n) each, and the exact values."""
    module, X = vae_case("mlp", latent_dim=1)
    exact, weights = quadrature()
    each = of_each_draw(read_elbo(module, X), X, exact)
    truth = torch.einsum("nkp,k->np", each, weights).square().sum(1)
    # Noise goes by position: copies of a row are what other seeds would give.
    objective = read_elbo(module, X.repeat(SEEDS, 1), gradient=gradient)
    rows = DrawnRows(objective.rows, objective.stochastic, m, seed=3, stream=TRAINING)
    gradients = RowGradients(objective.network, objective.loss, rows.take(slice(0, 4)))
    return truth, objective, gradients, rows


@pytest.mark.parametrize("gradient", ["reparameterized", "score"])
@pytest.mark.parametrize("m", [2, 4, 16])
def test_self_influence_is_unbiased(m, gradient):
    truth, _, gradients, rows = repeated(m, gradient)
    values = own_squares(gradients, rows)[0].view(SEEDS, N_ROWS)
    error = values.std(0) / SEEDS**0.5
    z = (values.mean(0) - truth) / error
    assert float(z.abs().max()) < 3.0
    # The squared length of the mean gradient is not, by many standard errors.
    squares = torch.cat([block.squares() for _, block in gradients.blocks(rows, 500)])
    squares = squares.view(SEEDS, N_ROWS)
    naive = (squares.mean(0) - truth) / (squares.std(0) / SEEDS**0.5)
    assert float(naive.min()) > 5.0


@pytest.mark.parametrize(
    ("m", "gradient", "allowed"),
    [(16, "reparameterized", 0.15), (32, "score", 0.15), (16, "score", 0.25)],
)
def test_standard_errors_are_right(m, gradient, allowed):
    _, _, gradients, rows = repeated(m, gradient)
    values, variances = (found.view(SEEDS, N_ROWS) for found in own_squares(gradients, rows))
    assert (variances > 0).all()
    # Kept positive, they are a little too large where the noise has heavy tails.
    ratio = (variances.mean(0) / values.var(0)).sqrt()
    assert abs(float(ratio.mean()) - 1) < allowed


@pytest.mark.parametrize("m", [4, 8])
def test_standard_errors_of_few_draws(m):
    """Variances come out a third too large or less; their roots, which users see, as they are."""
    _, _, gradients, rows = repeated(m)
    values, variances = (found.view(SEEDS, N_ROWS) for found in own_squares(gradients, rows))
    ratio = variances.sqrt().mean(0) / values.std(0)
    assert abs(float(ratio.mean()) - 1) < 0.15


def test_standard_errors_of_a_metric_by_entry_are_on_the_safe_side():
    _, objective, gradients, rows = repeated(16)
    D = torch.ones(objective.network.n_params, dtype=torch.float64)
    values, variances = own_squares(gradients, rows, D)
    plain, exact = own_squares(gradients, rows)
    torch.testing.assert_close(values, plain, rtol=1e-9, atol=1e-12)
    ratio = (variances.view(SEEDS, -1).mean(0) / exact.view(SEEDS, -1).mean(0)).sqrt()
    assert float(ratio.min()) > 0.95
    assert float(ratio.max()) < 1.5


def test_variance_of_known_products():
    """Noise of known spread around a known vector: Hoeffding's variance, exactly."""
    m, p, n = 6, 4, 40_000
    source = torch.Generator().manual_seed(0)
    g = torch.tensor([1.0, -0.5, 0.0, 0.3], dtype=torch.float64)
    draws = g + torch.randn(n, m, p, dtype=torch.float64, generator=source)
    values, variances = unbiased_squares(draws @ draws.transpose(1, 2))
    truth = 4 * float(g @ g) / m + 2 * p / (m * (m - 1))
    torch.testing.assert_close(float(values.mean()), float(g @ g), rtol=0, atol=0.02)
    torch.testing.assert_close(float(values.var()), truth, rtol=0.03, atol=0)
    # Kept positive, they are a little too large.
    assert 0.98 < float(variances.mean()) / truth < 1.12
