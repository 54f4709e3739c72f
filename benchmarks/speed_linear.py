"""Speed and memory of influence on linear models beside the floor and the peers: G1 to G6.

    python benchmarks/speed_linear.py [--only G1 G2] [--quick]

Every case runs in a process of its own and all cases of a target take turns. See README.md.
"""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec

import numpy as np
import setups_linear as setups
from common import floor, measure, note, ours, parser, peer, publish, speed_table
from peers_torch import torch_scores


def _torch_peers(make, dattri_batch=None):
    """The libraries that are installed, in float32, and float64 where they are fast."""
    found = []
    rows = dict(make=make, model=partial(setups.logistic_fit, make))
    if find_spec("pydvl"):
        pydvl = partial(peer, setup=torch_scores, library="pydvl", **rows)
        found += [pydvl("pyDVL Direct, float32"), pydvl("pyDVL Direct, float64", dtype="float64")]
    if find_spec("captum"):
        found.append(peer("captum Naive, all directions", torch_scores, library="captum", **rows))
    if find_spec("dattri"):
        found.append(peer("dattri Explicit, one batch", torch_scores, library="dattri", **rows))
    return found


def _beside_peers(make, wanted, remark):
    cases = [floor("numpy: Hessian, Cholesky, GEMM", setups.floor_scores, 1, make=make)]
    for method in ("first_order", "newton"):
        cases.append(
            ours(f"fit + score_influence, {method}", setups.scores, 1, make=make, method=method)
        )
    found = measure(cases + _torch_peers(make), rounds=5)
    reference = found[0].answer
    agreement = "; ".join(f"{one.case.name} {_scale(one.answer, reference)}" for one in found[1:])
    return _text(found, wanted, f"{remark} Scale and relative residual to the floor: {agreement}.")


def _scale(answer, reference):
    scale = float((answer * reference).sum() / (reference**2).sum())
    residual = np.linalg.norm(answer - scale * reference) / np.linalg.norm(answer)
    return f"{scale:.5g}, {residual:.1e}"


def g1(quick):
    """G1: binary logistic regression, 10,000 rows x 100 features, 1,000 queries."""
    n, p, m = (2_000, 50, 200) if quick else (10_000, 100, 1_000)
    return _beside_peers(
        partial(setups.logistic_rows, n, p, m),
        "first_order <= 1.3 x the floor, newton <= 2 x",
        f"n = {n}, p = {p}, {m} queries, C = 1; the output takes {8 * n * m / 2**20:.0f} MB.",
    )


def g3(quick):
    """G3: multinomial logistic regression on digits, 1,797 rows, 650 parameters."""
    m = 200 if quick else 1_000
    return _beside_peers(
        partial(setups.digits_rows, m),
        "first_order <= 1.3 x the floor, newton <= 3 x",
        f"{m} queries, C = 1, the constant feature penalised too.",
    )


def g2(quick):
    """G2: exact refits without every row, beside the loop of warm refits."""
    sizes = [(500, 20)] if quick else [(5_000, 50), (10_000, 100)]
    return "\n\n".join(_g2(n, p) for n, p in sizes)


def _g2(n, p):
    make = partial(setups.logistic_rows, n, p)
    watched = np.random.default_rng(0).choice(n, 20, replace=False)
    cases = [ours("fit + d_params, refit", setups.refit_all, 1, make=make, watched=watched)]
    for solver in ("lbfgs", "newton-cholesky"):
        cases.append(
            peer(
                f"warm refits, {solver}, tol = 1e-12",
                setups.warm_refits,
                n / len(watched),
                make=make,
                watched=watched,
                solver=solver,
            )
        )
    found = measure(cases)
    truth = found[-1].answer
    errors = "; ".join(
        f"{one.case.name} {np.linalg.norm(one.answer - truth) / np.linalg.norm(truth):.1e}"
        for one in found[:-1]
    )
    return _text(
        found,
        ">= 60 x the loop of warm refits; <= 60 s",
        f"n = {n}, p = {p}. Relative difference of {len(watched)} moves of the coefficients from "
        f"the warm refits by newton-cholesky: {errors}.",
    )


def g4(quick):
    """G4: leverage, Cook's distance and DFBETAS of generalised linear models, p = 50."""
    n = 20_000 if quick else 200_000
    parts = [_g4(family, n) for family in ("gaussian", "binomial", "poisson")]
    return "\n\n".join([*parts, _g4_table(500 if quick else 5_000)])


