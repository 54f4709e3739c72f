"""How small the sets of smallest_flip are, against all smaller sets, and what refits they took."""

from itertools import combinations

import numpy as np
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from skinfluence import InfluenceExplainer

N_ROWS, N_DRAWS, N_QUERIES = 12, 6, 2
# Sets of fewer rows are all tried.
LARGEST = 3

CASES = {
    "`LogisticRegression`": LogisticRegression(),
    "`RidgeClassifier`": RidgeClassifier(),
    "`SVC`": SVC(),
    "`GaussianNB`": GaussianNB(),
    "`KNeighborsClassifier`": KNeighborsClassifier(3),
}


def draw(seed):
    """Two clouds of rows that overlap, and queries between them."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N_ROWS, 2))
    y = np.arange(N_ROWS) % 2
    X[:, 0] += 1.2 * y
    queries = rng.standard_normal((N_QUERIES, 2))
    queries[:, 0] += 0.6
    return X, y, queries


def smaller_exists(engine, y, query, flip):
    """Whether fewer rows would do, up to the number that is tried."""
    for size in range(1, min(flip.size, LARGEST + 1)):
        for gone in map(np.array, combinations(range(N_ROWS), size)):
            if len(np.unique(np.delete(y, gone))) < 2:
                continue
            if engine.labels_without(query[None], gone)[0] != flip.label_before:
                return True
    return False


def facts(estimator):
    """Mean size, refits, and for how many answers no smaller set exists."""
    sizes, refits, smallest = [], [], 0
    for seed in range(N_DRAWS):
        X, y, queries = draw(seed)
        explainer = InfluenceExplainer(estimator).fit(X, y)
        for query, flip in zip(queries, explainer.smallest_flip(queries, n_random=0), strict=True):
            sizes.append(flip.size)
            refits.append(flip.n_refits)
            smallest += not smaller_exists(explainer._engine, y, query, flip)
    return [f"{np.mean(sizes):.1f}", f"{np.mean(refits):.0f}", f"{smallest} of {len(sizes)}"]


header = ("Classifier", "Rows, mean", "Refits, mean", "None smaller")
rows = [[name, *facts(estimator)] for name, estimator in CASES.items()]
