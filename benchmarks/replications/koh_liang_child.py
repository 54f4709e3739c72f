"""Koh & Liang (2017), section 5.3: which feature makes the rows that are to blame influential.

    python benchmarks/replications/koh_liang_child.py --data-dir DIR [--small]

The rows are those of ``koh_liang_domain_mismatch.py``: four children are left in the training set,
three of them readmitted, and the model errs on the children in the test set. For a child that it
gets wrong, the four stand out. Which of their features do it? Two answers for each: the derivative
of the test child's loss in the features of the training child, retraining included, and the parts
of the training child's first-order influence that belong to each feature.
"""

from __future__ import annotations

import numpy as np
from koh_liang_domain_mismatch import NAME, sizes_of, split, stays
from scipy.special import expit
from shared import parser, publish, table
from sklearn.linear_model import LogisticRegression

from skinfluence import InfluenceExplainer


def pulls(model, X, y, Z, z_y):
    """``H^-1 g_z`` of queries, the intercept last, (n_queries, p + 1)."""
    rows = np.column_stack([X, np.ones(len(X))])
    mean = expit(rows @ np.append(model.coef_[0], model.intercept_))
    H = (rows.T * (mean * (1 - mean))) @ rows
    H[:-1, :-1] += np.eye(X.shape[1]) / model.C
    queries = np.column_stack([Z, np.ones(len(Z))])
    off = expit(queries @ np.append(model.coef_[0], model.intercept_)) - z_y
    return np.linalg.solve(H, (queries * off[:, None]).T).T


def by_hand(model, u, X, y):
    """Derivatives of the queries' losses in the features of some rows, (n_queries, n, p).

    ``-(l'_i u + l''_i (x_i'u) theta)``: Koh and Liang's equation 5 for a logistic regression.
    """
    mean = expit(X @ model.coef_[0] + model.intercept_)
    slope, bend = mean - y, mean * (1 - mean)
    along = X @ u[:, :-1].T + u[:, -1]
    moved = bend[:, None] * along
    return -(slope[None, :, None] * u[:, None, :-1] + moved.T[..., None] * model.coef_[0])


def parts(model, u, X, y):
    """First-order deletion scores of some rows by feature, (n_queries, n, p + 1)."""
    slope = expit(X @ model.coef_[0] + model.intercept_) - y
    rows = np.column_stack([X, np.ones(len(X))])
    return slope[None, :, None] * rows * u[:, None]


def of_children(values, column):
    """Size of the child's column over that of the largest other one, and its rank, by row."""
    size = np.abs(values)
    others = np.delete(size, column, axis=-1)
    ratio = size[..., column] / others.max(axis=-1)
    return ratio, 1 + np.sum(others > size[..., column, None], axis=-1)


def one_split(X, y, names, rng, c):
    """What the features of the four children do to every test child that is got wrong."""
    column = names.index(NAME)
    rows, tests, children = split(X[:, column] == 1, y, rng)
    y = y.astype(float)
    model = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-12).fit(X[rows], y[rows])
    wrong = tests[model.predict(X[tests]) != y[tests]]
    if not len(wrong):
        return {}
    explainer = InfluenceExplainer(model).fit(X[rows], y[rows])
    slopes = explainer.perturbation(X[wrong], y[wrong], rows=children)
    u = pulls(model, X[rows], y[rows], X[wrong], y[wrong])
    hand = by_hand(model, u, X[rows][children], y[rows][children])
    shares = parts(model, u, X[rows][children], y[rows][children])
    # The other rows that do most to each test child, for comparison.
    mean = expit(X[rows] @ model.coef_[0] + model.intercept_)
    scores = (mean - y[rows])[:, None] * (X[rows] @ u[:, :-1].T + u[:, -1])
    scores[children] = 0.0
    next_one = np.abs(scores).argmax(axis=0)
    theirs = explainer.perturbation(X[wrong], y[wrong], rows=np.unique(next_one))
    theirs = theirs[np.arange(len(wrong)), np.searchsorted(np.unique(next_one), next_one)]
    slope_ratio, slope_rank = of_children(slopes, column)
    part_ratio, part_rank = of_children(shares, column)
    other_rank = of_children(theirs, column)[1]
    return {
        "gap": np.abs(slopes - hand).max() / np.abs(hand).max(),
        "slope": np.median(slope_ratio.min(axis=1)),
        "slope rank": np.mean(slope_rank == 1),
        "slope share": np.median(np.abs(slopes[..., column]) / np.abs(slopes).sum(axis=-1)),
        "part": np.median(part_ratio.min(axis=1)),
        "part rank": np.mean(part_rank == 1),
        "part share": np.median(shares[..., column] / shares.sum(axis=-1)),
        "other rank": np.median(other_rank),
        "coefficient": int(np.sum(np.abs(model.coef_[0]) >= abs(model.coef_[0, column]))),
    }


