"""Influence on networks by the torch libraries, each in its own words.

Every function takes a :class:`torch_problem.TorchProblem` and returns scores (n_queries, n_train)
in the library's own scale; all have the sign of ours, positive where a row helps. captum adds up
losses, so that damping times n is its ``hessian_reg``, and its scores have our scale; pyDVL,
dattri, kronfluence and curvlinops (with a mean loss) leave out the 1 / n of a deletion.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from typing import Any

import torch
from torch import func
from torch.nn import functional
from torch.utils.data import TensorDataset
from torch_problem import TorchProblem

Scores = Callable[..., Any]

# Rows that pyDVL scores at a time.
SCORED = 500


# -- captum -------------------------------------------------------------------------------------


def captum_tracin(
    problem: TorchProblem, own: bool = False, last_layer: bool = False, batch_size: int = 250
) -> Any:
    """TracInCP with one checkpoint and step 1; Fast takes the last layer's weight only."""
    from captum.influence import TracInCP, TracInCPFast

    given = dict(
        checkpoints=["as it is"],
        checkpoints_load_func=lambda model, path: 1.0,
        loss_fn=problem.sum_loss,
        batch_size=batch_size,
    )
    if last_layer:
        final = problem.net[-1]
        tracin = TracInCPFast(problem.net, final, problem.dataset(), **given)
    else:
        given["sample_wise_grads_per_batch"] = True
        tracin = TracInCP(problem.net, problem.dataset(), **given)
    found = tracin.self_influence() if own else tracin.influence((problem.Xq, problem.yq))
    return found.detach()


def captum_arnoldi(problem: TorchProblem, damping: float, batch_size: int = 500) -> Any:
    """ArnoldiInfluenceFunction by default: the 50 strongest directions, the others dropped."""
    # captum documents this class and exports it nowhere else.
    from captum.influence._core import arnoldi_influence_function  # noqa: PLC2701

    influence = arnoldi_influence_function.ArnoldiInfluenceFunction(
        problem.net,
        problem.dataset(),
        checkpoint="as it is",
        checkpoints_load_func=lambda model, path: 1.0,
        loss_fn=problem.sum_loss,
        batch_size=batch_size,
        sample_wise_grads_per_batch=True,
        hessian_reg=damping * problem.n,
    )
    return influence.influence((problem.Xq, problem.yq)).detach()


# -- dattri -------------------------------------------------------------------------------------


def _dattri_task(problem):
    from dattri.task import AttributionTask

    def loss(parameters, data):
        rows, targets = data
        # A row of vmap comes alone, without the axis of rows.
        rows, targets = rows.reshape(-1, problem.X.shape[1]), targets.reshape(-1)
        return problem.mean_loss(func.functional_call(problem.net, parameters, rows), targets)

    return AttributionTask(loss_func=loss, model=problem.net, checkpoints=problem.net.state_dict())


def dattri_tracin(problem: TorchProblem, own: bool = False, batch_size: int = 250) -> Any:
    """TracIn without the random projection that its default silently is."""
    from dattri.algorithm.tracin import TracInAttributor

    device = str(problem.X.device)
    tracin = TracInAttributor(_dattri_task(problem), torch.ones(1), False, device=device)
    tracin.projector_kwargs = None
    rows = problem.loader(min(batch_size, problem.n))
    if own:
        return tracin.self_attribute(rows).detach()
    return tracin.attribute(rows, problem.query_loader()).detach().T


def dattri_inverse(
    problem: TorchProblem, kind: str, damping: float, batch_size: int | None = None, **options: Any
) -> Any:
    """An IFAttributor of dattri by name: CG, Explicit, DataInf, EKFAC; one batch by default."""
    from dattri.algorithm import influence_function

    named = {"damping" if kind in ("EKFAC", "LiSSA") else "regularization": damping}
    attributor = getattr(influence_function, f"IFAttributor{kind}")(
        task=_dattri_task(problem), device=str(problem.X.device), **named, **options
    )
    rows = problem.loader(problem.n if batch_size is None else batch_size)
    attributor.cache(rows)
    return attributor.attribute(rows, problem.query_loader()).detach().T


# -- pyDVL --------------------------------------------------------------------------------------


def pydvl_inverse(
    problem: TorchProblem, kind: str, damping: float, batch_size: int | None = None, **options: Any
) -> Any:
    """An influence model of pyDVL by name: Cg, Direct, NystroemSketch, InverseHarmonicMean."""
    from pydvl.influence import torch as models

    model = getattr(models, f"{kind}Influence")
    influence = model(problem.net, problem.mean_loss, regularization=damping, **options)
    return _pydvl_scores(influence, problem, batch_size)


def pydvl_ekfac(problem: TorchProblem, damping: float, batch_size: int | None = None) -> Any:
    """EkfacInfluence with its diagonal corrected."""
    from pydvl.influence.torch import EkfacInfluence

    influence = EkfacInfluence(problem.net, update_diagonal=True, hessian_regularization=damping)
    return _pydvl_scores(influence, problem, batch_size)


