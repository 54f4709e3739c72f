"""What the cases of ``speed_sketch.py`` run: floors and ours."""

from __future__ import annotations

import warnings

import numpy as np
from common import Job
from scipy import linalg
from scipy.special import expit
from sketch_problem import SketchProblem

from skinfluence import InfluenceSketch
from skinfluence.exceptions import NotStationaryWarning


def made(problem: SketchProblem, model) -> Job:
    """Making the rows twice, and nothing else."""
    return Job(lambda: sum(len(y) for _ in range(2) for _, y in problem.blocks()))


def floor(problem: SketchProblem, model, k: int, projection: str) -> Job:
    """The formula in plain NumPy and SciPy: two passes, projections, one Gram matrix."""
    omega = _sketch(model, k, projection)._engine.sketcher.projections[0].omegas[0]
    coef, intercept = model.coef_.T, model.intercept_

    def rows(X, y):
        p = expit((X @ coef + intercept)[:, 0])
        Z = X @ omega
        Z = Z if isinstance(Z, np.ndarray) else Z.toarray()
        v = p * (1.0 - p)
        return np.hstack([Z, np.ones((len(Z), 1))]) * np.sqrt(v)[:, None], (y - p) ** 2, v

    def run():
        gram = 0.0
        for X, y in problem.blocks():
            for part in range(0, len(y), 5_000):
                Z, _, _ = rows(X[part : part + 5_000], y[part : part + 5_000])
                gram = gram + Z.T @ Z
        product = omega.T @ omega
        product = product if isinstance(product, np.ndarray) else product.toarray()
        gram[:-1, :-1] += problem.n * model.alpha * product
        inverse = linalg.inv(linalg.cholesky(gram))
        scores = []
        for X, y in problem.blocks():
            for part in range(0, len(y), 5_000):
                Z, r, v = rows(X[part : part + 5_000], y[part : part + 5_000])
                h = np.square(Z @ inverse).sum(axis=1)
                scores.append(r / v * h / (1.0 - h))
        return np.concatenate(scores)

    return Job(run, lambda scores: scores)


def _sketch(model, k, projection, **options):
    # A sketch of one row draws the projection.
    sketch = InfluenceSketch(
        model, n_components=k, projection=projection, random_state=0, **options
    )
    row = np.zeros((2, model.coef_.shape[1]), dtype=np.float32)
    return sketch.partial_fit(row, model.classes_)


def sketched(problem: SketchProblem, model, k: int, projection: str) -> Job:
    """``InfluenceSketch.fit`` over the blocks, and the scores."""

    def run():
        sketch = InfluenceSketch(model, n_components=k, projection=projection, random_state=0)
        with warnings.catch_warnings():
            # Two epochs of SGD are far from a minimum in the rarest features.
            warnings.simplefilter("ignore", NotStationaryWarning)
            return sketch.fit(problem.blocks)

    return Job(run, _digest)


def _digest(sketch):
    scores = sketch.self_influence()
    residuals = sketch.diagnostics().resid_pearson
    return {
        "scores": scores,
        "squares": np.square(residuals),
        "leverage": sketch.leverage_,
        "shrinkage": sketch.shrinkage_,
        "stationarity": sketch.stationarity_,
    }
