"""Why do two libraries disagree? One logistic regression through all of them, measured.

    python benchmarks/libraries.py

Every library scores the same fitted parameters. The table says by what factor and with what rest
its numbers are ours, and how they agree with real refits.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from functools import partial
from importlib.util import find_spec

import numpy as np
from common import note, parser, publish, table
from peers_torch import captum_naive, dattri_explicit, pydvl_direct
from scipy.stats import spearmanr
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import scale
from torch_problem import TorchProblem

import skinfluence
from skinfluence import InfluenceExplainer
from skinfluence.metrics import leave_one_out

HEADER = [
    "library",
    "call",
    "factor to ours",
    "rest after the factor",
    "Spearman with refits",
    "slope to refits",
    "what makes the difference",
]


def problem():
    """Breast cancer, ten standardised features, no intercept, C = 0.1: a penalty that counts."""
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)[:, :10]
    model = LogisticRegression(C=0.1, fit_intercept=False, tol=1e-12, max_iter=5_000).fit(X, y)
    return X, y, skinfluence.polish(model, X, y)


def ours(X, y, model):
    """Rows of our three methods."""
    for method in ("first_order", "newton", "refit"):
        scores = InfluenceExplainer(model, method=method).fit(X, y).score_influence(X, y)
        yield "skinfluence", f'method="{method}"', scores, "change of the loss by the deletion"


def torch_libraries(X, y, model, damping):
    """Rows of the torch libraries, as they are called and as they are by default."""
    rows = TorchProblem.of((X, y, X, y), model, "float64")
    n = len(X)
    if find_spec("pydvl"):
        call = partial(pydvl_direct, rows)
        yield (
            "pyDVL",
            "Direct, regularization=damping / n",
            call(damping / n),
            "Hessian of the mean loss: no 1 / n",
        )
        yield (
            "pyDVL",
            "Direct, regularization=0",
            call(0.0),
            "the penalty is not in the loss it is given",
        )
        yield (
            "pyDVL",
            "Direct, regularization=damping",
            call(damping),
            "damping n times the penalty",
        )
    if find_spec("captum"):
        call = partial(captum_naive, rows)
        yield (
            "captum",
            "Naive, all directions, hessian_reg=damping",
            call(damping=damping),
            "sum of the losses, as ours",
        )
        yield (
            "captum",
            "Naive, hessian_reg=1e-6 (default)",
            call(damping=1e-6),
            "the penalty is left out",
        )
        yield (
            "captum",
            "Naive, projection_dim=5",
            call(damping=damping, projection_dim=5),
            "only the strongest directions of the inverse (default 50)",
        )
    if find_spec("dattri"):
        call = partial(dattri_explicit, rows)
        yield (
            "dattri",
            "Explicit, one batch, regularization=damping / n",
            call(damping / n),
            "Hessian of the mean loss: no 1 / n",
        )
        for size in (284, 57):
            count = -(-n // size)
            yield (
                "dattri",
                f"the same in {count} batches",
                call(damping / n, size),
                "sums the inverses of the batches' Hessians",
            )


def statsmodels(X, y, model, damping):
    """Row of statsmodels' one-step changes of the coefficients, turned into changes of losses."""
    if not find_spec("statsmodels"):
        return
    import statsmodels.api as sm

    fit = sm.GLM(y, X, family=sm.families.Binomial()).fit()
    moves = -fit.get_influence().d_params.T
    signs = 2.0 * y - 1.0
    before = X @ fit.params
    changes = np.logaddexp(0, -signs[:, None] * (before[:, None] + X @ moves))
    changes -= np.logaddexp(0, -signs * before)[:, None]
    yield (
        "statsmodels",
        "GLM.get_influence, losses at params - d_params",
        changes,
        "a fit without the penalty; d_params has the other sign",
    )


def main(argv=None):
    options = parser(__doc__.splitlines()[0]).parse_args(argv)
    warnings.simplefilter("ignore")
    X, y, model = problem()
    damping = 1.0 / model.C
    watched = np.random.default_rng(0).choice(len(X), 20 if options.quick else 150, replace=False)
    note("libraries: refits")
    truth = leave_one_out(model, X, y, loss="log_loss", rows=watched, polish=skinfluence.polish)
    results = [*ours(X, y, model)]
    note("libraries: peers")
    with contextlib.redirect_stderr(io.StringIO()):
        results += torch_libraries(X, y, model, damping)
    results += statsmodels(X, y, model, damping)
    reference = results[0][2]
    rows = [
        [name, call, *_compared(scores, reference, watched, truth), reason]
        for name, call, scores, reason in results
    ]
    text = f"""\
Breast cancer, {len(X)} rows, ten standardised features, logistic regression without intercept,
C = {model.C} (penalty {damping:g} |w|^2 / 2), float64, all at the same polished coefficients.
Factor: least squares of the library's scores on our first-order scores; rest: what that leaves,
relative. Spearman and slope: against {len(watched)} polished refits, all queries; a slope of 1
is the unit of the loss. All have the sign of ours: positive where the row helps.

{table(HEADER, rows)}"""
    publish("libraries", "Why do two libraries disagree?", text, options)


def _compared(scores, reference, watched, truth):
    scores = np.asarray(scores, dtype=np.float64)
    factor = float((scores * reference).sum() / (reference**2).sum())
    rest = float(np.linalg.norm(scores - factor * reference) / np.linalg.norm(scores))
    own = scores[:, watched].ravel()
    slope = float((own * truth.ravel()).sum() / (own**2).sum())
    rank = float(spearmanr(own, truth.ravel()).statistic)
    return f"{factor:.4g}", f"{rest:.1e}", f"{rank:.4f}", f"{slope:.4g}"


if __name__ == "__main__":
    main()