def _pydvl_scores(influence, problem, batch_size):
    influence = influence.fit(problem.loader(problem.n if batch_size is None else batch_size))
    solved = influence.influence_factors(problem.Xq, problem.yq)
    # Gradients of all rows at once take more than 20 GB in some of its methods.
    parts = zip(problem.X.split(SCORED), problem.y.split(SCORED), strict=True)
    found = [influence.influences_from_factors(solved, X, y) for X, y in parts]
    return torch.cat(found, 1).detach()


# -- kronfluence --------------------------------------------------------------------------------


def kronfluence_scores(
    problem: TorchProblem, damping: float, strategy: str = "ekfac", empirical: bool = False
) -> Any:
    """Analyzer with a strategy; by default one label is sampled from the model for each row."""
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments, ScoreArguments

    task = _kronfluence_task()
    net = prepare_model(copy.deepcopy(problem.net), task)
    rows, queries = problem.dataset(), TensorDataset(problem.Xq, problem.yq)
    with tempfile.TemporaryDirectory() as folder:
        analyzer = Analyzer(
            "scores",
            net,
            task,
            cpu=problem.X.device.type == "cpu",
            disable_tqdm=True,
            output_dir=folder,
        )
        arguments = FactorArguments(strategy=strategy, use_empirical_fisher=empirical)
        analyzer.fit_all_factors("f", rows, 1_000, factor_args=arguments)
        analyzer.compute_pairwise_scores(
            scores_name="s",
            factors_name="f",
            query_dataset=queries,
            train_dataset=rows,
            per_device_query_batch_size=len(queries),
            per_device_train_batch_size=1_000,
            score_args=ScoreArguments(damping_factor=damping),
        )
        return analyzer.load_pairwise_scores("s")["all_modules"].clone()


def _kronfluence_task():
    from kronfluence.task import Task

    class Classification(Task):
        def compute_train_loss(self, batch, model, sample=False):
            logits, labels = model(batch[0]), batch[1]
            if sample:
                labels = torch.multinomial(logits.detach().softmax(1), 1).flatten()
            return functional.cross_entropy(logits, labels, reduction="sum")

        def compute_measurement(self, batch, model):
            return self.compute_train_loss(batch, model)

    return Classification()


# -- curvlinops ---------------------------------------------------------------------------------


def curvlinops_cg(
    problem: TorchProblem, damping: float, tol: float = 1e-3, hessian: bool = False
) -> Any:
    """Conjugate gradients against its Gauss-Newton or Hessian operator; rows by ``vmap``."""
    from curvlinops import CGInverseLinearOperator, GGNLinearOperator, HessianLinearOperator
    from curvlinops.examples import IdentityLinearOperator

    kind = HessianLinearOperator if hessian else GGNLinearOperator
    curvature = _curvlinops(problem, kind)
    shapes = [p.shape for p in problem.net.parameters()]
    identity = IdentityLinearOperator(shapes, problem.X.device, problem.X.dtype)
    inverse = CGInverseLinearOperator(
        curvature + damping * identity, tolerance=tol, eps=0, max_tridiag_iter=1, max_iter=200
    )
    return _against_rows(problem, inverse @ _row_gradients(problem, problem.Xq, problem.yq).T)


def curvlinops_ekfac(
    problem: TorchProblem, damping: float, corrected: bool = True, scores: bool = True
) -> Any:
    """(E)K-FAC of the exact Fisher matrix; rows by ``vmap``, or the solutions alone."""
    from curvlinops import (
        EKFACLinearOperator,
        FisherType,
        KFACInverseLinearOperator,
        KFACLinearOperator,
    )

    kind = EKFACLinearOperator if corrected else KFACLinearOperator
    factors = _curvlinops(
        problem, kind, fisher_type=FisherType.TYPE2, separate_weight_and_bias=False
    )
    inverse = KFACInverseLinearOperator(factors, damping=damping, use_exact_damping=True)
    solved = inverse @ _row_gradients(problem, problem.Xq, problem.yq).T
    return _against_rows(problem, solved) if scores else solved


def _curvlinops(problem, kind, **options):
    return kind(
        problem.net,
        problem.mean_loss,
        [p for p in problem.net.parameters() if p.requires_grad],
        [(problem.X, problem.y)],
        check_deterministic=False,
        **options,
    )


def _row_gradients(problem, X, y):
    """Gradients of rows by ``vmap(grad)``, (b, p), as the libraries take them."""
    parameters = {name: p.detach() for name, p in problem.net.named_parameters()}

    def loss(parameters, row, target):
        return problem.mean_loss(
            func.functional_call(problem.net, parameters, row[None]), target[None]
        )

    found = func.vmap(func.grad(loss), (None, 0, 0))(parameters, X, y)
    return torch.cat([g.flatten(1) for g in found.values()], 1)


def _against_rows(problem, solved, block=500):
    parts = zip(problem.X.split(block), problem.y.split(block), strict=True)
    rows = [_row_gradients(problem, X, y) @ solved for X, y in parts]
    return torch.cat(rows).T.detach()
