"""Faithfulness of replaced rows of linear models, against polished refits to the changed rows.

    python benchmarks/faithfulness_replacement.py [--quick]

The families are those of ``faithfulness_linear.py`` with 400 rows or more whose losses are smooth.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import families
import numpy as np
from changed import FAR, INPUTS, LABELS, changes_of, linear_refits, truth
from common import note, parser, publish, table
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import scale
from threadpoolctl import threadpool_limits

from skinfluence import InfluenceExplainer
from skinfluence.metrics import agreement

METHODS = ("first_order", "newton", "refit")
# Rows from which the Newton step has a target; refits, derivatives, and the latter's step.
LARGE, EXACT, DERIVATIVE, STEP = 400, 1e-8, 1e-6, 1e-3
HEADER = ["model", "data", "rows", "change", "method"]
HEADER += ["Pearson", "slope", "relative error", "target"]
ABOUT = """\
Changes of the loss at all rows when one row takes another label (another class, or the number of
another row), other inputs (half-way to another row or nearer to it) or far ones (up to as far
behind that row), {n} rows at random each, against polished refits. The derivative is
`perturbation`, against central differences of refits.

A Newton step has no target where a model has no penalty (`free`), where a row goes where it has
leverage (`far`), and for losses whose slope has kinks, of which it sees one side (`exempt`). It
misses where deletions do, and by more. Classes that a line nearly separates (`breast cancer`,
unless the penalty is strong): a wrong label far behind that line pulls at full slope and has next
to no curvature until the model has moved towards it, so that the step is too long (slopes below
1). And l1 penalties, whose coefficients enter and leave. There `method="refit"` is the cure.

"""


def replacement(quick):
    """Replaced rows of linear models: first order, Newton step, refit, and derivatives."""
    n_changes = 4 if quick else 40
    rows = []
    for family in _families(quick):
        note(f"  {family.name}, {family.data}")
        model = family.model.fit(family.X, family.y)
        for kind in (LABELS, INPUTS, FAR):
            rows += _replaced(family, model, kind, n_changes)
        rows.append(_derivative(family, model, 1 if quick else 4))
    return ABOUT.format(n=n_changes) + table(HEADER, rows)


def overlapping() -> Iterator[families.Family]:
    """Classes that no line separates: patients below and above quantiles of their progression."""
    X, y = load_diabetes(return_X_y=True)
    for name, model, n_classes in (
        ("LogisticRegression(1)", LogisticRegression(**families.TIGHT), 2),
        ("multinomial(1)", LogisticRegression(**families.TIGHT), 3),
        ("LogisticRegression l1(.1)", LogisticRegression(**families.L1, C=0.1), 2),
    ):
        thresholds = np.quantile(y, np.arange(1, n_classes) / n_classes)
        data = f"diabetes, {n_classes} classes"
        yield families.Family(name, data, model, scale(X), np.digitize(y, thresholds))


def _families(quick):
    groups = [families.linear] if quick else [*families.FAMILIES.values(), overlapping]
    for group in groups:
        for family in group():
            kinked = getattr(family.model, "loss", None) == "hinge" or hasattr(
                family.model, "quantile"
            )
            if len(family.X) >= LARGE and not kinked:
                yield family


def _replaced(family, model, kind, n_changes):
    X, y = family.X, family.y
    changes, actual = changes_of(kind, X, y, n_changes), None
    for method in METHODS:
        explainer = InfluenceExplainer(model, method=method).fit(X, y)
        if actual is None:
            actual = truth(explainer, changes)
        found = agreement(changes.scores(explainer), actual)
        cells = [kind, method, *_cells(found), _judged(found, family, kind, method)]
        yield [family.name, family.data, len(X), *cells]


def _cells(found):
    return [f"{found.pearson:.5f}", f"{found.slope:.4f}", f"{found.relative_error:.1e}"]


def _judged(found, family, kind, method):
    if method == "refit":
        return f"{EXACT:.0e}: {_met(found.relative_error <= EXACT)}"
    if method == "first_order":
        return "none"
    if kind == FAR:
        return "far"
    if family.glm is not None:
        return "free"
    if family.exempt:
        return "exempt"
    return f".99, 1 +- .02: {_met(found.pearson >= 0.99 and abs(found.slope - 1.0) <= 0.02)}"


def _met(met):
    return "met" if met else "MISSED"


def _derivative(family, model, n_rows):
    """`perturbation` of some rows in two features beside differences of fourth order."""
    X, y = family.X, family.y
    rows = changes_of(LABELS, X, y, n_rows).rows
    # Features that an l1 penalty leaves out have derivatives of 0.
    features = np.argsort(np.abs(np.atleast_2d(model.coef_)).sum(axis=0))[-2:]
    explainer = InfluenceExplainer(model).fit(X, y)
    slopes = explainer.perturbation(X, y, rows=rows, features=features)
    value = linear_refits(explainer, X, y)
    actual = np.zeros_like(slopes)
    for i, row in enumerate(rows):
        for j, feature in enumerate(features):
            actual[:, i, j] = _difference(value, X, y, row, feature)
    # The row itself is a query that stays where it was.
    found = agreement(slopes.reshape(len(X), -1), actual.reshape(len(X), -1))
    judged = f"{DERIVATIVE:.0e}: {_met(found.relative_error <= DERIVATIVE)}"
    label = [family.name, family.data, len(X), "derivative", "perturbation"]
    return [*label, *_cells(found), judged]


def _difference(value, X, y, row, feature):
    total = np.zeros(len(X))
    for k, weight in {1: 8.0, 2: -1.0}.items():
        for sign in (1, -1):
            moved = X.copy()
            moved[row, feature] += sign * k * STEP
            total += sign * weight * value(moved, y)
    return total / (12 * STEP)


PARTS = {"replacement": replacement}


def main(argv=None):
    options = parser(__doc__.splitlines()[0]).parse_args(argv)
    warnings.simplefilter("ignore")
    for name in options.only or PARTS:
        note(f"faithfulness_replacement: {name}")
        with threadpool_limits(1):
            text = PARTS[name](options.quick)
        publish(f"faithfulness-{name}", PARTS[name].__doc__.rstrip("."), text, options)


if __name__ == "__main__":
    main()
