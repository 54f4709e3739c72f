"""Koh & Liang (2017), section 5.3: which training rows make a model fail on a group.

    python benchmarks/replications/koh_liang_domain_mismatch.py --data-dir DIR [--small] [--fresh]

Logistic regression predicts whether a patient is readmitted, on a balanced training set. Of 24
children under 10, of whom 3 were readmitted, 20 that were not are taken out: the model now errs on
children in the test set. For a child that it gets wrong, the 4 that are left should stand out.
"""

from __future__ import annotations

import numpy as np
from shared import parser, publish, read, table
from sklearn.linear_model import LogisticRegression

from skinfluence import InfluenceExplainer

N_CHILDREN, N_REMOVED = 24, 20
NAME = "age [0-10)"


def hospital_stays(found):
    """One-hot columns of everything with levels, standardised numbers; y = readmitted."""
    columns, names = [], []
    for key in found:
        name = key.partition("_")[2]
        if key.startswith("cat_") and name != "readmitted":
            levels = found[f"levels_{name}"]
            columns += [found[key] == code for code in range(len(levels))]
            names += [f"{name} {level}" for level in levels]
            if (found[key] < 0).any():
                columns.append(found[key] < 0)
                names.append(f"{name} unknown")
        elif key.startswith("num_"):
            value = found[key].astype(float)
            columns.append((value - value.mean()) / value.std())
            names.append(name)
    yes = list(found["levels_readmitted"]).index("Yes")
    return np.column_stack(columns).astype(float), found["cat_readmitted"] == yes, names


def made_up_stays(n=4_000, n_children=154, n_readmitted=3, seed=0):
    """Stays like those: ages one-hot, a few numbers; children are rarely readmitted."""
    rng = np.random.default_rng(seed)
    age = np.append(np.zeros(n_children, dtype=int), rng.integers(1, 10, n - n_children))
    numbers = rng.normal(size=(n, 5)) + 0.1 * age[:, None]
    logit = numbers @ [0.4, 0.3, 0.2, -0.2, 0.1] - 2.0 + rng.normal(size=n)
    y = logit > 0
    y[:n_children] = False
    y[rng.choice(n_children, n_readmitted, replace=False)] = True
    names = [f"age [{10 * k}-{10 * k + 10})" for k in range(10)]
    X = np.hstack([np.eye(10)[age], (numbers - numbers.mean(axis=0)) / numbers.std(axis=0)])
    return X, y, names + [f"number {j}" for j in range(5)]


def split(child, y, rng):
    """Balanced training rows with 4 children, 3 of them readmitted; the other children to test."""
    readmitted, others = np.flatnonzero(child & y), rng.permutation(np.flatnonzero(child & ~y))
    kept = np.append(readmitted, others[: N_CHILDREN - len(readmitted)][N_REMOVED:])
    adults = [rng.permutation(np.flatnonzero(~child & (y == sign))) for sign in (True, False)]
    n_each = min(10_000, int(0.8 * len(adults[0])))
    rows = np.concatenate([kept, adults[0][:n_each], adults[1][:n_each]])
    return rows, others[N_CHILDREN - len(readmitted) :], np.arange(len(kept))


def one_split(X, y, names, rng, c):
    """What influence says about every test child that the model gets wrong."""
    column = names.index(NAME)
    rows, tests, children = split(X[:, column] == 1, y, rng)
    model = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-10).fit(X[rows], y[rows])
    wrong = tests[model.predict(X[tests]) != y[tests]]
    larger = np.sum(np.abs(model.coef_[0]) > abs(model.coef_[0, column]))
    found = {"larger": larger, "wrong": len(wrong) / len(tests), "n": len(rows)}
    if not len(wrong):
        return found
    explainer = InfluenceExplainer(model, method="first_order").fit(X[rows], y[rows])
    scores = explainer.score_influence(X[wrong], y[wrong])
    size = np.abs(scores)
    next_one = np.delete(size, children, axis=1).max(axis=1)
    pulled = InfluenceExplainer(model, target=f"coef:x{column}").fit(X[rows], y[rows])
    pulled = np.abs(pulled.score_influence(None)[0])
    found |= {
        "least": np.median(size[:, children].min(axis=1) / next_one),
        "most": np.median(size[:, children].max(axis=1) / next_one),
        "signs": np.mean(
            np.all((scores[:, children] > 0) == (y[rows[children]] == y[wrong][:, None]), axis=1)
        ),
        "coefficient": pulled[children].min() / np.delete(pulled, children).max(),
    }
    return found


