"""Influence by the torch libraries on a linear classifier: jobs for the clock.

Each library gets the parameters of the scikit-learn fit, in its own words: pyDVL and dattri take
the mean of the losses, so that a penalty |w|^2 / 2 is damping by 1 / n; captum sums them, so that
it is damping by 1. The models have no intercept, whose damping would differ from the penalty.
Results are (n_queries, n_train) in the library's own sign and scale.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from common import Job
from torch_problem import TorchProblem

Scores = Callable[[TorchProblem], Any]


def torch_scores(make, model, library: str, dtype: str = "float32", **options) -> Job:
    """A job that runs one library's scores.

    Parameters
    ----------
    make : callable
        Returns X, y, Xq, yq.
    model : callable
        Returns the fitted scikit-learn model.
    library : str
        One of LIBRARIES.
    dtype : str
    options : dict
        Handed to the library's function.
    """
    warnings.simplefilter("ignore")
    problem = TorchProblem.of(make(), model(), dtype)
    return Job(
        lambda: LIBRARIES[library](problem, **options),
        digest=lambda scores: np.asarray(scores, dtype=np.float64)[:50, ::10],
    )


def pydvl_direct(problem: TorchProblem, damping: float | None = None) -> Any:
    """pyDVL's DirectInfluence: gradients times the inverse of the mean Hessian."""
    from pydvl.influence.torch import DirectInfluence

    damping = 1.0 / problem.n if damping is None else damping
    influence = DirectInfluence(problem.net, problem.mean_loss, regularization=damping)
    influence = influence.fit(problem.loader(problem.n))
    return influence.influences(problem.Xq, problem.yq, problem.X, problem.y).numpy()


def captum_naive(
    problem: TorchProblem,
    damping: float = 1.0,
    projection_dim: int | None = None,
    samplewise: bool = True,
    batch_size: int = 1_000,
) -> Any:
    """captum's NaiveInfluenceFunction; by default it keeps 50 directions of the Hessian."""
    from captum.influence import NaiveInfluenceFunction

    influence = NaiveInfluenceFunction(
        problem.net,
        problem.dataset(),
        checkpoint="as it is",
        checkpoints_load_func=lambda model, path: 1.0,
        loss_fn=problem.sum_loss if samplewise else problem.each_loss,
        batch_size=batch_size,
        sample_wise_grads_per_batch=samplewise,
        projection_dim=problem.n_parameters if projection_dim is None else projection_dim,
        hessian_reg=damping,
    )
    return influence.influence((problem.Xq, problem.yq)).detach().numpy()


def dattri_explicit(
    problem: TorchProblem, damping: float | None = None, batch_size: int | None = None
) -> Any:
    """dattri's IFAttributorExplicit: right only if the training rows are one batch."""
    import torch
    from dattri.algorithm.influence_function import IFAttributorExplicit
    from dattri.task import AttributionTask

    def loss(parameters, data):
        rows, targets = data
        return problem.mean_loss(
            torch.func.functional_call(problem.net, parameters, rows), targets
        )

    task = AttributionTask(loss_func=loss, model=problem.net, checkpoints=problem.net.state_dict())
    damping = 1.0 / problem.n if damping is None else damping
    attributor = IFAttributorExplicit(task=task, regularization=damping)
    train = problem.loader(problem.n if batch_size is None else batch_size)
    attributor.cache(train)
    return attributor.attribute(train, problem.query_loader()).detach().numpy().T


LIBRARIES: dict[str, Scores] = {
    "pydvl": pydvl_direct,
    "captum": captum_naive,
    "dattri": dattri_explicit,
}
