"""Jobs for the clock of ``common.measure`` around representer values: ours, floors and peers."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from common import Job
from sklearn.linear_model import LogisticRegression

from skinfluence import RepresenterExplainer

# What leaves a process to be compared: the first queries and rows.
QUERIES, ROWS = 16, 250


@dataclass(frozen=True)
class HeadProblem:
    """The last layer of a network over features that rectifiers gave; rows are redrawn.

    Parameters
    ----------
    n, m : int
        Training rows and queries.
    d : int, default=512
        Features.
    n_classes : int, default=10
    """

    n: int
    m: int
    d: int = 512
    n_classes: int = 10

    @cached_property
    def drawn(self) -> tuple[np.ndarray, ...]:
        """Features and classes of the rows, and of the queries; float32."""
        rng = np.random.default_rng(0)
        y = rng.integers(0, self.n_classes, self.n + self.m)
        rows = rng.standard_normal((len(y), self.d), dtype=np.float32)
        rows += 0.3 * self.centres[y]
        np.maximum(rows, 0.0, out=rows)
        return rows[: self.n], y[: self.n], rows[self.n :], y[self.n :]

    @cached_property
    def centres(self) -> np.ndarray:
        """Of the classes, (n_classes, d), float32."""
        rng = np.random.default_rng(1)
        return rng.standard_normal((self.n_classes, self.d), dtype=np.float32)

    def module(self) -> torch.nn.Module:
        """A layer whose logits spread as those of a trained network do."""
        layer = torch.nn.Linear(self.d, self.n_classes)
        with torch.no_grad():
            layer.weight.copy_(torch.as_tensor(0.15 * self.centres))
            layer.bias.zero_()
        return torch.nn.Sequential(layer).eval()


def explainer(problem: HeadProblem, **options: Any) -> RepresenterExplainer:
    warnings.simplefilter("ignore")  # labels make another layer than the outputs
    return RepresenterExplainer(problem.module(), loss="cross_entropy", **options)


# -- values ---------------------------------------------------------------------------------------


def corner(values: np.ndarray) -> np.ndarray:
    """The values that are compared; float64."""
    return np.array(values[:QUERIES, :ROWS], dtype=np.float64)


def values(problem: HeadProblem, one_by_one: bool = False, k: int | None = None) -> Job:
    """Values of all queries, of the class each has; the explainer comes fitted."""
    X, y, Z, asked = problem.drawn
    fitted = explainer(problem, l2=1e-3 * problem.n).fit(X, y)
    if k is not None:
        return Job(lambda: fitted.proponents(Z, asked, k=k, return_scores=False))
    if one_by_one:
        return Job(lambda: [fitted.score_influence(z[None], asked[[i]]) for i, z in enumerate(Z)])
    return Job(lambda: fitted.score_influence(Z, asked), corner)


def product(problem: HeadProblem) -> Job:
    """One product of the queries' features with those of all rows, float64."""
    X, _, Z, _ = (np.asarray(part, dtype=np.float64) for part in problem.drawn)
    return Job(lambda: Z @ X.T)


def published(problem: HeadProblem, queries: int | None = None) -> Job:
    """Query by query ``alpha_c * (F f)``, as the published scripts do it; alpha is there."""
    X, y, Z, asked = problem.drawn
    alpha = explainer(problem, l2=1e-3 * problem.n).fit(X, y).alpha_
    X, Z = X.astype(np.float64), Z[:queries].astype(np.float64)

    def run():
        return [alpha[:, c] * (X @ z) for z, c in zip(Z, asked[: len(Z)], strict=True)]

    return Job(run, lambda found: corner(np.stack(found[:QUERIES])))


# -- fits -----------------------------------------------------------------------------------------


def fit(problem: HeadProblem, **options: Any) -> Job:
    """Features, refit and alpha; what leaves it is the relative error of the decomposition."""
    X, y, _, _ = problem.drawn

    def run():
        return explainer(problem, **options).fit(X, y)

    def digest(found):
        largest = np.abs(X[:1000] @ found.estimator_[0].weight.detach().numpy().T).max()
        return found.reconstruction_.decomposition_error / largest

    return Job(run, digest)


def sklearn_fit(problem: HeadProblem, l2: float, tol: float) -> Job:
    """scikit-learn's L-BFGS on the labels, and its sums over rows beside its outputs."""
    warnings.simplefilter("ignore")
    X, y, _, _ = problem.drawn
    X = X.astype(np.float64)

    def run():
        model = LogisticRegression(C=1.0 / l2, tol=tol, max_iter=2_000).fit(X, y)
        onehot = y[:, None] == model.classes_
        return model, (onehot - model.predict_proba(X)) / l2

    def digest(found):
        model, alpha = found
        outputs = X[:1000] @ model.coef_.T
        return float(np.abs(X[:1000] @ (X.T @ alpha) - outputs).max() / np.abs(outputs).max())

    return Job(run, digest)
