"""The table of cases: one row makes an explainer run through every shared law."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity, NearestNeighbors

from skinfluence import GMMInfluence, KDEInfluence, KNNInfluence

_rng = np.random.default_rng(0)
BLOBS = np.vstack(
    [_rng.normal(size=(25, 2)), _rng.normal([6.0, 0.0], 0.5, (20, 2)), [[3.0, 14.0]]]
)


@dataclass(frozen=True)
class Case:
    """An explainer, the rows it is tested on, and what it promises.

    ``error`` is the relative error against real refits, None where the laws run elsewhere on rows
    of their own; ``check_estimator`` says whether scikit-learn's checks run on it.
    """

    explainer: BaseEstimator
    X: np.ndarray = field(default_factory=lambda: BLOBS)
    error: float | None = 1e-8
    check_estimator: bool = True

    def __str__(self) -> str:
        return " ".join(repr(self.explainer).split())


CASES = [
    Case(KDEInfluence()),
    Case(KDEInfluence(novelty=True)),
    Case(KDEInfluence(KernelDensity(kernel="tophat", bandwidth=2.0))),
    Case(KDEInfluence(KernelDensity(kernel="epanechnikov", bandwidth=3.0))),
    Case(KDEInfluence(KernelDensity(kernel="exponential"), contamination=0.1)),
    Case(KDEInfluence(KernelDensity(kernel="linear", bandwidth=3.0))),
    Case(KDEInfluence(KernelDensity(kernel="cosine", bandwidth=3.0))),
    Case(KDEInfluence(KernelDensity(metric="manhattan", kernel="gaussian"))),
    Case(KDEInfluence(KernelDensity(bandwidth=0.01)), check_estimator=False),
    Case(KNNInfluence()),
    Case(KNNInfluence(novelty=True)),
    Case(KNNInfluence(n_neighbors=2, intrinsic_dim=1.5, contamination=0.1)),
    Case(KNNInfluence(NearestNeighbors(metric="manhattan", algorithm="brute"), novelty=True)),
    # Our own laws for mixtures run in test_explainers/test_gmm.py, on rows that they fit.
    *(
        Case(GMMInfluence(GaussianMixture(covariance_type=kind), method=method), error=None)
        for kind in ("full", "tied", "diag", "spherical")
        for method in ("implicit", "refit", "one_step")
    ),
    Case(
        GMMInfluence(GaussianMixture(covariance_type="spherical"), method="well_separated"),
        error=None,
    ),
    Case(GMMInfluence(GaussianMixture(2, random_state=0), contamination=0.1), error=None),
]
