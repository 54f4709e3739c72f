"""Faithfulness of influence on networks: F7, approximations beside the exact inverse; F5, batches.

    python benchmarks/faithfulness_networks.py [--only F7 F5] [--quick]

One small network, whose Hessian, Gauss-Newton and Fisher matrices are formed by other code than
this package's, in float64.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import floors_networks as floors
import numpy as np
import peers_networks as peers
import torch
from common import note, parser, publish, table
from nets import NetProblem, trained
from setups_networks import quiet
from sklearn import config_context

from skinfluence import InfluenceExplainer
from skinfluence.torch import solvers

# On the mean loss: above minus the lowest eigenvalue of the Hessian, -0.023 of at most 4.1.
DAMPING = 0.2
# Largest relative change of a score that rounding alone makes.
ROUNDING = {"float32": 1e-6, "float64": 1e-12}


@dataclass
class Truth:
    """Exact matrices of a network of two layers, on the mean loss and damped.

    Parameters
    ----------
    problem : NetProblem
    """

    problem: NetProblem

    def __post_init__(self):
        given = self.problem.in_type("float64").tensors()
        layers = floors.layers_of(given.net)
        self.given, self.layers = given, layers
        self.G = floors.mlp_gradients(layers, given.X, given.y)
        self.queries = floors.mlp_gradients(layers, given.Xq, given.yq)
        self.matrices = {
            "hessian": self._matrix(hessian=True),
            "ggn": self._matrix(hessian=False),
            "fisher": self.G.T @ self.G / given.n
            + DAMPING * torch.eye(self.G.shape[1]).to(self.G),
        }
        self.scores = {
            name: self.queries @ torch.linalg.solve(matrix, self.G.T) / given.n
            for name, matrix in self.matrices.items()
        }
        arguments = (layers, given.X, given.y, given.Xq, given.yq, DAMPING)
        for name in ("marginal", "ekfac", "kfac"):
            self.scores[name] = floors.ekfac_scores(*arguments, kind=name) / given.n

    def _matrix(self, hessian):
        product = floors.TwoLayers(self.layers, self.given.X, self.given.y, DAMPING, hessian)
        unit = torch.eye(self.G.shape[1], dtype=torch.float64)
        return torch.cat([product(rows) for rows in unit.split(128)])

    def residual(self, curvature: str, solved: torch.Tensor) -> float:
        """Largest relative residual of solutions for the queries' gradients."""
        left = self.given.n * solved @ self.matrices[curvature] - self.queries
        return float((left.norm(dim=1) / self.queries.norm(dim=1)).max())


# -- F7 -----------------------------------------------------------------------------------------

F7_HEADER = [
    "library", "curvature", "solver", "dtype", "tolerance", "relative residual",
    "Pearson, same matrix", "Pearson, Gauss-Newton", "target",
]  # fmt: skip


def _solvers(quick):
    """Every solver that inverts matrices, by the curvatures it takes, with what it promises."""
    every, psd = ("ggn", "hessian", "fisher"), ("ggn", "fisher")
    yield "dense", every, solvers.Dense(), None
    for tol in (1e-3, 1e-6):
        yield f"cg, tol={tol:g}", every, solvers.ConjugateGradients(tol=tol), tol
    yield "lissa", every, solvers.Lissa(), solvers.Lissa().tol
    for rank in (50,) if quick else (50, 200):
        yield f"arnoldi, rank={rank}", every, solvers.Arnoldi(rank=rank), None
        yield f"nystroem, rank={rank}", psd, solvers.Nystroem(rank=rank), None
    yield "datainf", ("fisher",), solvers.DataInf(), None


def f7(quick):
    """F7: curvatures and solvers beside the exact damped inverse, MLP 64-32-10."""
    truth = Truth(trained("tiny", 300, 10) if quick else trained("digits", 1_500, 100))
    rows = [*_ours_f7(truth, quick), *_peers_f7(truth, quick)]
    return f"""\
Digits, {truth.problem.n} rows, {truth.problem.m} queries, {truth.G.shape[1]:,} parameters,
damping {DAMPING} on the mean loss. Relative residual: the largest over the queries of
|(A + damping) v - g| / |g| with an exact A, float64, formed apart from this package. Pearson: of
all scores with those of the exact inverse of the same matrix, and of the Gauss-Newton matrix.
K-FAC and EK-FAC have no residual: what stands there is the relative difference from their
formulas written out; EK-FAC of the libraries has the eigenvectors of K-FAC, with which all are
correlated, and ours those of partial traces.

{table(F7_HEADER, rows)}"""


