"""Every estimator of scikit-learn, made with little and tried on a few rows.

The table of the documentation and the test that keeps it true are both made of this.
"""

from __future__ import annotations

import inspect
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier, is_regressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from skinfluence.base import BaseInfluence
from skinfluence.coverage.lines import Line
from skinfluence.explainers.tracin import TracInExplainer

Array = NDArray[np.float64]

N_ROWS = 36

# Options without which a class cannot be made, or its fit to a few rows says nothing.
_OPTIONS: dict[str, dict[str, Any]] = {
    "CategoricalNB": {"min_categories": 6},
    "ElasticNet": {"alpha": 0.1},
    "GaussianMixture": {"n_components": 2, "random_state": 0},
    "FactorAnalysis": {"n_components": 1, "tol": 1e-8},
    "KNeighborsClassifier": {"n_neighbors": 15},
    "Lasso": {"alpha": 0.1},
    "LassoLars": {"alpha": 0.1},
    "MLPClassifier": {"hidden_layer_sizes": (3,), "max_iter": 20, "random_state": 0},
    "MLPRegressor": {"hidden_layer_sizes": (3,), "max_iter": 20, "random_state": 0},
    "MultiTaskElasticNet": {"alpha": 0.1},
    "MultiTaskLasso": {"alpha": 0.1},
    "PCA": {"n_components": 2},
    "Perceptron": {"max_iter": 5, "tol": None},
    "SGDClassifier": {"random_state": 0},
    "SGDRegressor": {"random_state": 0},
    "SparseCoder": {"dictionary": np.eye(3)},
}
# Their rows are counts.
_COUNTS = ("CategoricalNB", "ComplementNB", "MultinomialNB")


def example_of(cls: type) -> Any:
    """An unfitted estimator of a class, with its defaults wherever it has any.

    Wrappers are made around Ridge or LogisticRegression, which are explained.
    """
    inner = Ridge() if "Regress" in cls.__name__ else LogisticRegression()
    made = {
        "estimator": inner,
        "base_estimator": inner,
        "estimators": [("inner", inner)],
        "steps": [("scaler", StandardScaler()), ("inner", LogisticRegression())],
        "transformer_list": [("scaler", StandardScaler())],
        "transformers": [("scaler", StandardScaler(), [0])],
        "param_grid": {"C": [1.0]},
        "param_distributions": {"C": [0.5, 1.0]},
        "regressor": inner,
    }
    known = inspect.signature(cls).parameters
    options = {name: made[name] for name, p in known.items() if name in made and _open(p)}
    options.update(_OPTIONS.get(cls.__name__, {}))
    if "n_iter" in known and "param_distributions" in known:
        options["n_iter"] = 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated ones have a line too
        return cls(**options)


def _open(parameter: inspect.Parameter) -> bool:
    """Whether a parameter has to be given, or is an estimator that is None by default."""
    return parameter.default is inspect.Parameter.empty or parameter.default is None


def rows_for(estimator: Any) -> tuple[Array, NDArray[Any] | None]:
    """Rows and targets that an estimator takes."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N_ROWS, 3))
    eta = X @ [1.0, -0.7, 0.3] + 0.7 * rng.standard_normal(N_ROWS)
    tags = get_tags(estimator)
    if type(estimator).__name__ in _COUNTS:
        X = np.clip(np.round(X + 2), 0, 4)
    if is_classifier(estimator):
        y = (eta > 0).astype(np.intp)
    elif is_regressor(estimator):
        y = np.exp(eta)
    else:
        return X, None
    if tags.target_tags.multi_output and not tags.target_tags.single_output:
        return X, np.column_stack([y, y[::-1]])
    return X, y


@dataclass(frozen=True)
class Trial:
    """One estimator, fitted to a few rows and explained.

    Parameters
    ----------
    line : Line
        What was tried.
    method : str
        ``method_`` of the explainer; "exact" of those that have but one.
    scores : ndarray of shape (n_train, n_train)
        Of all rows on all rows.
    error : float or None
        Largest error against real refits of four rows, relative to the largest change; None of
        explainers whose scores are not deletions.
    """

    line: Line
    method: str
    scores: Array
    error: float | None

    @property
    def exact(self) -> bool:
        """Whether scores are those of real refits, whatever the rows."""
        return self.method in ("exact", "refit") or (
            self.method == "newton" and self.line.quadratic
        )


def try_out(line: Line) -> Trial:
    """Fit the first explainer of a line to a few rows, and compare it with refits."""
    X, y = rows_for(line.estimator)
    explainer: Any = _explainer_of(line)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if isinstance(line.estimator, FrozenEstimator):
            line.estimator.estimator.fit(X, y)  # nobody else will
        explainer.fit(X) if y is None else explainer.fit(X, y)
        scores = explainer.score_influence(X) if y is None else explainer.score_influence(X, y)
        return Trial(line, getattr(explainer, "method_", "exact"), scores, _error(explainer))


def _explainer_of(line: Line) -> BaseInfluence:
    explainer = line.explainers[0]
    if explainer is TracInExplainer:
        return explainer(line.estimator, n_checkpoints=2)
    return explainer(line.estimator)


def _error(explainer: Any) -> float | None:
    if isinstance(explainer, TracInExplainer) or hasattr(explainer, "curvature_"):
        return None  # retraining a network says more about its seeds than about its rows
    return float(explainer.validate(n_refits=4, random_state=0).relative_error)
