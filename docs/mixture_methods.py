"""The table of the methods for mixtures: how far is each from real deletion?"""

import warnings

import numpy as np
from sklearn.mixture import GaussianMixture

from skinfluence import GMMInfluence
from skinfluence.exceptions import DegenerateDeletionWarning
from skinfluence.metrics import agreement

warnings.simplefilter("ignore", DegenerateDeletionWarning)

METHODS = ("one_step", "implicit")


def two_clusters(n, gap, rng):
    """Rows of two unit Gaussians in the plane, `gap` apart."""
    return rng.standard_normal((n, 2)) + gap * (np.arange(n)[:, np.newaxis] % 2) * [1, 0]


header = ("rows", "gap", *(f"{m}: {what}" for m in METHODS for what in ("correlation", "error")))
table = []
for n in (100, 600):
    for gap in (6, 4, 3):
        X = two_clusters(n, gap, np.random.default_rng(0))
        mixture = GaussianMixture(2, random_state=0, tol=1e-8, max_iter=5000).fit(X)
        truth = GMMInfluence(mixture, method="refit").fit(X).score_influence(X)
        row = [n, gap]
        for method in METHODS:
            scores = GMMInfluence(mixture, method=method).fit(X).score_influence(X)
            result = agreement(scores, truth)
            row += [f"{result.pearson:.6f}", f"{100 * result.relative_error:.2g} %"]
        table.append(row)
