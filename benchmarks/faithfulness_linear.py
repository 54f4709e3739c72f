"""Faithfulness of linear models (F3, F4): scores against polished real refits, family by family.

    python benchmarks/faithfulness_linear.py [--only linear logistic glm sparse robust] [--quick]

Every refit is one by the estimator itself, then run to the minimum of its objective. For models
without a penalty statsmodels' one-step changes of the parameters stand beside ours.
"""

from __future__ import annotations

import dataclasses
import warnings
from importlib.util import find_spec

import families
import numpy as np
from common import note, parser, publish, table
from threadpoolctl import threadpool_limits

from skinfluence import InfluenceExplainer
from skinfluence.engines.linear import refits
from skinfluence.metrics import agreement

METHODS = ("first_order", "newton", "refit")
HEADER = [
    "model",
    "data",
    "rows",
    "method",
    "Pearson",
    "Spearman",
    "slope",
    "relative error",
    "target",
]
ABOUT = """\
Changes of the loss at all rows when single rows (80 at random, or all) are deleted, against
polished refits; Spearman over all pairs. A Newton step misses where single rows matter much:
nearly separable classes, heavy tails of counts, coefficients that enter or leave an active set.
There `method="refit"` is the cure.

"""
# Rows above which the Newton step has a target, and the seed of the rows that are deleted.
LARGE, SEED = 400, 0


def part(name, quick):
    """The table of one group of families."""
    rows = []
    for family in families.FAMILIES[name]():
        note(f"  {family.name}, {family.data}")
        rows += _family_rows(family, 8 if quick else 80)
    return table(HEADER, rows)


def _family_rows(family, n_refits):
    X, y = family.X, family.y
    n = len(X)
    deleted = np.sort(np.random.default_rng(SEED).choice(n, min(n, n_refits), replace=False))
    model = family.model.fit(X, y)
    truth, rows = None, []
    for method in METHODS:
        try:
            explainer = InfluenceExplainer(model, method=method).fit(X, y)
            scores = explainer.score_influence(X, y)[:, deleted]
        except Exception as error:
            rows.append([family.name, family.data, n, method, *[""] * 4, _short(error)])
            continue
        if truth is None:
            truth = _truth(explainer, X, y, deleted)
        found = _compared(scores, truth)
        rows.append(
            [
                family.name,
                family.data,
                n,
                method,
                *_cells(found),
                _judged(found, family, n, method),
            ]
        )
    if truth is not None and family.glm is not None and find_spec("statsmodels"):
        found = _compared(families.statsmodels_changes(family)[:, deleted], truth)
        rows.append([family.name, family.data, n, "statsmodels", *_cells(found), ""])
    return rows


def _short(error):
    return f"refused: {type(error).__name__}"


def _truth(explainer, X, y, deleted):
    (queries, rows), every = explainer._queries_and_rows(X, y), np.arange(len(X))
    engine = explainer._engine
    return np.transpose(
        [refits.moved(engine, queries, rows, np.delete(every, i)) for i in deleted]
    )


def _compared(scores, truth):
    """Agreement; differences below 1e-10 of the largest change do not make a rank."""
    unit = 1e-10 * np.abs(truth).max()
    rank = agreement(np.round(scores / unit), np.round(truth / unit)).spearman
    return dataclasses.replace(agreement(scores, truth), spearman=rank)


def _cells(found):
    return [
        f"{found.pearson:.5f}",
        f"{found.spearman:.5f}",
        f"{found.slope:.4f}",
        f"{found.relative_error:.1e}",
    ]


def _judged(found, family, n, method):
    if method == "refit":
        return f"1e-8: {'met' if found.relative_error <= 1e-8 else 'MISSED'}"
    if method == "newton" and not family.exempt and n >= LARGE:
        met = found.pearson >= 0.999 and abs(found.slope - 1.0) <= 0.01
        return f".999, 1 +- .01: {'met' if met else 'MISSED'}"
    return "none" if method == "first_order" or not family.exempt else "exempt"


def main(argv=None):
    options = parser(__doc__.splitlines()[0]).parse_args(argv)
    warnings.simplefilter("ignore")
    for name in options.only or families.FAMILIES:
        note(f"faithfulness_linear: {name}")
        with threadpool_limits(1):
            text = part(name, options.quick)
        title = families.FAMILIES[name].__doc__.rstrip(".")
        publish(f"faithfulness-{name}", title, ABOUT + text, options)


if __name__ == "__main__":
    main()
