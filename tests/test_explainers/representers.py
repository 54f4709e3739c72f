"""What tests of representers share."""

import warnings

import numpy as np
import pytest

from skinfluence import RepresenterExplainer
from tests.cases import ROWS, TARGETS

TIGHT = {"tol": 1e-10, "max_iter": 20_000}
BINARY, CLASSES, REAL = TARGETS["binary"], TARGETS["classes"], TARGETS["real"]
OUTPUTS = TARGETS["outputs"]
WEIGHTS = np.random.default_rng(0).uniform(0.2, 3.0, size=len(ROWS))
QUERIES = ROWS[:6] + 0.3


def explain(model, y, X=ROWS, **options):
    fit = {k: options.pop(k) for k in ("sample_weight",) if k in options}
    return RepresenterExplainer(model, **options).fit(X, y, **fit)


def refused(message, error=ValueError):
    return pytest.raises(error, match=message)


def outputs_of(model, X):
    """Decision function or prediction, (m, K)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = getattr(model, "decision_function", model.predict)(X)
    return found[:, None] if found.ndim == 1 else found
