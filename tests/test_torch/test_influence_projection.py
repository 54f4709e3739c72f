"""Random projections keep dot products on average, and cost no p x k matrix."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skinfluence import InfluenceExplainer
from tests.conftest import import_optional

torch = import_optional("torch")

from skinfluence.torch.influence.projection import SJLT, Gaussian, TwoSided  # noqa: E402
from tests.test_torch.influence_cases import (  # noqa: E402
    classes,
    minimum,
    mlp,
    objective,
    trained,
)

KINDS = [Gaussian, SJLT]


@pytest.mark.parametrize("kind", KINDS)
def test_dot_products_are_unbiased(kind):
    V = torch.randn(2, 9000, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    V[1] += 0.5 * V[0]
    exact = V @ V.T
    found = torch.stack([(P := kind(64, seed=s)(V)) @ P.T for s in range(200)])
    # Dot products vary by about |u| |v| sqrt(2 / k) a draw.
    error = 5 * float(exact.diagonal().max()) * (2 / 64 / 200) ** 0.5
    assert_allclose(found.mean(0), exact, rtol=0, atol=error)
    one = kind(4096)(V)
    assert_allclose(one @ one.T, exact, rtol=0, atol=5 * float(exact.max()) * (2 / 4096) ** 0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_projection_is_one_matrix(kind):
    V = torch.randn(5, 700, dtype=torch.float64)
    P = kind(32, seed=3)
    assert_array_equal(P(V), kind(32, seed=3)(V))
    assert_allclose(torch.cat([P(V[:2]), P(V[2:])]), P(V), rtol=1e-12, atol=1e-12)
    assert_allclose(P(2 * V[:1] - V[1:2]), 2 * P(V[:1]) - P(V[1:2]), rtol=1e-10, atol=1e-12)
    assert not torch.equal(P(V), kind(32, seed=4)(V))
    assert P(V.float()).dtype == torch.float32


def test_sparse_columns_have_length_one():
    columns = SJLT(48, n_nonzero=6)(torch.eye(30, dtype=torch.float64))
    assert_allclose(columns.square().sum(1), 1.0)
    assert_array_equal((columns != 0).sum(1), 6)


def test_two_sides_equal_the_projected_gradient():
    X, y = classes(n=10)
    problem = objective(mlp(hidden=7), X, y)
    own = trained(problem, 0.1)
    block = own.gradients.block(problem.rows.take(slice(0, 10)))
    projection = TwoSided(3, seed=5)
    found = projection.of_block(block)
    each = torch.cat([projection.of_vector(block, g) for g in block.dense()])
    assert_allclose(found, each, rtol=1e-10, atol=1e-12)
    # Wide enough, nothing is lost.
    whole = TwoSided(100).of_block(block)
    assert_allclose(whole @ whole.T, block.pairs(block), rtol=1e-10, atol=1e-12)


def test_scores_in_the_projected_space():
    X, y = classes(n=80)
    module = minimum(mlp(), X, y, decay=0.05)
    options = {"loss": "cross_entropy", "weight_decay": 0.05, "target": "decision_function"}
    fisher = InfluenceExplainer(module, curvature="fisher", output=1, **options).fit(X, y)
    exact = fisher.score_influence(X)
    # With room for everything it is the Fisher matrix itself.
    wide = InfluenceExplainer(module, projection=TwoSided(50), output=1, **options).fit(X, y)
    assert_allclose(wide.transform(X) @ wide.train_embedding().T, exact, rtol=1e-7, atol=1e-10)
    narrow = InfluenceExplainer(module, projection=TwoSided(4), output=1, **options).fit(X, y)
    found = narrow.transform(X) @ narrow.train_embedding().T
    assert narrow.transform(X).shape == (80, 4 * 4 + 4 * 3)
    assert np.corrcoef(found.ravel(), exact.ravel())[0, 1] > 0.7


def test_the_seed_is_the_explainers():
    X, y = classes(n=30)
    module = minimum(mlp(), X, y, decay=0.05)
    options = {"loss": "cross_entropy", "weight_decay": 0.05, "projection": 16}
    same = [
        InfluenceExplainer(module, random_state=s, **options).fit(X, y).transform(X)
        for s in (0, 0, 1)
    ]
    assert same[0].shape == (30, 16)
    assert_array_equal(same[0], same[1])
    assert not np.array_equal(same[0], same[2])
