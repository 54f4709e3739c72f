"""Jobs for the clock of ``common.measure`` around tracing: ours, floors and peers."""

from __future__ import annotations

import warnings
from typing import Any

import floors_tracing as floors
import numpy as np
import peers_tracing as peers
import torch
from common import Job
from setups_networks import QUERIES, ROWS, corner
from vaes import VaeProblem

from skinfluence import TracInExplainer


def explainer(problem: VaeProblem, **options: Any) -> TracInExplainer:
    """One checkpoint, rate 1 as in the paper, no threshold of outliers."""
    return TracInExplainer(
        problem.module(),
        loss="elbo",
        learning_rates=1.0,
        n_draws=problem.draws,
        contamination=None,
        random_state=0,
        **options,
    )


def scores(problem: VaeProblem, **options: Any) -> Job:
    """Fit the explainer and score all queries."""
    X, Z = problem.arrays()
    explained = explainer(problem, **options)
    return Job(lambda: explained.fit(X).score_influence(Z), corner)


def own(problem: VaeProblem) -> Job:
    """Fit the explainer, self influence and its standard error."""
    warnings.simplefilter("ignore")
    X, _ = problem.arrays()
    explained = explainer(problem)

    def run():
        return explained.fit(X).self_influence(return_std=True)

    return Job(run, lambda found: np.stack([part[:ROWS] for part in found]))


def floor(problem: VaeProblem, own: bool = False, rows: int | None = None) -> Job:
    """The least arithmetic, for some rows; noise is drawn before the clock starts."""
    networks = floors.networks_of(problem.module())
    given = problem.rows(rows)
    if own:
        return Job(lambda: floors.vae_squares(networks, *given), corner)
    asked = problem.queries()
    return Job(lambda: floors.vae_products(networks, *given, *asked), corner)


def peer(problem: VaeProblem, function: str, rows: int | None = None, **options: Any) -> Job:
    """A function of :mod:`peers_tracing` on some rows; the queries' gradients are there."""
    module, given = problem.module(), problem.rows(rows)
    queries = peers.query_gradients(module, *problem.queries())
    return Job(lambda: getattr(peers, function)(module, queries, *given, **options), corner)


def reference(problem: VaeProblem, own: bool = False) -> np.ndarray:
    """What the floor gives in float64 for the queries and rows that are compared."""
    problem = problem.in_type("float64")
    networks = floors.networks_of(problem.module())
    with torch.no_grad():
        if own:
            return corner(floors.vae_squares(networks, *problem.rows(ROWS)))
        found = floors.vae_products(networks, *problem.rows(ROWS), *problem.queries(QUERIES))
    return corner(found)