def g4_million(quick):
    """G4: the same for 1,000,000 rows, p = 50, without statsmodels."""
    return _g4("binomial", 50_000 if quick else 1_000_000, peers=False)


def _g4(family, n, peers=True):
    size = dict(family=family, n=n, p=50)
    cases = [
        floor("numpy: weighted Gram, triangular solve", setups.floor_diagnostics, 1, **size),
        ours("fit + diagnostics", setups.diagnostics, 1, **size),
    ]
    if peers and find_spec("statsmodels"):
        cases.append(peer("statsmodels GLM get_influence", setups.statsmodels_diagnostics, **size))
    found = measure(cases, rounds=3)
    remark = (
        f"{family}, n = {n}, p = 50 and an intercept; DFBETAS take {8 * n * 51 / 2**20:.0f} MB."
    )
    if len(found) > 2:
        errors = [
            np.linalg.norm(a - b) / np.linalg.norm(b)
            for a, b in zip(found[1].answer, found[2].answer, strict=True)
        ]
        remark += " Relative difference from statsmodels: leverage {:.1e}, Cook {:.1e}.".format(
            *errors
        )
    return _text(found, "<= 3 x the floor; >= 12 x statsmodels with a tenth of its memory", remark)


def _g4_table(n):
    cases = [ours("fit + summary_frame", setups.summary_frame, 1, n=n, p=10)]
    if find_spec("statsmodels"):
        cases.append(
            peer("statsmodels OLS summary_frame", setups.statsmodels_ols_table, n=n, p=10)
        )
    return _text(
        measure(cases), ">= 1,000 x statsmodels", f"OLS, n = {n}, p = 10 and an intercept."
    )


def g5(quick):
    """G5: sparse logistic regression by conjugate gradients, 1,000,000 rows x 100,000 features."""
    n, p, density = (20_000, 2_000, 5e-3) if quick else (1_000_000, 100_000, 1e-4)
    # Every query and every row is a column of conjugate gradients; ten of each tell the rest.
    make = partial(setups.sparse_rows, n, p, density, 10)
    run = partial(ours, setup=setups.sparse_scores, threads=1, make=make, n_rows=10)
    found = measure(
        [
            run("fit (polish) alone", wanted="fit"),
            run("scores of 10 queries, fitted", wanted="scores"),
            run("self influence of 10 rows, fitted", wanted="self"),
        ],
        rounds=1,
    )
    residuals = ", ".join(f"{one.answer.get('residual', float('nan')):.1e}" for one in found)
    alone, queries, rows = (one.seconds for one in found)
    return _text(
        found,
        "100 queries and 1,000 rows in minutes, no densification, residual reported",
        f"n = {n}, p = {p}, density {density:g}; dense, {8 * n * p / 2**30:.0f} GiB; scores of "
        f"10 queries take {80 * n / 2**20:.0f} MB. Largest relative residuals of the solves: "
        f"{residuals}. By columns, 100 queries would take {alone + 10 * queries:.0f} s "
        f"and 1,000 rows {alone + 100 * rows:.0f} s, the fit included.",
    )


def g6(quick):
    """G6: self influence beside one solve against X'."""
    n, p = (2_000, 50) if quick else (10_000, 100)
    make = partial(setups.logistic_rows, n, p)
    cases = [floor("numpy: Hessian, Cholesky, one solve", setups.floor_solve, 1, make=make)]
    for include_fit, start in ((True, "fit + "), (False, "")):
        for method in ("first_order", "newton"):
            job = dict(make=make, method=method, include_fit=include_fit)
            cases.append(ours(f"{start}self_influence, {method}", setups.self_influence, 1, **job))
    return _text(
        measure(cases, rounds=5),
        "<= 1.5 x one solve against X'; never n x n",
        f"n = {n}, p = {p}; n x n would take {8 * n * n / 2**20:.0f} MB.",
    )


TARGETS = {"G1": g1, "G2": g2, "G3": g3, "G4": g4, "G4M": g4_million, "G5": g5, "G6": g6}


def _text(found, wanted, remark):
    return f"Target: {wanted}.\n\n{speed_table(found)}\n\n{remark}"


def main(argv=None):
    options = parser(__doc__.splitlines()[0]).parse_args(argv)
    for name in map(str.upper, options.only or TARGETS):
        note(f"speed_linear: {name}")
        title = TARGETS[name].__doc__.rstrip(".")
        publish(f"speed-{name.lower()}", title, TARGETS[name](options.quick), options)


if __name__ == "__main__":
    main()
