"""The number of draws that a wanted error takes."""

from __future__ import annotations

import pytest

from tests.conftest import import_optional

torch = import_optional("torch")

from skinfluence.torch.gradients import RowGradients  # noqa: E402
from skinfluence.torch.models.elbo import read_elbo  # noqa: E402
from skinfluence.torch.tracing.draws import QUERIES, TRAINING, DrawnRows  # noqa: E402
from skinfluence.torch.tracing.own import own_squares  # noqa: E402
from skinfluence.torch.tracing.pilot import MOST, Pilot, pilot  # noqa: E402
from tests.test_torch.test_tracing_own import METRICS, metrics, repeated  # noqa: E402
from tests.test_torch.vae_cases import MLPVAE, vae_case  # noqa: E402


@pytest.fixture(scope="module")
def trained():
    """A module with more rows than a pilot looks at, and its row gradients."""
    module = vae_case("shared")[0]
    X = torch.rand(200, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    objective = read_elbo(module, 3 * X)
    rows = DrawnRows(objective.rows, objective.stochastic, 2, seed=1, stream=TRAINING)
    return RowGradients(objective.network, objective.loss, rows.take(slice(0, 8))), rows


def with_draws(rows, m, seed=1, stream=TRAINING):
    return DrawnRows(rows.rows, rows.draws, m, seed=seed, stream=stream)


def rms(values):
    return float(values.square().mean().sqrt())


def test_the_error_asked_for_is_reached(trained):
    gradients, rows = trained
    found = pilot(gradients, rows, 0.1)
    assert found.reached
    assert max(found.own_error, found.score_error) <= 0.1
    # Products of two independent means of many draws.
    many = (with_draws(rows, 1000, seed).take(slice(None)) for seed in (8, 9))
    one, other = (gradients.block(batch).dense() for batch in many)
    truth = (one * other).sum(1)
    values = own_squares(gradients, with_draws(rows, found.n_draws))[0]
    error = rms(values - truth) / rms(truth)
    assert 0.4 < error / found.own_error < 2.0  # 16 rows stand for 200


def test_scores_between_rows_too(trained):
    gradients, rows = trained
    found = pilot(gradients, rows, 0.1)
    blocks = {}
    for m, seed in ((found.n_draws, 1), (2000, 9)):
        own = gradients.block(with_draws(rows, m, seed)[0:40].take(slice(None)))
        others = gradients.block(with_draws(rows, m, seed, QUERIES)[40:80].take(slice(None)))
        blocks[seed] = own.pairs(others)
    error = rms(blocks[1] - blocks[9]) / rms(blocks[9])
    assert 0.4 < error / found.score_error < 2.0


@METRICS
def test_fewer_draws_for_a_larger_error(trained, metric):
    gradients, rows = trained
    given = metrics(gradients.network)[metric][0]
    found = [pilot(gradients, rows, tol, given) for tol in (0.3, 0.1, 0.05)]
    assert 4 <= found[0].n_draws < found[1].n_draws < found[2].n_draws
    again = pilot(gradients, with_draws(rows, 7), 0.1, given)
    assert again == found[1]  # rows' own number of draws is not looked at


def test_metrics_agree(trained):
    gradients, rows = trained
    by_name = {name: 2.0 for name in gradients.network.names}
    by_entry = torch.full((gradients.network.n_params,), 2.0, dtype=torch.float64)
    errors = [pilot(gradients, rows, 0.1, metric) for metric in (None, by_name, by_entry)]
    for found in errors[1:]:
        assert found.n_draws == errors[0].n_draws
        torch.testing.assert_close(found.own_error, errors[0].own_error, rtol=1e-9, atol=0)
        torch.testing.assert_close(found.score_error, errors[0].score_error, rtol=1e-9, atol=0)


def test_an_error_out_of_reach_is_said(trained):
    gradients, rows = trained
    found = pilot(gradients, rows, 1e-4)
    assert found.n_draws == MOST
    assert not found.reached
    assert found.own_error > 1e-4


def test_one_row(trained):
    gradients, rows = trained
    found = pilot(gradients, rows[0:1], 0.2)
    assert found.score_error == found.own_error <= 0.2


def test_a_bound_that_ignores_its_noise():
    class Mean(MLPVAE):
        def elbo(self, x, noise):
            mean, log_var = self.encode(x)
            return self.log_likelihood(x, mean) - self.kl(mean, log_var)

    objective = read_elbo(Mean().double(), torch.rand(9, 5))
    rows = DrawnRows(objective.rows, objective.stochastic, 2, seed=1, stream=TRAINING)
    gradients = RowGradients(objective.network, objective.loss, rows.take(slice(0, 8)))
    found = pilot(gradients, rows, 0.05)
    assert found.n_draws == 4
    assert max(found.own_error, found.score_error) < 1e-6


def test_the_spread_is_the_one_seen():
    """Predicted from 16 draws, against the spread over many repetitions of the same rows."""
    truth, _, gradients, rows = repeated(16)
    values = own_squares(gradients, rows)[0].view(-1, len(truth))
    seen = float(values.var(0).mean().sqrt()) / rms(truth)
    found = pilot(gradients, rows, 1.0)
    assert isinstance(found, Pilot)
    at_sixteen = pilot(gradients, rows, seen)
    assert 8 <= at_sixteen.n_draws <= 32
