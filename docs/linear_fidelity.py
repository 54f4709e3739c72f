"""The table of the three fidelities: all pairs of rows, against refits."""

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.linear_model import (
    GammaRegressor,
    HuberRegressor,
    Lasso,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
)
from sklearn.preprocessing import scale
from sklearn.svm import LinearSVC

from skinfluence import InfluenceExplainer
from skinfluence.metrics import agreement

diabetes = load_diabetes(return_X_y=True)
patients = scale(diabetes[0]), diabetes[1]
flowers = load_iris(return_X_y=True)
cells = load_breast_cancer(return_X_y=True)
cells = scale(cells[0]), cells[1]

CASES = {
    "`Ridge`, diabetes": (Ridge(), patients),
    "`Lasso`, diabetes": (Lasso(1.0), patients),
    "`PoissonRegressor`, diabetes": (PoissonRegressor(alpha=1e-3), patients),
    "`GammaRegressor`, diabetes": (GammaRegressor(alpha=1e-3), patients),
    "`HuberRegressor`, diabetes": (HuberRegressor(max_iter=10_000), patients),
    "`LogisticRegression`, iris": (LogisticRegression(max_iter=1000), flowers),
    "`LogisticRegression`, cancer": (LogisticRegression(max_iter=1000), cells),
    "`LinearSVC`, cancer": (LinearSVC(C=0.1, max_iter=100_000), cells),
}


def percent(error):
    return "exact" if error < 1e-6 else f"{100 * error:.2g} %"


def scores_by(method, model, X, y):
    explainer = InfluenceExplainer(model, method=method).fit(X, y)
    return explainer.score_influence(X, y), explainer


header = ("Model and rows", "``first_order``", "", "``newton``", "", "``refit``")
table = [["", "correlation", "error", "correlation", "error", "error"]]
for name, (model, (X, y)) in CASES.items():
    model.fit(X, y)
    truth, explainer = scores_by("refit", model, X, y)
    row = [name]
    for method in ("first_order", "newton"):
        result = agreement(scores_by(method, model, X, y)[0], truth)
        correlation = np.floor(1e4 * result.pearson) / 1e4
        row += [f"{correlation:.4f}", percent(result.relative_error)]
    checked = explainer.validate(n_refits=5, random_state=0).relative_error
    table.append([*row, percent(checked)])
