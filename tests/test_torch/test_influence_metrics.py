"""Networks in the metrics, which train them by a function of the user's."""

from __future__ import annotations

import numpy as np
import pytest

from skinfluence import InfluenceExplainer
from skinfluence.metrics import (
    agreement,
    leave_one_out,
    linear_datamodeling_score,
    relabel_curve,
    removal_curve,
    retrain_on_subsets,
)
from tests.conftest import import_optional

torch = import_optional("torch")

from tests.test_torch.influence_cases import classes, minimum, mlp  # noqa: E402

DECAY = 0.1


@pytest.fixture(scope="module")
def trained():
    X, y = classes(n=60, k=3)
    return X, y, minimum(mlp(hidden=4), X, y, decay=DECAY)


def losses(module, X, y):
    with torch.no_grad():
        outputs = module(torch.as_tensor(X))
        return torch.nn.functional.cross_entropy(
            outputs, torch.as_tensor(y), reduction="none"
        ).numpy()


def test_scores_predict_networks_trained_on_other_rows(trained):
    X, y, module = trained

    def retrain(kept):
        return minimum(module, X[kept], y[kept], decay=DECAY)

    explainer = InfluenceExplainer(module, loss="cross_entropy", weight_decay=DECAY).fit(X, y)
    scores = explainer.score_influence(X[:20], y[:20])
    subsets, values = retrain_on_subsets(
        retrain, X, y, loss=losses, X_query=X[:20], y_query=y[:20], n_subsets=40, random_state=0
    )
    found = linear_datamodeling_score(scores, subsets, values, random_state=0)
    assert found.mean > 0.5
    shuffled = np.random.default_rng(0).permutation(60)
    chance = linear_datamodeling_score(scores[:, shuffled], subsets, values, random_state=0)
    assert abs(chance.mean) < 0.3


def test_truth_of_single_rows(trained):
    X, y, module = trained

    def retrain(kept):
        return minimum(module, X[kept], y[kept], decay=DECAY)

    explainer = InfluenceExplainer(module, loss="cross_entropy", weight_decay=DECAY).fit(X, y)
    rows = np.arange(5)
    truth = leave_one_out(retrain, X, y, loss=losses, rows=rows)
    assert agreement(explainer.score_influence(X, y)[:, rows], truth).pearson > 0.95


def test_a_module_is_no_function_that_trains(trained):
    X, y, module = trained
    with pytest.raises(ValueError, match=r"estimator is a Sequential, which has no fit.*function"):
        retrain_on_subsets(module, X, y, loss=losses)
    with pytest.raises(ValueError, match=r"sample_weight and polish are for estimators"):
        leave_one_out(lambda kept: module, X, y, loss=losses, sample_weight=np.ones(60))


# -- curves by a function that trains ------------------------------------------------------------


def accuracy(module, X, y):
    with torch.no_grad():
        return float((module(torch.as_tensor(X)).argmax(1).numpy() == y).mean())


def nearest_mean(X, y):
    """A linear module that names the class of the nearest mean."""
    means = np.stack([X[y == c].mean(0) if (y == c).any() else X.mean(0) for c in range(3)])
    module = torch.nn.Linear(X.shape[1], 3).double()
    with torch.no_grad():
        module.weight.copy_(torch.as_tensor(means))
        module.bias.copy_(torch.as_tensor(-0.5 * (means**2).sum(1)))
    return module


def test_removal_curve_of_modules():
    X, y = classes(n=60, k=3)
    score = np.arange(60.0)
    options = {"X_test": X, "y_test": y, "fractions": (0.0, 0.5), "n_random": 1}

    def retrain(kept):
        return nearest_mean(X[kept], y[kept])

    curve = removal_curve(retrain, X, y, score, scoring=accuracy, random_state=0, **options)
    expected = [accuracy(nearest_mean(X[:n], y[:n]), X, y) for n in (60, 30)]
    np.testing.assert_allclose(curve.values[0], expected, rtol=1e-12, atol=0)
    with pytest.raises(ValueError, match=r"scoring is None.*a function trains the models"):
        removal_curve(retrain, X, y, score, **options)
    with pytest.raises(ValueError, match=r"returned None\. Return the model"):
        removal_curve(lambda kept: None, X, y, score, scoring=accuracy, **options)


def test_relabel_curve_of_modules():
    X, y = classes(n=60, k=3)
    wrong = np.where(np.arange(60) < 15, (y + 1) % 3, y)
    options = {"y_true": y, "X_test": X, "y_test": y, "scoring": accuracy, "n_random": 1}

    def retrain(kept, labels):
        return nearest_mean(X[kept], labels)

    curve = relabel_curve(retrain, X, wrong, wrong != y, fractions=(0.0, 1.0), **options)
    expected = [accuracy(nearest_mean(X, labels), X, y) for labels in (wrong, y)]
    np.testing.assert_allclose(curve.values[0], expected, rtol=1e-12, atol=0)
    with pytest.raises(ValueError, match="takes the positions of rows only"):
        relabel_curve(lambda kept: None, X, wrong, wrong != y, **options)
