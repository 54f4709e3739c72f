"""What a sketch keeps of leverages and distances, beside the exact ones and the residuals alone.

Three regressions whose features can still be held: rows as texts have them, with and without a
penalty, and the diabetes table with all products of three columns.
"""

import time
import warnings

import numpy as np
from scipy.sparse import csr_array
from scipy.stats import spearmanr
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from skinfluence import InfluenceExplainer, InfluenceSketch
from skinfluence.metrics import agreement, top_k_overlap

TOP, N_QUERIES = 20, 100


def texts(n=6_000, p=800, length=20):
    """Counts of words, of which few are frequent, and a label that follows them."""
    rng = np.random.default_rng(0)
    words = (p * rng.random((n, length)) ** 2.5).astype(int)
    texts = np.repeat(np.arange(n), length)
    X = csr_array((np.ones(n * length), (texts, words.ravel())), shape=(n, p))
    weights = rng.normal(scale=0.5, size=p)
    X.indices, X.indptr = X.indices.astype(np.int32), X.indptr.astype(np.int32)
    return X, rng.random(n) < 1.0 / (1.0 + np.exp(-X @ weights))


def products():
    """Patients, with all products of up to three of their ten columns."""
    X, y = load_diabetes(return_X_y=True)
    X = make_pipeline(
        StandardScaler(), PolynomialFeatures(3, include_bias=False), StandardScaler()
    ).fit_transform(X)
    return X[:, X.std(axis=0) > 0], y


words, patients = texts(), products()
CASES = {
    "texts": (LogisticRegression(C=np.inf, tol=1e-8, max_iter=10_000), words),
    "texts, ``C=1``": (LogisticRegression(tol=1e-8, max_iter=10_000), words),
    "patients": (LinearRegression(), patients),
    "patients, ``alpha=10``": (Ridge(10.0), patients),
}


class Exact:
    """Leverages and scores of a fit whose Hessian can be held."""

    def __init__(self, model, X, y):
        found = InfluenceExplainer(model, hessian="expected").fit(X, y).diagnostics()
        self.leverage, self.squares = found.leverage, np.square(found.resid_pearson)
        self.scores = self.squares * self.leverage / (1.0 - self.leverage)
        self.n_params = found.n_effective_params
        self.queries = X[:N_QUERIES], y[:N_QUERIES]
        first_order = InfluenceExplainer(model, method="first_order").fit(X, y)
        self.influence = first_order.score_influence(*self.queries)

    def same_top(self, scores):
        """Share of the strongest rows that are the strongest."""
        return top_k_overlap(scores[None], self.scores[None], k=TOP)[0]

    def same_order(self, scores):
        return spearmanr(scores, self.scores)[0]


def percent(share):
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%"


fits = {
    name: (model.fit(X, y), X, y, Exact(model, X, y)) for name, (model, (X, y)) in CASES.items()
}

# -- how many components -------------------------------------------------------------------------

header = (
    "rows",
    "components",
    "``shrinkage_``",
    "h, Pearson",
    "c, Spearman",
    f"top {TOP} of c",
    "scores, Pearson",
)
table = []
for name in ("texts", "patients, ``alpha=10``"):
    model, X, y, exact = fits[name]
    p = X.shape[1]
    for share in (1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4):
        k = round(p * share)
        sketch = InfluenceSketch(model, n_components=k, random_state=0).fit(X, y)
        c = sketch.self_influence()
        scores = sketch.score_influence(*exact.queries)
        table.append(
            [
                f"{name.partition(',')[0]}, {len(y)} × {p}" if share == 1 / 16 else "",
                f"{k}",
                f"{sketch.shrinkage_:.2f}",
                f"{np.corrcoef(sketch.leverage_, exact.leverage)[0, 1]:.3f}",
                f"{exact.same_order(c):.4f}",
                percent(exact.same_top(c)),
                f"{agreement(scores, exact.influence).pearson:.2f}",
            ]
        )
    alone = f"{exact.same_order(exact.squares):.4f}"
    table.append(["", "r² alone", "", "", alone, percent(exact.same_top(exact.squares)), ""])

# -- what a correction does ----------------------------------------------------------------------

correction_header = (
    "regression",
    "parameters",
    "their bound",
    "h over exact",
    "corrected",
    "c over exact",
    "corrected",
)
correction_table = []
for name, (model, X, y, exact) in fits.items():
    shown = [name]
    levers, scores = [], []
    for correct in (False, True):
        sketch = InfluenceSketch(
            model, n_components=X.shape[1] // 4, correct_shrinkage=correct, random_state=0
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="correct_shrinkage=True")
            sketch.fit(X, y)
        levers.append(f"{sketch.leverage_.sum() / exact.n_params:.2f}")
        scores.append(f"{np.median(sketch.self_influence() / exact.scores):.2f}")
    shown += [f"{exact.n_params:.0f}", f"{sketch.n_effective_params_:.0f}", *levers, *scores]
    correction_table.append(shown)

# -- which projection ----------------------------------------------------------------------------

projection_header = ("projection", "sketches", "seconds", "h, Pearson", "c, Spearman")
projection_table = []
model, X, y, exact = fits["texts"]
for projection, n_sketches in (
    ("sparse", 1),
    ("gaussian", 1),
    ("countsketch", 1),
    ("sparse", 4),
):
    begun = time.process_time()
    sketch = InfluenceSketch(
        model, n_components=100, projection=projection, n_sketches=n_sketches, random_state=0
    ).fit(X, y)
    seconds = time.process_time() - begun
    projection_table.append(
        [
            f"``{projection!r}``".replace("'", '"'),
            str(n_sketches),
            f"{seconds:.2f}",
            f"{np.corrcoef(sketch.leverage_, exact.leverage)[0, 1]:.3f}",
            f"{exact.same_order(sketch.self_influence()):.4f}",
        ]
    )

if __name__ == "__main__":
    for head, rows in (
        (header, table),
        (correction_header, correction_table),
        (projection_header, projection_table),
    ):
        print(*[" | ".join(row) for row in [head, *rows]], sep="\n")
