"""What happens between the passes of InfluenceSketch: rows, models and options that change."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skinfluence import InfluenceSketch

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 8))
Y = (X[:, 0] + RNG.logistic(size=200) > 0).astype(int)
MODEL = LogisticRegression(tol=1e-10, max_iter=10_000).fit(X, Y)


def sketch(model=MODEL, **options):
    return InfluenceSketch(model, **{"n_components": 4, "random_state": 0, **options})


def test_rows_that_come_in_another_order_are_refused():
    shuffle = np.random.default_rng(0).permutation

    def blocks():
        order = shuffle(len(Y))
        yield X[order[:120]], Y[order[:120]]
        yield X[order[120:]], Y[order[120:]]

    with pytest.raises(ValueError, match="met the rows in another order than the first"):
        sketch().fit(blocks)