def _ours_f7(truth, quick):
    given = truth.given
    for name, curvatures, solver, tol in _solvers(quick):
        for curvature in curvatures:
            note(f"  {curvature}, {name}")
            label = ["skinfluence", curvature, name, "float64"]
            try:
                explainer = _explainer(given.net, curvature, solver).fit(given.X, given.y)
            except ValueError as error:
                yield [*label, "", "", "", "", f"refused: {str(error).partition(';')[0]}"]
                continue
            scores = explainer.score_influence(given.Xq, given.yq)
            residual = truth.residual(curvature, explainer._engine.trained.solve(truth.queries))
            yield _f7_row(truth, label, scores, residual, tol)
    for curvature, formula in (("kfac", "kfac"), ("ekfac", "marginal")):
        note(f"  {curvature}")
        explainer = _explainer(given.net, curvature, "auto").fit(given.X, given.y)
        scores = explainer.score_influence(given.Xq, given.yq)
        apart = np.linalg.norm(scores - truth.scores[formula].numpy()) / np.linalg.norm(scores)
        yield _f7_row(truth, ["skinfluence", curvature, "its own", "float64"], scores, apart)


def _explainer(net, curvature, solver):
    return InfluenceExplainer(
        net, loss="cross_entropy", curvature=curvature, solver=solver, damping=DAMPING
    )


def _f7_row(truth, label, scores, residual=None, tol=None):
    library, curvature = label[:2]
    scores = np.asarray(scores, dtype=np.float64)
    finite = np.isfinite(scores).all()
    own, ggn = (
        f"{np.corrcoef(scores.ravel(), truth.scores[name].ravel())[0, 1]:.4f}" if finite else "NaN"
        for name in (curvature, "ggn")
    )
    target = ""
    if tol is not None:
        target = f"residual: {_met(residual <= tol)}"
    elif library == "skinfluence" and curvature == "ekfac":
        target = f"Gauss-Newton >= .95: {_met(float(ggn) >= 0.95)}"
    shown = "" if residual is None else f"{residual:.1e}"
    asked = "" if tol is None else f"{tol:g}"
    return [*label, asked, shown, own, ggn, target]


def _met(holds):
    return "met" if holds else "MISSED"


def _peers(quick):
    """Library, the matrix it means, the call's name, function and options."""
    yield "pyDVL", "hessian", "Cg, block", peers.pydvl_inverse, dict(
        kind="Cg", solve_simultaneously=True)  # fmt: skip
    yield "pyDVL", "hessian", "NystroemSketch, rank=50", peers.pydvl_inverse, dict(
        kind="NystroemSketch", rank=50)  # fmt: skip
    yield "pyDVL", "hessian", "Arnoldi", peers.pydvl_inverse, dict(kind="Arnoldi")
    yield "pyDVL", "ekfac", "EkFac", peers.pydvl_ekfac, {}
    yield "pyDVL", "fisher", "DataInf", peers.pydvl_inverse, dict(kind="InverseHarmonicMean")
    yield "captum", "hessian", "Arnoldi", peers.captum_arnoldi, {}
    yield "dattri", "hessian", "CG", peers.dattri_inverse, dict(kind="CG")
    yield "dattri", "hessian", "Arnoldi", peers.dattri_inverse, dict(kind="Arnoldi")
    yield "dattri", "ekfac", "EKFAC", peers.dattri_inverse, dict(kind="EKFAC")
    yield "dattri", "fisher", "DataInf", peers.dattri_inverse, dict(kind="DataInf")
    yield "kronfluence", "ekfac", "ekfac", peers.kronfluence_scores, {}
    yield "kronfluence", "kfac", "kfac", peers.kronfluence_scores, dict(strategy="kfac")
    yield "curvlinops", "ggn", "CG, tol=1e-3", peers.curvlinops_cg, {}
    yield "curvlinops", "ekfac", "EKFAC", peers.curvlinops_ekfac, {}
    yield "curvlinops", "kfac", "KFAC", peers.curvlinops_ekfac, dict(corrected=False)


def _peers_f7(truth, quick):
    quiet()
    for library, curvature, call, function, options in _peers(quick):
        if not find_spec(library.lower()) or (quick and library != "curvlinops"):
            continue
        note(f"  {library} {call}")
        with contextlib.redirect_stderr(io.StringIO()):
            scores = function(truth.problem.tensors(), damping=DAMPING, **options)
        yield _f7_row(truth, [library, curvature, call, "float32"], scores)


# -- F5 -----------------------------------------------------------------------------------------

