"""Fitted explainers and their rows, shared by the displays' tests."""

import pytest
from sklearn.neighbors import KernelDensity

from skinfluence import KDEInfluence
from skinfluence.datasets import make_six_clusters


@pytest.fixture(scope="module")
def X():
    return make_six_clusters(random_state=0)[0]


@pytest.fixture(scope="module")
def explainer(X):
    return KDEInfluence(KernelDensity(bandwidth=0.5)).fit(X)
