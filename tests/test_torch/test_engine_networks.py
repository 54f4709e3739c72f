"""Every question asked of every kind of network."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skinfluence import InfluenceExplainer
from skinfluence.exceptions import NotStationaryWarning
from tests.conftest import import_optional

torch = import_optional("torch")

from tests.test_torch.networks import NETWORKS  # noqa: E402

DECAY = 0.5


def explain(name, **options):
    """An explainer of an untrained network with the targets' own parameters as its minimum."""
    module, rows, loss = NETWORKS[name](dtype=torch.float64)
    everything = rows.everything
    X = everything.kwargs or everything.args
    X = X[0] if isinstance(X, tuple) and len(X) == 1 else X
    given = {"loss": loss, "weight_decay": DECAY, **options}
    with warnings.catch_warnings():
        # Nobody trained it, and some have parameters that nothing depends on.
        warnings.simplefilter("ignore", NotStationaryWarning)
        warnings.simplefilter("ignore", UserWarning)
        return InfluenceExplainer(module, **given).fit(X, everything.y), X, everything.y


def first(X, k):
    if isinstance(X, dict):
        return {name: part[:k] for name, part in X.items()}
    return tuple(part[:k] for part in X) if isinstance(X, tuple) else X[:k]


@pytest.mark.parametrize("method", ["first_order", "newton"])
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_question(name, method):
    explainer, X, y = explain(name, method=method)
    scores = explainer.score_influence(X, y)
    assert_allclose(explainer.self_influence(), np.diag(scores), rtol=1e-7, atol=1e-11)
    some = explainer.score_influence(first(X, 2), y[:2])
    assert_allclose(some, scores[:2], rtol=1e-7, atol=1e-11)
    mean = explainer.score_influence(X, y, reduce="mean")
    assert_allclose(mean, scores.mean(axis=0), rtol=1e-7, atol=1e-11)
    groups = explainer.score_groups(X, y, groups=[[1], [2]])
    assert_allclose(groups, scores[:, 1:3], rtol=1e-6, atol=1e-10)
    assert explainer.d_params().shape == (len(y), len(explainer.param_names_))


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_perturbation_is_the_derivative_of_a_replacement(name):
    explainer, X, y = explain(name)
    if isinstance(X, dict | tuple) or not X.is_floating_point():
        with pytest.raises(ValueError, match=r"inputs, and the|which have no derivative"):
            explainer.perturbation(first(X, 2), y[:2])
        return
    slopes = explainer.perturbation(X[:2], y[:2], rows=[3])
    direction = torch.randn(
        X[3:4].shape, dtype=X.dtype, generator=torch.Generator().manual_seed(0)
    )
    step = 1e-5
    moved = torch.cat([X[3:4] + step * direction, X[3:4] - step * direction])
    both = explainer.score_replacement(moved, y[[3, 3]], rows=[3, 3], queries=(X[:2], y[:2]))
    along = (slopes[:, 0] * direction[0].numpy()).reshape(2, -1).sum(axis=1)
    assert_allclose(along, (both[:, 0] - both[:, 1]) / (2 * step), rtol=1e-4, atol=1e-8)
