"""Faithfulness of exact deletions and replacements: every such model against polished refits.

    python benchmarks/faithfulness_exact.py [--only exact smoothed] [--quick]

Every refit is one by the estimator itself, to the changed rows; support vector machines, factor
analysis and curves of calibrated classifiers are then taken to the optimum they had in mind. The
second table is what smoothed kernel machines say instead, beside the path.
"""

from __future__ import annotations

import warnings

import numpy as np
from changed import DELETIONS, FAR, INPUTS, LABELS, changes_of, largest_error, truth
from common import note, parser, publish, table
from members import MEMBERS, WHOLE, data_of, machines
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from skinfluence import InfluenceExplainer
from skinfluence.deletion.closed.families import registered
from skinfluence.metrics import agreement

# Most a score may be off, relative to the largest.
TARGET = 1e-8
ABOUT = """\
Changes of the loss, or of what is named, at all rows when one row is deleted, takes other inputs
(half-way to another row or nearer to it; another row's counts), far ones (up to as far behind that
row), or another label (another row's number): {n} rows at random each, against polished refits.
What stands there is the largest difference of all pairs over the largest change. `refit`: the
model has no closed form, and its scores are refits of their own. Kernels and widths are held;
nothing else is.

"""
KERNEL_HEADER = ["model", "data", "rows", "method", "t", "Pearson", "slope", "relative error"]
ABOUT_SMOOTHED = """\
Changes of decisions (of regressions: of predictions; of three classes: between the last and the
first) at all rows for all deletions, by derivatives of losses whose kinks are rounded off at
temperature t, against the exact path. There is no target: a deletion makes several rows meet or
leave the margin, and a step from where the machine was sees none of that.

"""


def exact(quick):
    """Every model with exact deletions: deletions, replacements and label changes."""
    n, n_changes = (60, 3) if quick else (300, 40)
    rows, seen = [], set()
    for member in (each for group in MEMBERS for each in group()):
        note(f"  {member.name}, {member.data}")
        seen.add(type(member.estimator))
        rows.append(_errors(member, n, n_changes))
    missing = {cls.__name__ for cls in set(registered()) - seen}
    if missing:
        raise RuntimeError(f"no member for {sorted(missing)}: add one to members.py")
    header = ["model", "data", "rows", "method", DELETIONS, INPUTS, FAR, LABELS, "target"]
    return ABOUT.format(n=n_changes) + table(header, rows)


def _errors(member, n, n_changes):
    X, y = data_of(member.data, n)
    given = (X,) if y is None else (X, y)
    model = clone(member.estimator).fit(*given)
    explainer = InfluenceExplainer(model, **member.options).fit(*given)
    cells, worst = [], 0.0
    for kind in (DELETIONS, INPUTS, FAR, LABELS):
        if (y is None and kind == LABELS) or (member.data in WHOLE and kind == FAR):
            cells.append("")
            continue
        try:
            changes = changes_of(kind, X, y, n_changes, whole=member.data in WHOLE)
            actual = truth(explainer, changes)
            error = largest_error(changes.scores(explainer), actual)
        except Exception as refusal:
            cells.append(f"refused: {type(refusal).__name__}")
            worst = np.inf
            continue
        cells.append(f"{error:.1e}")
        worst = max(worst, error)
    met = "met" if worst <= TARGET else "MISSED"
    return [member.name, member.data, len(X), explainer.method_, *cells, f"{TARGET:.0e}: {met}"]


def smoothed(quick):
    """Kernel machines by derivatives of smoothed losses, beside their exact path."""
    n = 80 if quick else 300
    rows = []
    for member in list(machines())[: 1 if quick else None]:
        note(f"  {member.name}, {member.data}")
        X, y = data_of(member.data, n)
        given = (X,) if y is None else (X, y)
        model = clone(member.estimator).fit(*given)
        label = [member.name.removesuffix(", decisions"), member.data, len(X)]
        path = _decisions(model, given)
        for method in ("first_order", "newton"):
            for t in (0.001, 0.01, 0.1):
                found = agreement(_decisions(model, given, method=method, smoothing=t), path)
                cells = [f"{found.pearson:.4f}", f"{found.slope:.3f}"]
                rows.append([*label, method, t, *cells, f"{found.relative_error:.2f}"])
    return ABOUT_SMOOTHED + table(KERNEL_HEADER, rows)


def _decisions(model, given, **options):
    """Changes of decisions at all rows; of several classes for the last against the first."""
    if len(getattr(model, "classes_", [])) > 2:
        # Decisions for single classes are votes, which jump.
        model = clone(model).set_params(decision_function_shape="ovo").fit(*given)
        options["output"] = model.classes_[-1], model.classes_[0]
    explainer = InfluenceExplainer(model, target="decision_function", **options).fit(*given)
    return explainer.score_influence(given[0])


PARTS = {"exact": exact, "smoothed": smoothed}


def main(argv=None):
    options = parser(__doc__.splitlines()[0]).parse_args(argv)
    warnings.simplefilter("ignore")
    for name in options.only or PARTS:
        note(f"faithfulness_exact: {name}")
        with threadpool_limits(1):
            text = PARTS[name](options.quick)
        publish(f"faithfulness-{name}", PARTS[name].__doc__.rstrip("."), text, options)


if __name__ == "__main__":
    main()
