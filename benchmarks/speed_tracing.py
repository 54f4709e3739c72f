"""Speed and memory of tracing a VAE, the cost of recording, and of being killed: T1 to T5.

    python benchmarks/speed_tracing.py [--only T1 T4] [--quick] [--device cuda]

Every case runs in a process of its own and all cases of a target take turns. See README.md.
"""

from __future__ import annotations

import killed
import numpy as np
import recording_cost
import setups_tracing as setups
from common import Case, floor, measure, note, ours, parser, peer, publish, speed_table, table
from speed_networks import Setting, agreement, text_of
from vaes import VaeProblem, trained_vae

ROWS = "n = {n}, {m} queries, {draws} draws a row"


def _problem(setting: Setting, n: int, m: int, reduced: tuple[int, int, int]) -> VaeProblem:
    """A trained VAE with n rows, m queries and 16 draws, or fewer."""
    n, m, draws = reduced if setting.quick else (n, m, 16)
    return trained_vae(n, m, draws, setting.device)


# -- scores and self influence ------------------------------------------------------------------


def t1(setting):
    """T1: VAE-TracIn, beta-VAE 784-512-256-128, 16 draws, 1,000 rows x 32 queries."""
    problem = _problem(setting, 1_000, 32, reduced=(200, 8, 4))
    cases = []
    for t in range(1, setting.threads + 1):
        cases += [
            floor("torch: GEMMs layer by layer, all pairs of draws", setups.floor, t,
                  problem=problem),
            ours("fit + score_influence", setups.scores, t, problem=problem),
        ]  # fmt: skip
    share = {"row_loop": 20, "loop_with_joint_draws": 5, "vmapped": 1}
    names = (
        "a loop over rows, and over draws, as published",
        "a loop over rows, all draws at once",
        "vmap(grad), 50 rows at a time",
    )
    cases += [
        peer(name, setups.peer, times, setting.threads, problem=problem, function=function,
             rows=problem.n // times)
        for name, (function, times) in zip(names, share.items(), strict=True)
    ]  # fmt: skip
    reference = setups.reference(problem)
    return text_of(
        speed_table(measure(cases), {"agreement": agreement(reference)}),
        "<= 1.5 x the floor; >= 50 x the published loop over rows",
        f"{_said(problem)}. The noise of floors and peers, and the queries' gradients of peers, "
        "are there when their clock starts. Peers keep the queries' gradients, as the published "
        "scripts do. " + _compared(reference),
    )


def t2(setting):
    """T2: the same for 60,000 rows x 128 queries: minutes and memory."""
    problem = _problem(setting, 60_000, 128, reduced=(1_000, 16, 4))
    share, t = 10, setting.threads
    part = dict(problem=problem, rows=problem.n // share)
    cases = [
        Case("floor", "torch: GEMMs layer by layer", setups.floor, part, t, times=share),
        ours("fit + score_influence", setups.scores, t, problem=problem),
    ]
    reference = setups.reference(problem)
    return text_of(
        speed_table(measure(cases, rounds=1), {"agreement": agreement(reference)}),
        "<= 5 minutes a checkpoint, <= 3 GB",
        f"{_said(problem)}; the rows are there before the clock starts and take "
        f"{problem.n * 784 * 4 / 2**20:.0f} MB, the scores {problem.n * problem.m * 8 / 2**20:.0f}"
        f" MB. {_compared(reference)}",
    )


def t3(setting):
    """T3: self influence with its standard error, 60,000 rows, 16 draws."""
    problem = _problem(setting, 60_000, 16, reduced=(500, 8, 6))
    share, t = 10, setting.threads
    part = dict(problem=problem, rows=problem.n // share, own=True)
    cases = [
        Case("floor", "torch: products among a row's draws", setups.floor, part, t, times=share),
        ours("fit + self_influence(return_std=True)", setups.own, t, problem=problem),
    ]
    reference = setups.reference(problem, own=True)

    def compared(one):
        return agreement(reference)(_first(one))

    columns = {"agreement": compared, "standard error / self influence, median": _error}
    return text_of(
        speed_table(measure(cases, rounds=1), columns),
        "<= 2 minutes",
        f"{_said(problem)}, unbiased: products of different draws only. The floor runs the "
        "encoder forwards once a row and gives no standard errors. " + _compared(reference),
    )


def _first(one):
    """A measurement whose answer is the values alone, without their standard errors."""
    if one.case.role == "floor":
        return one
    return type(one)(**{**vars(one), "answer": one.answer[0]})


def _error(one):
    return "" if one.case.role == "floor" else f"{np.median(one.answer[1] / one.answer[0]):.3f}"


def _said(problem):
    return ROWS.format(n=problem.n, m=problem.m, draws=problem.draws)


def _compared(reference):
    q, n = np.atleast_2d(reference).shape
    return (
        "Agreement is the scale of the scores, what it leaves (relative), and Spearman's "
        f"correlation, over {q} x {n} of them, with the floor in float64 at the same noise."
    )


# -- recording ----------------------------------------------------------------------------------

C = 30


def t4(setting):
    """T4: recording 30 checkpoints, by size of the network."""
    n_steps = 60 if setting.quick else 4_690
    kinds = list(recording_cost.NETS)[: 1 if setting.quick else None]
    ways = {
        "in memory": dict(where="memory", keep=C),
        "on disk, keep=30": dict(where="disk", keep=C),
        f"on disk, every={n_steps // C}": dict(where="disk", every=n_steps // C),
        "on disk, every, no optimiser": dict(
            where="disk", every=n_steps // C, optimizer_state=False
        ),
    }
    rows = []
    for kind in kinds:
        given = dict(kind=kind, n_steps=n_steps)
        cases = [floor("alone", recording_cost.training, 1, **given)]
        cases += [
            ours(name, recording_cost.training, 1, **given, **way) for name, way in ways.items()
        ]
        alone, *recorded = measure(cases, rounds=1)
        rows += [_recorded(kind, n_steps, alone, one) for one in recorded]
    header = [
        "network", "parameters", "recorded", "ms a step alone", "inside the recorder",
        "longer", "kept", "MB on disk",
    ]  # fmt: skip
    return text_of(
        table(header, rows),
        "<= 2 % of the training time",
        f"{n_steps} steps of Adam in batches of {recording_cost.BATCH}, one thread: ten epochs of "
        "60,000 rows. *Inside the recorder* is by a clock around its calls, over the rest of the "
        "same run: it does not suffer from other runs of the machine, as *longer* does. With "
        "keep=30 all states but the newest wait in memory while writing them would take more than "
        "a hundredth of the time, so that most of the early ones, which are dropped again, are "
        "never written.",
    )


def _recorded(kind, n_steps, alone, one):
    n_parameters, whole, inside, kept, size = one.answer
    return [
        kind, n_parameters, one.case.name, 1e3 * alone.best / n_steps,
        f"{inside / (whole - inside):.2%}", f"{one.best / alone.best - 1:+.1%}", kept, round(size),
    ]  # fmt: skip


# -- being killed -------------------------------------------------------------------------------


def t5(setting):
    """T5: killed at a random moment and gone on with."""
    n_steps, tries = (60, 1) if setting.quick else (1_500, 3)
    scores = _problem(setting, 10_000, 64, reduced=(600, 8, 4))
    own = _problem(setting, 20_000, 8, reduced=(600, 8, 4))
    # States are at least so many seconds apart; ten by default.
    every = 0.1 if setting.quick else 10.0
    works = {
        "score_influence": (killed.scored, dict(problem=scores, own=False, every=every), "blocks"),
        "self_influence": (killed.scored, dict(problem=own, own=True, every=every), "blocks"),
        "training, every=20": (killed.trained, dict(n_steps=n_steps, every=20), "steps"),
    }
    if setting.quick:
        del works["score_influence"]
    rng, rows = np.random.default_rng(), []
    for name, (work, arguments, unit) in works.items():
        for share in rng.uniform(0.15, 0.85, tries):
            note(f"  killing {name} after {share:.0%}")
            found = killed.survive(work, share, **arguments)
            lost = found.again * found.whole / found.steps
            rows.append(
                [name, f"{found.whole:.3g}", f"{found.steps} {unit}", f"{found.killed:.0%}",
                 found.again, f"{lost:.2g}", "yes" if found.same else "NO"]
            )  # fmt: skip
    header = ["work", "s", "done in", "killed after", "done twice", "s lost", "same numbers"]
    return text_of(
        table(header, rows),
        "the same numbers; work lost <= one block",
        f"Killed by SIGKILL. A state of the sums is written {every:g} s after the last one at the "
        "earliest, so that what is lost is at most that and a block; a training loses the "
        "steps since its last file. Blocks are as large as working_memory lets them. The seconds "
        "include the start of a process; one thread.",
    )


TARGETS = {"T1": t1, "T2": t2, "T3": t3, "T4": t4, "T5": t5}


def main(argv=None):
    options = parser(__doc__.splitlines()[0]).parse_args(argv)
    for name in map(str.upper, options.only or TARGETS):
        note(f"speed_tracing: {name}")
        title = TARGETS[name].__doc__.rstrip(".")
        text = TARGETS[name](Setting(options.quick, options.device))
        publish(f"speed-{name.lower()}", title, text, options)


if __name__ == "__main__":
    main()
