"""Write recorded.json: numbers of statsmodels 0.15.0, which has every statistic by refits.

Run ``python -m tests.test_diagnostics.record`` to write it anew. Gamma is recorded with the
expected curvature, as R has it; statsmodels' default mixes both curvatures.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes

from tests.conftest import import_optional

ROWS = [0, 58, 322, 382, 387]
PATH = Path(__file__).with_name("recorded.json")


def standardised(X):
    return (X - X.mean(axis=0)) / X.std(axis=0)


def data():
    """Rows and targets by name."""
    X, y = load_diabetes(return_X_y=True, scaled=False)
    cancer, malignant = load_breast_cancer(return_X_y=True)
    return {
        "ols": (X, y),
        "logit": (standardised(cancer[:, :5]), malignant.astype(float)),
        "poisson": (standardised(X), y),
        "gamma": (standardised(X), y),
    }


def record():
    """All numbers, intercept first."""
    sm = import_optional("statsmodels.api")

    families = {
        "logit": sm.families.Binomial(),
        "poisson": sm.families.Poisson(),
        "gamma": sm.families.Gamma(sm.families.links.Log()),
    }
    found = {}
    for name, (X, y) in data().items():
        rows = sm.add_constant(X)
        if name == "ols":
            result = sm.OLS(y, rows).fit()
            influence = result.get_influence()
        else:
            result = sm.GLM(y, rows, family=families[name]).fit(tol=1e-14, maxiter=200)
            influence = result.get_influence(observed=False)
        numbers = {
            "params": result.params,
            "bse": result.bse,
            "scale": result.scale,
            "leverage": influence.hat_matrix_diag[ROWS],
            "cooks_distance": influence.cooks_distance[0][ROWS],
            "cooks_pvalue": influence.cooks_distance[1][ROWS],
            "sum_cooks": influence.cooks_distance[0].sum(),
            "top_cooks": np.argsort(influence.cooks_distance[0])[::-1][:5],
            "resid_studentized_internal": influence.resid_studentized[ROWS],
            "d_params": influence.d_params[ROWS] if name != "ols" else influence.dfbeta[ROWS],
            "dfbetas": influence.dfbetas[ROWS],
            "dffits_internal": influence.summary_frame()["dffits_internal"].to_numpy()[ROWS],
        }
        if name == "ols":
            numbers["resid_studentized_external"] = influence.resid_studentized_external[ROWS]
            numbers["resid_press"] = influence.resid_press[ROWS]
            numbers["dffits"] = influence.dffits[0][ROWS]
            numbers["cov_ratio"] = influence.cov_ratio[ROWS]
        found[name] = {key: np.asarray(value).tolist() for key, value in numbers.items()}
    return found


if __name__ == "__main__":
    PATH.write_text(json.dumps({"rows": ROWS, **record()}, indent=1) + "\n", encoding="utf-8")