NOTES = """\
The part of the influence that the indicator has is what the paper saw: nine tenths at every
penalty, and none of a row that is no child. The derivative says which column a change would count
in, and that is the same column in rows that are no children. At weak penalties its two terms
nearly cancel there: the four children have that coefficient to themselves, and with a larger
indicator they are fitted by a smaller one."""
KEYS = ("slope", "slope share", "slope rank", "part", "part share", "part rank", "other rank")


def study(data, *, penalties, n_splits):
    """Medians over splits, by C."""
    X, y, names = data
    found = {}
    for c in penalties:
        splits = [
            one_split(X, y, names, np.random.default_rng(seed), c) for seed in range(n_splits)
        ]
        erring = [one for one in splits if one]
        found[c] = {
            key: float(np.median([one[key] for one in erring])) for key in (*KEYS, "coefficient")
        }
        found[c]["gap"] = max(one["gap"] for one in erring)
    return {"by C": found, "p": X.shape[1], "n_splits": n_splits}


def report(found, *, notes):
    rows = [
        [f"{c:g}", f"{one['slope']:.1f}", f"{one['slope share']:.0%}", f"{one['slope rank']:.0%}",
         f"{one['part']:.1f}", f"{one['part share']:.0%}", f"{one['part rank']:.0%}",
         f"{one['other rank']:.0f}", f"{one['coefficient']:.0f} of {found['p']}"]
        for c, one in found["by C"].items()
    ]  # fmt: skip
    rows.append(["paper", "significant", "", "", "", "", "", "", "15 of 127"])
    header = [
        "C", "derivative: child / next column", "share of all", "largest",
        "part of influence: child / next column", "of the influence", "largest",
        "rank in the next row", "rank of the coefficient",
    ]  # fmt: skip
    gap = max(one["gap"] for one in found["by C"].values())
    return "\n\n".join(
        [
            f"{found['p']} columns; medians over {found['n_splits']} draws of the children and "
            "the other rows, and over the misclassified test children of each.",
            table(header, rows),
            "*Derivative*: of the test child's loss in the features of a training child, "
            "retraining included, by `perturbation`: size of the column that says *child*, over "
            "the largest of the others, of the child where that is least; over the sum of all "
            "sizes; and how often it is the largest. *Part of influence*: the same for the terms "
            "`l'_i x_ij (H^-1 g_z)_j` of the first-order score, which add up to it with the "
            "intercept's. *Next row*: the most influential row that is no child.",
            f"The derivatives agree with those written out for this model to {gap:.0e}.",
            *([NOTES] if notes else []),
        ]
    )


def main(argv=None):
    options = parser(__doc__.splitlines()[0]).parse_args(argv)
    data = stays(options)
    if data is None:
        return None
    found = study(data, **sizes_of(options))
    source = (
        "stays that are made up"
        if options.quick
        else "the stays of `koh_liang_domain_mismatch.py`, with fewer columns than the paper's"
    )
    text = report(found, notes=not options.quick)
    text = f"Data: {source}. Command: `koh_liang_child.py`.\n\n{text}"
    title = "Koh & Liang, section 5.3: the feature that makes rows influential"
    publish("koh-liang-child", title, text, options)
    return found


if __name__ == "__main__":
    main()
