"""Koh & Liang (2017), figure 2 middle: stochastic estimation against conjugate gradients.

    python benchmarks/replications/koh_liang_fig2_middle.py --data-dir DIR [--small] [--fresh]

Multinomial logistic regression on ten digits as a torch module, one test image that it gets wrong,
and the influence of all training images on the loss there: the inverse Hessian by conjugate
gradients on all rows, and by the Neumann series on mini-batches (LiSSA).
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from koh_liang_fig2_left import N_VALIDATION, misclassified
from networks_shared import linear, with_parameters
from shared import (
    LAMBDA,
    Checkpoints,
    digits,
    mnist,
    note,
    parser,
    publish,
    strongest,
    table,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from skinfluence import InfluenceExplainer
from skinfluence.metrics import agreement
from skinfluence.torch.solvers import Lissa

# The authors take 5,000 steps of one row, and average 10 such runs.
PAPER = {"batch_size": 1, "depth": 5_000, "repeats": 10}
SETTINGS = [
    PAPER,
    {"batch_size": 10, "depth": 5_000, "repeats": 1},
    {"batch_size": 100, "depth": 1_000, "repeats": 1},
    {"batch_size": 100, "depth": 5_000, "repeats": 1},
]


def scores(module, X, y, z, label, solver, **options):
    """First-order scores of all rows at one query, and how the solver did."""
    explainer = InfluenceExplainer(
        module,
        loss="cross_entropy",
        weight_decay=LAMBDA,
        curvature="hessian",
        damping=0.0,
        solver=solver,
        **options,
    )
    with warnings.catch_warnings():
        # A stochastic solution misses any tolerance; how far off it is, is the question.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found, report = explainer.fit(X, y).score_influence(z, label, return_report=True)
    return found[0], report


def study(data, checkpoints, *, settings, n_top):
    X, y, Z, z_y = data
    model = LogisticRegression(
        C=1.0 / (LAMBDA * len(X)), fit_intercept=False, tol=1e-6, max_iter=5_000
    )
    coef = checkpoints.keep("coefficients", lambda: model.fit(X, y).coef_)
    model.coef_, model.intercept_, model.classes_ = coef, np.zeros(len(coef)), np.unique(y)
    query = misclassified(model, Z, z_y)
    z, label = Z[query : query + 1].astype(np.float32), z_y[query : query + 1]
    module = with_parameters(linear(X.shape[1], len(coef), bias=False), coef.ravel())
    rows = X.astype(np.float32)
    note(f"fitted: accuracy {model.score(Z, z_y):.4f}, test image {query}")

    exact, report = scores(module, rows, y, z, label, "cg", tol=1e-5)
    top, results = strongest(exact, n_top), []
    note(f"conjugate gradients: {report['products']} products")
    for one in settings:
        name = "-".join(str(value) for value in one.values())
        found = checkpoints.keep(
            name, lambda o=one: scores(module, rows, y, z, label, Lissa(random_state=0, **o))[0]
        )
        results.append((one, agreement(found[top], exact[top]), agreement(found, exact)))
    return {
        "results": results,
        "products": report["products"],
        "n": len(X),
        "p": coef.size,
        "query": query,
        "label": int(label[0]),
        "accuracy": model.score(Z, z_y),
        "n_top": n_top,
    }


def report(found):
    n, rows = found["n"], []
    for one, top, every in found["results"]:
        visited = one["batch_size"] * one["depth"] * one["repeats"]
        rows.append(
            [one["batch_size"], one["depth"], one["repeats"], f"{visited / n:.2g}",
             f"{top.pearson:.5f}", f"{every.pearson:.5f}", f"{top.slope:.4f}"]
        )  # fmt: skip
    header = ["rows a step", "steps", "runs", "passes over the rows",
              f"Pearson, top {found['n_top']}", "Pearson, all rows", "slope"]  # fmt: skip
    return "\n\n".join(
        [
            f"{n} training images, {found['p']} parameters (no intercepts), lambda = {LAMBDA}, "
            f"no damping beside it, test accuracy {found['accuracy']:.2%}. Test image "
            f"{found['query']}, a {found['label']} that the model gets wrong; predicted changes "
            "of its loss by LiSSA against those by conjugate gradients, which took "
            f"{found['products']} products with all rows.",
            table(header, rows),
            "The first line are the paper's settings, which says that stochastic estimation and "
            "conjugate gradients give the same picture, without a number. The step length comes "
            "from the largest eigenvalue that a few mini-batches show, and the average over the "
            "second half of the steps is taken where the authors take the last.",
        ]
    )


def main(argv=None):
    options = parser(__doc__.splitlines()[0]).parse_args(argv)
    data = digits() if options.quick else mnist(options)
    if data is None:
        return None
    torch.set_num_threads(1)
    if not options.quick:
        X, y, *tests = data
        data = (X[N_VALIDATION:], y[N_VALIDATION:], *tests)
    sizes = {"settings": SETTINGS[2:3] if options.quick else SETTINGS}
    sizes["n_top"] = 50 if options.quick else 500
    found = study(data, Checkpoints("koh-liang-fig2-middle", sizes, options), **sizes)
    source = "scikit-learn's 8 x 8 digits" if options.quick else "MNIST, as in the paper"
    text = f"Data: {source}. Command: `koh_liang_fig2_middle.py`. Cut: nothing.\n\n{report(found)}"
    title = "Koh & Liang, figure 2 middle: stochastic estimation against conjugate gradients"
    publish("koh-liang-fig2-middle", title, text, options)
    return found


if __name__ == "__main__":
    main()
