"""Exact deletions equal refits of scikit-learn's own, for every family and option."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skinfluence import InfluenceExplainer
from tests.test_deletion.exact_cases import CASES, N

every = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def explained(case, **options):
    fitted = case.fit()
    return InfluenceExplainer(fitted, **options).fit(case.X, case.y, sample_weight=case.weights)


def brute_force(case):
    """Loss at all rows without each row, minus with all of them."""
    fitted = case.fit()
    before = case.loss(fitted)
    changes = np.empty((len(before), N))
    for i in range(N):
        kept = np.delete(np.arange(N), i)
        after = case.loss(case.fit(kept, fitted), kept)
        both = np.isinf(before) & (after == before)
        changes[:, i] = np.where(both, 0.0, after - np.where(both, 0.0, before))
    return changes


@pytest.mark.filterwarnings("ignore:Only one sample available:UserWarning")
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@every
def test_scores_are_those_of_refits(case):
    explainer = explained(case)
    assert explainer.method_ == case.method
    truth = brute_force(case)
    scores = explainer.score_influence(case.X, case.y)
    largest = np.abs(truth[np.isfinite(truth)]).max()
    assert_allclose(scores, truth, rtol=1e-8, atol=1e-8 * largest)
    assert_allclose(explainer.self_influence(), np.diag(scores), rtol=1e-9, atol=1e-11)
