"""Networks in the metrics, which train them by a function of the user's."""

from __future__ import annotations

import numpy as np
import pytest

from skinfluence import InfluenceExplainer
from skinfluence.metrics import (
    agreement,
    leave_one_out,
    linear_datamodeling_score,
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
