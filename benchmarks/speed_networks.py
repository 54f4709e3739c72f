"""Speed and memory of influence on networks beside the floor and the peers: N1 to N6.

    python benchmarks/speed_networks.py [--only N1 N4] [--quick] [--device cuda]

Every case runs in a process of its own and all cases of a target take turns. See README.md.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import setups_networks as setups
from common import Case, floor, measure, note, ours, parser, peer, publish, speed_table
from nets import NetProblem, trained
from scipy.stats import spearmanr


@dataclass(frozen=True)
class Setting:
    """How all cases of a run are measured.

    Parameters
    ----------
    quick : bool
    device : str
    """

    quick: bool
    device: str

    @property
    def threads(self) -> int:
        """Of every case, but for those that are measured with one, too."""
        return 1 if self.quick else min(2, os.cpu_count() or 1)

    def trained(self, kind: str, n: int, m: int, reduced: tuple[int, int]) -> NetProblem:
        """A trained network with n rows and m queries, or fewer."""
        n, m = reduced if self.quick else (n, m)
        return trained(kind, n, m, self.device)

    def torch_peer(
        self, name: str, function: str, times: float = 1.0, **arguments: Any
    ) -> list[Case]:
        """A library's function as a case, or nothing where it is not installed."""
        if not find_spec(function.partition("_")[0]):
            return []
        return [peer(name, setups.peer, times, self.threads, function=function, **arguments)]


SCALES = (
    "Agreement is the scale of the scores, what it leaves (relative), and Spearman's correlation, "
    "over {q} queries x {n} rows, with {of} in float64."
)


def agreement(reference):
    """Column of the scale, the relative rest and the rank correlation with a reference."""

    def cell(one):
        if one.answer is None:
            return ""
        scale, rest, rank = compared(one.answer, reference)
        return f"{scale:.4g} / {rest:.0e} / {rank:.3f}"

    return cell


def compared(answer: np.ndarray, reference: np.ndarray) -> tuple[float, float, float]:
    """Scale of an answer, what is left of it, relative, and the mean Spearman of its queries."""
    answer, reference = np.atleast_2d(answer), np.atleast_2d(reference)
    reference = reference[: len(answer), : answer.shape[1]]
    if not np.isfinite(answer).all():
        return np.nan, np.nan, np.nan
    scale = float((answer * reference).sum() / (reference**2).sum())
    rest = float(np.linalg.norm(answer - scale * reference) / np.linalg.norm(answer))
    ranks = [spearmanr(a, b).statistic for a, b in zip(answer, reference, strict=True)]
    return scale, rest, float(np.mean(ranks))


def _pearson(reference):
    """Column of the correlation with a reference."""

    def cell(one):
        if one.answer is None:
            return ""
        return f"{np.corrcoef(one.answer.ravel(), reference.ravel())[0, 1]:.4f}"

    return cell


# -- products of gradients ----------------------------------------------------------------------


def n1(setting):
    """N1: gradient products, MLP 784-512-256-10, 10,000 rows x 128 queries."""
    problem = setting.trained("wide", 10_000, 128, reduced=(400, 16))
    return _products(
        setting,
        problem,
        "mlp_products",
        _gradient_peers(setting, problem, own=False, captum=4, dattri=40),
        "<= 1.5 x the floor; >= 100 x captum's TracInCP; <= TracInCPFast, the last layer alone",
        f"{_size(problem)}. TracInCPFast has the weight of the last layer only.",
    )


def n2(setting):
    """N2: squared norms of the gradients of the same network."""
    problem = setting.trained("wide", 10_000, 16, reduced=(400, 16))
    return _products(
        setting,
        problem,
        "mlp_squares",
        _gradient_peers(setting, problem, own=True, captum=4, dattri=40),
        "<= 1.5 x the floor; >= 100 x captum's TracInCP; never n x n",
        f"n = {problem.n}. TracInCPFast has the weight of the last layer only.",
        own=True,
    )


