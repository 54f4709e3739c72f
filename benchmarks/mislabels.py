"""Do self influences find wrong labels (F6)? Beside loss, gradient norm, distance and chance.

    python benchmarks/mislabels.py [--only spam digits] [--data-dir DIR]

A tenth of the training labels is flipped, a logistic regression is fitted on them, and rows are
ranked. The mean over draws of the AUC with which the flipped ones come first.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from common import note, parser, publish, table
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import scale

from skinfluence import InfluenceExplainer
from skinfluence.metrics import detection_auc

SPAM_FILE = "spamassassin_bow.npz"
HOW_TO_MAKE_SPAM = f"""\
{SPAM_FILE} is not here, so this set is skipped. It holds the SpamAssassin mails as counts of
words: the parts of a CSR matrix (data, indices, indptr, shape) and y (1 = spam). The mails are at
https://spamassassin.apache.org/old/publiccorpus; sklearn's CountVectorizer(min_df=5) makes the
counts. Pass the directory as --data-dir or in the environment as SKINFLUENCE_DATA."""
METHODS = ("first_order", "newton", "refit")


def spam(directory):
    """Counts of words of 3,000 mails, 1,000 commonest words, square roots."""
    path = Path(directory or ".") / SPAM_FILE
    if not path.exists():
        note(HOW_TO_MAKE_SPAM)
        return None
    with np.load(path, allow_pickle=False) as file:
        X = sparse.csr_matrix(
            (file["data"], file["indices"], file["indptr"]), shape=tuple(file["shape"])
        )
        y = file["y"].astype(int)
    chosen = np.random.default_rng(0).permutation(X.shape[0])[:3_000]
    common = np.argsort(-np.asarray((X > 0).sum(axis=0)).ravel())[:1_000]
    return np.sqrt(X[chosen][:, common].toarray().astype(float)), y[chosen]


def digits(directory):
    """Ten classes."""
    X, y = load_digits(return_X_y=True)
    return X / 16.0, y


def breast_cancer(directory):
    """Two classes, 569 rows."""
    X, y = load_breast_cancer(return_X_y=True)
    return scale(X), y


SETS = {"breast_cancer": breast_cancer, "digits": digits, "spam": spam}


def flipped(y, rng, share=0.1):
    """Labels of which `share` are another class, and which."""
    classes = np.unique(y)
    bad = rng.random(len(y)) < share
    step = rng.integers(1, len(classes), len(y))
    wrong = classes[(np.searchsorted(classes, y) + step) % len(classes)]
    return np.where(bad, wrong, y), bad


def columns(X, y, C, methods):
    """Scores of every way to rank the rows: high is suspicious."""
    model = LogisticRegression(C=C, tol=1e-6, max_iter=5_000).fit(X, y)
    p = model.predict_proba(X)
    own = p[np.arange(len(y)), np.searchsorted(model.classes_, y)]
    rest = p.copy()
    rest[np.arange(len(y)), np.searchsorted(model.classes_, y)] -= 1.0
    found = {
        method: InfluenceExplainer(model, method=method).fit(X, y).self_influence()
        for method in methods
    }
    found["loss"] = -np.log(np.maximum(own, 1e-300))
    found["gradient norm"] = np.linalg.norm(rest, axis=1) * np.sqrt(1 + (X**2).sum(axis=1))
    found["distance"] = np.linalg.norm(X - X.mean(axis=0), axis=1)
    return found


def main(argv=None):
    options = parser(__doc__.splitlines()[0]).parse_args(argv)
    warnings.simplefilter("ignore")
    rows = []
    for name in options.only or SETS:
        loaded = SETS[name](options.data_dir)
        if loaded is None:
            continue
        for C in (0.01, 1.0):
            note(f"mislabels: {name}, C = {C}")
            rows.append([name, len(loaded[0]), C, *_aucs(*loaded, C, options.quick)])
    header = ["data", "rows", "C", *METHODS, "loss", "gradient norm", "distance", "random", "best"]
    text = f"""\
Logistic regression on labels of which 10 % are flipped; AUC with which they are ranked first,
mean and standard deviation over 5 draws (spam 3). The three methods rank by self influence; exact
refits only up to 600 rows.

{table(header, rows)}"""
    publish("mislabels", "F6: detection of wrong labels", text, options)


def _aucs(X, y, C, quick):
    draws = 2 if quick else 3 if len(X) > 2_000 else 5
    methods = METHODS if len(X) <= 600 else METHODS[:2]
    found: dict[str, list[float]] = {}
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        labels, bad = flipped(y, rng)
        scores = columns(X, labels, C, methods)
        scores["random"] = rng.random(len(y))
        for name, values in scores.items():
            found.setdefault(name, []).append(detection_auc(bad, values))
    best = max(found, key=lambda name: np.mean(found[name]))
    names = (*METHODS, "loss", "gradient norm", "distance", "random")
    cells = [
        f"{np.mean(found[name]):.4f} +- {np.std(found[name]):.4f}" if name in found else ""
        for name in names
    ]
    return [*cells, best]


if __name__ == "__main__":
    main()
