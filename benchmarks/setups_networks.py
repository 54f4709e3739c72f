"""Jobs for the clock of ``common.measure`` around networks: ours, floors and peers.

Floors and peers get tensors and give tensors; ours gets what a user has and gives NumPy arrays.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from typing import Any

import floors_networks as floors
import numpy as np
import peers_networks as peers
import torch
from common import Job
from nets import NetProblem

from skinfluence import InfluenceExplainer
from skinfluence.torch.gradients import RowGradients
from skinfluence.torch.models import read

# What leaves a process to be compared: the first queries and rows.
QUERIES, ROWS = 16, 250


def corner(scores: Any) -> np.ndarray:
    """The scores, or self influences, that are compared; float64."""
    part = scores[:QUERIES, :ROWS] if scores.ndim == 2 else scores[:ROWS]
    return np.asarray(part.detach().cpu() if torch.is_tensor(part) else part, dtype=np.float64)


# -- ours ---------------------------------------------------------------------------------------


def products(problem: NetProblem, own: bool = False) -> Job:
    """Dot products of row gradients with the queries', or with themselves; routes are found anew.

    They come in float64, (n_queries, n_train).
    """
    given = problem.tensors()

    def run():
        objective = read(given.net, given.X, given.y, loss="cross_entropy")
        network, rows = objective.network, objective.rows
        gradients = RowGradients(network, objective.loss, rows.take(slice(0, 2)))
        if own:
            return torch.cat([block.squares() for _, block in gradients.blocks(rows)]).cpu()
        theirs = gradients.block(objective.read_rows(given.Xq, given.yq).take(slice(None)))
        found = np.empty((len(given.Xq), len(given.X)))
        for part, block in gradients.blocks(rows):
            found[:, part] = theirs.pairs(block).cpu().numpy()
        return found

    return Job(run, corner)


def explainer(problem: NetProblem, damping: float, **options: Any) -> tuple[Any, Any]:
    """An explainer and the rows it is to be fitted on."""
    given = problem.tensors()
    warnings.simplefilter("ignore")
    found = InfluenceExplainer(given.net, loss="cross_entropy", damping=damping, **options)
    return found, given


def scores(problem: NetProblem, damping: float, **options: Any) -> Job:
    """Fit the explainer and score all queries."""
    explained, given = explainer(problem, damping, **options)

    def run():
        return explained.fit(given.X, given.y).score_influence(given.Xq, given.yq)

    return Job(run, corner)


def strongest(problem: NetProblem, damping: float, k: int | None = None, **options: Any) -> Job:
    """The k strongest rows of every query, or all scores; the explainer comes fitted."""
    explained, given = explainer(problem, damping, **options)
    explained.fit(given.X, given.y)

    def run():
        if k is None:
            return explained.score_influence(given.Xq, given.yq)
        return explained.proponents(given.Xq, given.yq, k=k, return_scores=False)

    def digest(found):
        return found[:QUERIES] if k else np.argsort(-found[:QUERIES], axis=1)[:, :10]

    return Job(run, digest)


# -- floors -------------------------------------------------------------------------------------


def floor(problem: NetProblem, function: str, **options: Any) -> Job:
    """A function of :mod:`floors_networks` by name, in the scale of a deletion."""
    run = floor_of(problem, function, **options)
    factor = problem.n if "damping" in options else 1
    return Job(run, lambda found: corner(found) / factor)


def floor_of(problem: NetProblem, function: str, queries: int | None = None, **options: Any):
    """The function on a problem, ready to run."""
    given = problem.tensors(queries=queries)
    of_queries = () if function == "mlp_squares" else (given.Xq, given.yq)
    net = given.net if function.startswith("cnn") else floors.layers_of(given.net)
    arguments = (net, given.X, given.y, *of_queries)
    return lambda: getattr(floors, function)(*arguments, **options).cpu()


def reference(problem: NetProblem, function: str, **options: Any) -> np.ndarray:
    """What the floor gives in float64 for the queries and rows that are compared."""
    found = floor_of(problem.in_type("float64"), function, queries=QUERIES, **options)()
    return corner(found) / (problem.n if "damping" in options else 1)


# -- peers --------------------------------------------------------------------------------------


def peer(
    problem: NetProblem,
    function: str,
    rows: int | None = None,
    queries: int | None = None,
    compared: bool = True,
    **options: Any,
) -> Job:
    """A function of :mod:`peers_networks` by name, on some of the rows or queries."""
    given = problem.tensors(rows, queries)
    quiet()

    def run():
        with contextlib.redirect_stderr(io.StringIO()):
            return getattr(peers, function)(given, **options)

    return Job(run, corner if compared else lambda found: None)


def quiet() -> None:
    """Warnings and log lines of the peers do not get on the terminal."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