def n3(setting):
    """N3: gradient products, a CNN of 56,714 parameters, 5,000 rows x 64 queries."""
    problem = setting.trained("cnn", 5_000, 64, reduced=(400, 16))
    peers = _gradient_peers(setting, problem, own=False, captum=2, dattri=10, fast=False)
    wanted = ">= 4 x captum, >= 10 x dattri"
    return _products(setting, problem, "cnn_products", peers, wanted, f"{_size(problem)}.")


def _size(problem):
    return f"n = {problem.n}, {problem.m} queries"


def _gradient_peers(setting, problem, own, captum, dattri, fast=True):
    """The libraries, two of them on a share of the rows."""
    given = dict(problem=problem, own=own)
    found = setting.torch_peer(
        "captum TracInCP", "captum_tracin", captum, rows=problem.n // captum, **given
    )
    if fast:
        found += setting.torch_peer(
            "captum TracInCPFast", "captum_tracin", last_layer=True, batch_size=1_000, **given
        )
    return found + setting.torch_peer(
        "dattri TracIn, no projection", "dattri_tracin", dattri, rows=problem.n // dattri, **given
    )


def _products(setting, problem, function, peers, wanted, remark, own=False):
    cases = []
    for t in range(1, setting.threads + 1):
        cases.append(floor("torch: GEMMs layer by layer", setups.floor, t, problem=problem,
                           function=function))  # fmt: skip
        cases.append(ours("RowGradients", setups.products, t, problem=problem, own=own))
    reference = setups.reference(problem, function)
    table = speed_table(measure(cases + peers), {"agreement": agreement(reference)})
    return text_of(table, wanted, f"{remark} {_scales(reference, 'the floor')}")


def _scales(reference, of):
    q, n = np.atleast_2d(reference).shape
    return SCALES.format(q=q, n=n, of=of)


# -- inverse curvature --------------------------------------------------------------------------

# Above minus the lowest eigenvalue of the Hessian, -0.37 of at most 16 on the mean loss.
DAMPING = 1.0


def n4(setting):
    """N4: block conjugate gradients, MLP 784-128-10, 5,000 rows x 32 queries."""
    problem = _one_layer(setting)
    return "\n\n".join(_n4(setting, problem, curvature) for curvature in ("ggn", "hessian"))


def _one_layer(setting):
    return setting.trained("one_layer", 5_000, 32, reduced=(400, 16))


