"""Tables of what InfluenceExplainer reads, from the registry, with measured errors."""

import inspect
import warnings

import numpy as np
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, QuantileRegressor, SGDClassifier
from sklearn.svm import LinearSVC, LinearSVR

from skinfluence import InfluenceExplainer
from skinfluence.exceptions import NotStationaryWarning
from skinfluence.objectives import registered

N_ROWS, N_COLUMNS = 150, 4


def data_for(estimator, n_classes=2):
    """Rows that any estimator of its kind takes: labels, positive targets, or two columns."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N_ROWS, N_COLUMNS))
    eta = X @ [0.6, -0.4, 0.2, 0.0] + 0.5 * rng.standard_normal(N_ROWS)
    if is_classifier(estimator):
        return X, np.digitize(eta, np.linspace(-0.3, 0.3, n_classes - 1))
    y = np.exp(0.5 * eta)
    return X, np.column_stack([y, eta]) if type(estimator).__name__.startswith("Multi") else y


def explained_by(estimator, method, **kwargs):
    """Relative error of a method against real refits, or None where it is refused."""
    X, y = data_for(estimator, **kwargs)
    try:
        explainer = InfluenceExplainer(estimator, method=method, random_state=0).fit(X, y)
    except ValueError:
        return None
    return explainer.method_, explainer.validate(n_refits=8, random_state=0).relative_error


def shown(found):
    if found is None:
        return "refused"
    return "exact" if found[1] < 1e-6 else f"{100 * found[1]:.2g} %"


def measured(estimator, **kwargs):
    methods = ("first_order", "newton", "refit", "auto")
    *found, auto = (explained_by(estimator, method, **kwargs) for method in methods)
    return [
        *map(shown, found),
        f"``{auto[0]}``, {shown(auto)}" if auto[0] == "exact" else f"``{auto[0]}``",
    ]


def families():
    """Estimators of each reader, in order of registration."""
    found = {}
    for estimator, reader in registered().items():
        found.setdefault(reader, []).append(estimator)
    return found


header = ("estimators", "minimise")
rows = []
for reader, estimators in families().items():
    names = ", ".join(f"`{estimator.__name__}`" for estimator in estimators)
    paragraphs = inspect.getdoc(type(reader)).split("\n\n")
    rows.append([names, " ".join(paragraphs[0].split())])

with warnings.catch_warnings():
    for category in (NotStationaryWarning, ConvergenceWarning, FutureWarning):
        warnings.simplefilter("ignore", category)
    error_header = ("fit", "first order", "newton", "refit", "auto")
    errors = []
    for reader, estimators in families().items():
        try:
            import time

            t = time.time()
            errors.append([f"{estimators[0].__name__}", *measured(estimators[0]())])
            print(errors[-1], time.time() - t)
        except Exception as e:
            print(estimators[0], repr(e)[:300])
