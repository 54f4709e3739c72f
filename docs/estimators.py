"""The table of all estimators of scikit-learn: the explained are tried, the others refused."""

import re
from collections import Counter

from sklearn.utils import all_estimators

import skinfluence
from skinfluence.coverage import example_of, line_of, try_out
from skinfluence.objectives.search import CHOSEN
from skinfluence.reasons import reason_of

# What a method does, for those whose name does not say it.
METHODS = {
    "newton": "a Newton step a row",
    "first_order": "to first order",
    "implicit": "the derivative of the fixed point of EM",
    "refit": "a refit a row",
    "tracin": "along its training",
}

# What stays as it is while a row goes.
HELD = {
    "CalibratedClassifierCV": "The classifier inside is held fixed, and its curve moves.",
    "GaussianProcessClassifier": "Its kernel is held fixed.",
    "GaussianProcessRegressor": "Its kernel is held fixed.",
    **{search.__name__: "What its search chose is held fixed." for search in CHOSEN},
}

ESTIMATORS = dict(all_estimators())
NAMES = {*ESTIMATORS, *skinfluence.__all__, "BetaVAE"}
# Calls and options, then names of attributes and classes.
CODE = re.compile(r"\w+\([^()]*(?:\([^()]*\))?\)|\w+=\"?\w+\"?|\w*_\w*|[A-Z]\w+")


def _alphabet(item):
    return item[0].lower()


def marked(text):
    """Sentences of a refusal with code and the names of classes set as code."""

    def mark(found):
        code = found[0]
        if code in NAMES:
            return f"`{code}`"
        return code if code.isalpha() else f"``{code}``"

    return CODE.sub(mark, text)


def row_of(name, cls):
    """Estimator, answer, by what or why not, and what instead or beside it."""
    line = line_of(example_of(cls))
    start = [f"`{name}`"]
    if not line.explainers:
        refusal = reason_of(line.estimator)
        reason = f"{refusal.reason[0].upper()}{refusal.reason[1:]}."
        return [*start, "refused", marked(reason), marked(refusal.instead_of(line.estimator))]
    by = f"`{line.explainers[0].__name__}`"
    if line.wraps:
        return [*start, "as what is inside", by, ""]
    trial = try_out(line)
    how = METHODS.get(trial.method)
    also = ", ".join(f"`{other.__name__}`" for other in line.explainers[1:])
    return [
        *start,
        "exact" if trial.exact else "approximate",
        by if how is None else f"{by}, {how}",
        " ".join([HELD.get(name, ""), f"Also {also}." if also else ""]).strip(),
    ]


header = ("Estimator", "Answer", "By what, or why not", "Instead, or to be known")
rows = [row_of(name, cls) for name, cls in sorted(ESTIMATORS.items(), key=_alphabet)]

counts = Counter(row[1] for row in rows)
count_header = ("Answer", "Estimators")
count_rows = [
    [answer, counts[answer]] for answer in ("exact", "approximate", "as what is inside", "refused")
]
