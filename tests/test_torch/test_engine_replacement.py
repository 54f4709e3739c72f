"""What may be left out of a replacement, and how its queries come."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

from skinfluence import InfluenceExplainer
from tests.conftest import import_optional

torch = import_optional("torch")
nn = torch.nn
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(12, 3)), np.arange(12) % 3
OTHER = (Y[:4] + 1) % 3
ROWS = np.arange(4)

pytestmark = pytest.mark.filterwarnings("ignore::skinfluence.exceptions.NotStationaryWarning")


def fitted(*rows, **options):
    torch.manual_seed(0)
    module = nn.Linear(3, 3).double()
    return InfluenceExplainer(module, loss="cross_entropy", damping=0.3, **options).fit(*rows)


def dataset():
    return TensorDataset(torch.tensor(X), torch.tensor(Y))


def test_other_labels_alone():
    e = fitted(X, Y)
    found = e.score_replacement(y_new=OTHER, rows=ROWS, queries=(X, Y))
    both = e.score_replacement(X[:4], OTHER, rows=ROWS, queries=(X, Y))
    assert_allclose(found, both, rtol=1e-12, atol=1e-14)
    with pytest.raises(ValueError, match="both None, so that nothing is replaced"):
        e.score_replacement(rows=ROWS, queries=(X, Y))


def test_queries_that_hold_their_targets():
    e = fitted(X, Y)
    expected = e.score_replacement(X[:4], OTHER, rows=ROWS, queries=(X, Y))
    for queries in (dataset(), DataLoader(dataset(), batch_size=5), [X, Y]):
        found = e.score_replacement(X[:4], OTHER, rows=ROWS, queries=queries)
        assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_queries_without_targets():
    e = fitted(X, Y, target="decision_function")
    expected = e.score_replacement(X[:4], OTHER, rows=ROWS, queries=(X, None))
    found = e.score_replacement(X[:4], OTHER, rows=ROWS, queries=X)
    assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    with pytest.raises(ValueError, match="which needs its y"):
        fitted(X, Y).score_replacement(X[:4], OTHER, rows=ROWS, queries=X)
    with pytest.raises(ValueError, match=r"queries has 3 entries, and \(X, y\) is needed"):
        e.score_replacement(X[:4], OTHER, rows=ROWS, queries=(X, X, Y))


def test_rows_of_a_dataset_hold_their_targets():
    e = fitted(dataset())
    with pytest.raises(ValueError, match="held in a TensorDataset together with their targets"):
        e.score_replacement(y_new=OTHER, rows=ROWS, queries=(X, Y))


@pytest.mark.parametrize("held", [False, True])
def test_other_inputs_alone(held):
    e = fitted(dataset()) if held else fitted(X, Y)
    found = e.score_replacement(2 * X[3:5], rows=[3, 4], queries=(X, Y))
    both = e.score_replacement(2 * X[3:5], Y[3:5], rows=[3, 4], queries=(X, Y))
    assert_allclose(found, both, rtol=1e-12, atol=1e-14)


def test_inputs_of_a_loss_without_targets():
    torch.manual_seed(0)
    net = nn.Linear(3, 3).double()
    target = torch.tensor(X)

    def loss(outputs, y):
        return outputs.square().sum(1)

    e = InfluenceExplainer(net, loss=loss, damping=0.3).fit(target)
    found = e.score_replacement(X[3:5], rows=[3, 4], queries=X)
    assert_allclose(found, np.zeros((12, 2)), rtol=0, atol=1e-12)


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.Linear(3, 3).double()

    def forward(self, x):
        return self.inner(x)


def test_derivatives_in_an_input_with_a_name():
    e = InfluenceExplainer(Named(), loss="cross_entropy", damping=0.3).fit({"x": X}, Y)
    expected = fitted(X, Y).perturbation(X[:2], Y[:2])
    assert_allclose(e.perturbation({"x": X[:2]}, Y[:2]), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", ["csr", "coo", "csc"])
def test_other_labels_of_sparse_rows(kind):
    found = fitted(sparse.csr_matrix(X).asformat(kind), Y)
    expected = fitted(X, Y).score_replacement(y_new=OTHER, rows=ROWS, queries=(X, Y))
    scores = found.score_replacement(y_new=OTHER, rows=ROWS, queries=(X, Y))
    assert_allclose(scores, expected, rtol=1e-12, atol=1e-14)
