"""What InfluenceExplainer reads, from its registry, and how exact each method is there."""

import inspect
import re
import warnings

import numpy as np
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import (
    GammaRegressor,
    HuberRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    MultiTaskLasso,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.svm import LinearSVC, LinearSVR

from skinfluence import InfluenceExplainer
from skinfluence.objectives import registered

N_ROWS = 200


def families():
    """Readers with their estimators, in order of registration."""
    found = {}
    for estimator, reader in registered().items():
        found.setdefault(reader, []).append(estimator.__name__)
    return found


def data_for(estimator, n_classes):
    """Rows that any estimator of its kind takes: labels, positive targets, or two columns."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N_ROWS, 4))
    eta = X @ [0.6, -0.4, 0.2, 0.0] + 0.5 * rng.standard_normal(N_ROWS)
    if is_classifier(estimator):
        return X, np.digitize(eta, np.linspace(-0.3, 0.3, n_classes - 1))
    y = np.exp(0.5 * eta)
    return X, np.column_stack([y, eta]) if type(estimator).__name__.startswith("Multi") else y


def error(estimator, method, n_classes, **options):
    """Error of a method against real refits, in words."""
    X, y = data_for(estimator, n_classes)
    try:
        explainer = InfluenceExplainer(estimator, method=method, **options).fit(X, y)
    except ValueError:
        return "refused"
    found = explainer.validate(n_refits=8, random_state=0).relative_error
    return "exact" if found < 1e-6 else f"{100 * found:.{2 if found < 1 else 3}g} %"


CASES = {
    "`LinearRegression`": LinearRegression(),
    "`Ridge`, `RidgeCV`": Ridge(),
    "`RidgeClassifier`": RidgeClassifier(),
    "`Lasso`, `ElasticNet`": Lasso(0.05),
    "`MultiTaskLasso`, ...": MultiTaskLasso(0.05),
    "`LogisticRegression`, two classes": LogisticRegression(tol=1e-8),
    "... three classes": (LogisticRegression(tol=1e-8), 3),
    '... ``class_weight="balanced"``': LogisticRegression(class_weight="balanced", tol=1e-8),
    '... with ``class_weights="fixed"``': LogisticRegression(class_weight="balanced", tol=1e-8),
    "... liblinear": LogisticRegression(solver="liblinear", tol=1e-8),
    "`PoissonRegressor`": PoissonRegressor(alpha=0.01, tol=1e-8),
    "`GammaRegressor`": GammaRegressor(alpha=0.01, tol=1e-8),
    "`HuberRegressor`": HuberRegressor(max_iter=1000, tol=1e-8),
    "`LinearSVC`, squared hinge": LinearSVC(tol=1e-8, max_iter=100_000),
    "... hinge": LinearSVC(loss="hinge", tol=1e-8, max_iter=100_000),
    "`LinearSVR`, squared": LinearSVR(
        loss="squared_epsilon_insensitive", epsilon=0.1, tol=1e-8, max_iter=100_000
    ),
    "... epsilon-insensitive": LinearSVR(epsilon=0.1, tol=1e-8, max_iter=100_000),
    "`QuantileRegressor`": QuantileRegressor(alpha=0.01),
    "`SGDClassifier`, log-loss": SGDClassifier(
        loss="log_loss", alpha=0.01, average=True, tol=None, max_iter=300, random_state=0
    ),
    "... hinge, l2": SGDClassifier(alpha=0.01, tol=None, max_iter=300, random_state=0),
}


def documentation(reader):
    """First paragraph of a reader's docstring, and the others."""
    text = re.sub(r":class:`(\w+)Reader`", r"`\1`", inspect.getdoc(type(reader)))
    first, *rest = (" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
    return [first, " ".join(rest)]


header = ("Estimators", "Minimise", "Notes")
rows = [
    [", ".join(f"`{name}`" for name in names), *documentation(reader)]
    for reader, names in families().items()
]

error_header = ("Fit", "``first_order``", "``newton``", "``refit``")
error_rows = []
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvergenceWarning)
    for name, case in CASES.items():
        estimator, n_classes = case if isinstance(case, tuple) else (case, 2)
        options = {"class_weights": "fixed"} if "fixed" in name else {}
        methods = ("first_order", "newton", "refit")
        errors = [error(estimator, method, n_classes, **options) for method in methods]
        error_rows.append([name, *errors])