F5_HEADER = ["library", "call", "dtype", "6 batches", "unequal last batch", "other order",
             "1 MiB of memory", "1 thread", "target"]  # fmt: skip


def f5(quick):
    """F5: the same scores whatever the batches, the order, the memory and the threads."""
    n = 300 if quick else 1_500
    problem = trained("tiny" if quick else "digits", n, 20)
    rows = [row for dtype in ROUNDING for row in _ours_f5(problem.in_type(dtype))]
    return f"""\
Digits, {n} rows, 20 queries, the same network, damping {DAMPING} on the mean loss. Relative change
|S' - S| / |S| of the scores when the {n} rows come as a loader of 6 batches or of batches with an
unequal last one, in another order, with a working_memory of 1 MiB, on one thread; S: one batch.
Iterative solvers may change within their tolerance; all others must not, but for rounding.

{table(F5_HEADER, rows + _peers_f5(problem))}"""


def _ours_f5(problem):
    given, dtype = problem.tensors(), problem.dtype
    every: list[tuple[str, str, Any, float]] = [
        ("ggn", "dense", "dense", ROUNDING[dtype]),
        ("ggn", "cg, tol=1e-6", solvers.ConjugateGradients(tol=1e-6), 1e-6),
        ("hessian", "cg, tol=1e-6", solvers.ConjugateGradients(tol=1e-6), 1e-6),
        ("fisher", "datainf", "datainf", ROUNDING[dtype]),
        ("ekfac", "its own", "auto", ROUNDING[dtype]),
    ]
    for curvature, name, solver, bound in every:
        note(f"  {dtype}, {curvature}, {name}")
        changes = _changes(given, _explainer(given.net, curvature, solver))
        met = f"{bound:g}: {_met(max(changes) <= bound)}"
        cells = [f"{change:.0e}" for change in changes]
        yield ["skinfluence", f"{curvature}, {name}", dtype, *cells, met]


def _changes(given, explainer):
    """Relative changes of the scores, one for each other way to compute them."""

    def scores(X, y=None):
        return explainer.fit(X, y).score_influence(given.Xq, given.yq)

    base = scores(given.X, given.y)
    order = torch.randperm(given.n, generator=torch.Generator().manual_seed(0))
    found = [scores(given.loader(given.n // 6)), scores(given.loader(_unequal(given.n)))]
    found.append(scores(given.X[order], given.y[order])[:, np.argsort(order.numpy())])
    with config_context(working_memory=1):
        found.append(scores(given.X, given.y))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found.append(scores(given.X, given.y))
    torch.set_num_threads(threads)
    return [_change(other, base) for other in found]


def _unequal(n):
    """A batch size that leaves a few rows over."""
    return n // 6 + 7


def _change(other, base):
    return float(np.linalg.norm(other - base) / np.linalg.norm(base))


def _peers_f5(problem):
    rows, given = [], problem.tensors()
    quiet()
    for library, call, function, options in (
        ("pyDVL", "DataInf", peers.pydvl_inverse, dict(kind="InverseHarmonicMean")),
        ("pyDVL", "Cg, block", peers.pydvl_inverse, dict(kind="Cg", solve_simultaneously=True)),
        ("dattri", "CG", peers.dattri_inverse, dict(kind="CG")),
        ("dattri", "DataInf", peers.dattri_inverse, dict(kind="DataInf")),
    ):
        if not find_spec(library.lower()):
            continue
        found = []
        for size in (given.n, given.n // 6, _unequal(given.n)):
            with contextlib.redirect_stderr(io.StringIO()):
                found.append(
                    _or_none(function, given, damping=DAMPING, batch_size=size, **options)
                )
        cells = ["fails" if one is None else f"{_change(one, found[0]):.0e}" for one in found[1:]]
        rows.append([library, call, "float32", *cells, "", "", "", ""])
    return rows


def _or_none(function, *arguments, **options):
    try:
        return np.asarray(function(*arguments, **options), dtype=np.float64)
    except (RuntimeError, ValueError):
        return None


TARGETS = {"F7": f7, "F5": f5}
NAMES = {"F7": "faithfulness-networks", "F5": "faithfulness-networks-batches"}


def main(argv=None):
    options = parser(__doc__.splitlines()[0]).parse_args(argv)
    for name in map(str.upper, options.only or TARGETS):
        note(f"faithfulness_networks: {name}")
        title = TARGETS[name].__doc__.rstrip(".")
        publish(NAMES[name], title, TARGETS[name](options.quick), options)


if __name__ == "__main__":
    main()