def study(data, *, penalties, n_splits):
    """Medians over splits, by C."""
    X, y, names = data
    found = {}
    for c in penalties:
        splits = [
            one_split(X, y, names, np.random.default_rng(seed), c) for seed in range(n_splits)
        ]
        erring = [one for one in splits if "least" in one]
        found[c] = {
            **{k: float(np.median([one[k] for one in splits])) for k in ("larger", "wrong", "n")},
            "n_erring": len(erring),
        }
        for key in ("least", "most", "signs", "coefficient"):
            values = [one[key] for one in erring]
            found[c][key] = float(np.median(values)) if values else np.nan
        found[c]["worst"] = min((one["least"] for one in erring), default=np.nan)
    return {"by C": found, "p": X.shape[1], "n_splits": n_splits}


def report(found):
    rows = [
        [f"{c:g}", f"{one['wrong']:.0%}", f"{one['least']:.1f}", f"{one['worst']:.1f}",
         f"{one['most']:.1f}", f"{one['signs']:.0%}", f"{one['coefficient']:.0f}",
         f"{one['larger']:.0f} of {found['p']}"]
        for c, one in found["by C"].items()
    ]  # fmt: skip
    rows.append(["paper", "many", "30", "", "40", "yes", "", "14 of 127"])
    header = [
        "C", "test children wrong", "least child / next row", "of the worst split",
        "most influential child / next row", "signs", "on the child's coefficient",
        "larger coefficients",
    ]  # fmt: skip
    n = int(next(iter(found["by C"].values()))["n"])
    return "\n\n".join(
        [
            f"{n} training rows, half of them readmitted, {found['p']} columns; medians over "
            f"{found['n_splits']} draws of the children and the other rows, and over the "
            "misclassified test children of each.",
            table(header, rows),
            "*Least child / next row*: the smallest score of the four children, over the largest "
            "of all other rows (sizes). *Signs*: for how many of the misclassified children the "
            "child who was not readmitted helps and the three others harm. *On the child's "
            "coefficient*: the same ratio for the coefficient of the indicator. *Larger "
            "coefficients*: why looking at the coefficients does not find it.",
        ]
    )


def stays(options):
    """Stays that are made up for a quick look, or those of the data; None where there are none."""
    if options.quick:
        return made_up_stays()
    found = read(options, "readmission.npz")
    return None if found is None else hospital_stays(found)


def sizes_of(options):
    """Penalties and number of draws of a study."""
    if options.quick:
        return {"penalties": (1.0,), "n_splits": 3}
    return {"penalties": (0.1, 1.0, 10.0, 100.0), "n_splits": 20}


def main(argv=None):
    options = parser(__doc__.splitlines()[0]).parse_args(argv)
    data = stays(options)
    if data is None:
        return None
    found = study(data, **sizes_of(options))
    source = (
        "stays that are made up"
        if options.quick
        else "first stays of the paper's source (Strack et al., 2014), with fewer columns than "
        "the paper's 127; of its 154 children 3 were readmitted, as many as among the paper's 24, "
        "and 24 are drawn. Cut: the paper balances 20,000 rows, and these have fewer readmissions"
    )
    text = f"Data: {source}. Command: `koh_liang_domain_mismatch.py`.\n\n{report(found)}"
    title = "Koh & Liang, section 5.3: domain mismatch"
    publish("koh-liang-domain-mismatch", title, text, options)
    return found


if __name__ == "__main__":
    main()