def _n4(setting, problem, curvature):
    given, hessian = dict(problem=problem, damping=DAMPING), curvature == "hessian"
    t = setting.threads
    plain = dict(function="cg_scores", tol=1e-3, hessian=hessian)
    own = dict(curvature=curvature, solver="cg", tol=1e-3)
    cases = [
        floor("torch: CG, two GEMMs a product", setups.floor, t, **plain, **given),
        ours("fit + scores, CG to 1e-3", setups.scores, t, **own, **given),
    ]
    if hessian:
        cases += setting.torch_peer(
            "pyDVL block CG", "pydvl_inverse", kind="Cg", solve_simultaneously=True, **given
        )
        some = dict(kind="CG", queries=problem.m // 8)
        cases += setting.torch_peer(
            "dattri CG, 10 iterations", "dattri_inverse", 8.0, **some, **given
        )
    else:
        cases += setting.torch_peer("curvlinops CG to 1e-3", "curvlinops_cg", tol=1e-3, **given)
    reference = setups.reference(problem, "cg_scores", damping=DAMPING, tol=1e-7, hessian=hessian)
    table = speed_table(measure(cases), {"agreement": agreement(reference)})
    remark = (
        f"{curvature}, n = {problem.n}, {problem.m} queries, damping {DAMPING:g} on the mean "
        f"loss. {_scales(reference, 'conjugate gradients to 1e-7')}"
    )
    return text_of(table, ">= 4 x pyDVL's block CG at an equal residual", remark)


# Of which formula the cases of N5 are, by the first words of their names.
FORMULAS = {
    "marginal": ("torch: ekfac", "fit + scores, ekfac"),
    "kfac": ("torch: kfac", "fit + scores, kfac", "kronfluence kfac"),
    "ekfac": ("kronfluence ekfac", "curvlinops EKFAC", "pyDVL EkFac"),
}


def n5(setting):
    """N5: (E)K-FAC, fit and scores, MLP 784-128-10, 5,000 rows x 32 queries."""
    problem, t = _one_layer(setting), setting.threads
    given = dict(problem=problem, damping=DAMPING)
    cases = []
    for kind, formula in (("ekfac", "marginal"), ("kfac", "kfac")):
        by_hand = dict(function="ekfac_scores", kind=formula)
        cases += [
            floor(f"torch: {kind} by hand", setups.floor, t, **by_hand, **given),
            ours(f"fit + scores, {kind}", setups.scores, t, curvature=kind, **given),
        ]
    cases += _factor_peers(setting, given)
    exact = setups.reference(problem, "cg_scores", damping=DAMPING, tol=1e-7)
    columns = {"agreement": _by_formula(problem), "Pearson with GGN": _pearson(exact)}
    return text_of(
        speed_table(measure(cases), columns),
        ">= 25 x kronfluence and >= 8 x curvlinops, at least their correlation with the GGN",
        f"{_size(problem)}, damping {DAMPING:g} on the mean loss. kronfluence samples one label "
        "for each row; curvlinops only solves, its rows are differentiated by vmap(grad). Ours "
        "takes the eigenvectors of partial traces, the libraries those of K-FAC. "
        f"{_scales(exact, 'the formula that each means')}",
    )


def _factor_peers(setting, given):
    peers = [
        ("kronfluence ekfac", "kronfluence_scores", {}),
        ("kronfluence kfac", "kronfluence_scores", dict(strategy="kfac")),
        ("curvlinops EKFAC, rows by vmap", "curvlinops_ekfac", {}),
        ("curvlinops EKFAC, no scores", "curvlinops_ekfac", dict(scores=False, compared=False)),
        # All rows in one batch take more than 20 GB.
        ("pyDVL EkFac, batches of 500", "pydvl_ekfac", dict(batch_size=500)),
    ]
    found = [setting.torch_peer(name, call, **own, **given) for name, call, own in peers]
    return [case for cases in found for case in cases]


def _by_formula(problem):
    """Column of the agreement with the formula that a case means."""
    cells = {
        kind: agreement(setups.reference(problem, "ekfac_scores", damping=DAMPING, kind=kind))
        for kind in FORMULAS
    }

    def cell(one):
        kinds = (kind for kind, names in FORMULAS.items() if one.case.name.startswith(names))
        return cells[next(kinds)](one)

    return cell


# -- streaming ----------------------------------------------------------------------------------


def n6(setting):
    """N6: the ten strongest of 60,000 rows for 1,000 queries, streaming."""
    n, m = (2_000, 100) if setting.quick else (60_000, 1_000)
    found, t = [], setting.threads
    for rows in (n // 2, n):
        given = dict(problem=trained("narrow", rows, m, setting.device), damping=DAMPING)
        given["curvature"] = "ekfac"
        found += [
            floor(f"score_influence, {rows:,} rows", setups.strongest, t, **given),
            ours(f"proponents(k=10), {rows:,} rows", setups.strongest, t, k=10, **given),
        ]
    found = measure(found, rounds=1)
    pairs = zip(found[::2], found[1::2], strict=True)
    same = np.mean([dense.answer == streamed.answer for dense, streamed in pairs])
    return text_of(
        speed_table(found),
        "constant memory; <= 1.3 x the dense time",
        f"MLP 784-16-10 by EK-FAC, fitted, {m} queries; all scores take "
        f"{8 * n * m / 2**20:.0f} MB. {100 * same:.2f} % of the positions in the top ten are "
        "those of all scores, sorted (16 queries).",
    )


TARGETS = {"N1": n1, "N2": n2, "N3": n3, "N4": n4, "N5": n5, "N6": n6}


def text_of(table, wanted, remark):
    return f"Target: {wanted}.\n\n{table}\n\n{remark}"


def main(argv=None):
    options = parser(__doc__.splitlines()[0]).parse_args(argv)
    for name in map(str.upper, options.only or TARGETS):
        note(f"speed_networks: {name}")
        title = TARGETS[name].__doc__.rstrip(".")
        text = TARGETS[name](Setting(options.quick, options.device))
        publish(f"speed-{name.lower()}", title, text, options)


if __name__ == "__main__":
    main()
