"""Speed and memory of representer values beside one product of matrices: R1.

    python benchmarks/speed_representers.py [--only R1] [--quick]

Every case runs in a process of its own and all cases of a target take turns. See README.md.
"""

from __future__ import annotations

from dataclasses import replace

import setups_representers as setups
from common import floor, measure, note, ours, parser, peer, publish, speed_table
from setups_representers import HeadProblem
from speed_networks import Setting, agreement, text_of

SAID = "n = {n}, {m} queries, {d} features of rectifiers, {n_classes} classes, float64 throughout"


def r1(setting):
    """R1: representer values of 50,000 rows x 1,000 queries, 512 features, 10 classes."""
    problem = HeadProblem(1_500, 40, 64) if setting.quick else HeadProblem(50_000, 1_000)
    parts = [_values(setting, problem), _fits(setting, problem)]
    return text_of(
        "\n\n".join(parts),
        "values <= 1.3 x one product, < 1 ms a query; fit of the last layer <= 1 minute",
        f"{SAID.format(**vars(problem))}. Values are of the class that each query has, with the "
        "explainer fitted; the product is of the same features in float64, into a new array. "
        "*Agreement* is the scale of the values, what it leaves (relative), and Spearman's "
        "correlation, with those of a loop over queries. *Decomposition* is the largest "
        "difference between an output and its sum over rows, relative to the largest output; "
        "l2 = .001 a row but where one is looked for.",
    )


def _values(setting, problem):
    share = 20 if problem.m >= 400 else 1
    # Of a copy: what it draws is not to travel to the processes.
    reference = setups.published(replace(problem), setups.QUERIES)
    reference = reference.digest(reference.run())
    cases = []
    for t in range(1, setting.threads + 1):
        cases += [
            floor("one product of features", setups.product, t, problem=problem),
            ours("score_influence", setups.values, t, problem=problem),
            ours("proponents, k = 10", setups.values, t, problem=problem, k=10),
        ]
    few = HeadProblem(problem.n, problem.m // share, problem.d, problem.n_classes)
    cases += [
        peer("a loop over queries, as published", setups.published, share, setting.threads,
             problem=problem, queries=few.m),
        peer("score_influence query by query", setups.values, share, setting.threads,
             problem=few, one_by_one=True),
    ]  # fmt: skip
    compared = agreement(reference)

    def cell(one):
        return "" if one.answer is None else compared(one)

    def each(one):
        return f"{1e3 * one.seconds / problem.m:.3g}"

    return speed_table(measure(cases), {"ms a query": each, "agreement": cell})


def _fits(setting, problem):
    l2, t = 1e-3 * problem.n, setting.threads
    cases = [
        ours("fit, to the outputs, l2 looked for", setups.fit, t, problem=problem),
        ours("fit, to the outputs", setups.fit, t, problem=problem, l2=l2),
        ours("fit, to the labels", setups.fit, t, problem=problem, l2=l2, mode="trained"),
    ]
    cases += [
        peer(f"scikit-learn, to the labels, tol = {tol:g}", setups.sklearn_fit, 1, t,
             problem=problem, l2=l2, tol=tol)
        for tol in (1e-4, 1e-8)
    ]  # fmt: skip
    return speed_table(measure(cases), {"decomposition": lambda one: f"{one.answer:.0e}"})


TARGETS = {"R1": r1}


def main(argv=None):
    options = parser(__doc__.splitlines()[0]).parse_args(argv)
    for name in map(str.upper, options.only or TARGETS):
        note(f"speed_representers: {name}")
        title = TARGETS[name].__doc__.rstrip(".")
        text = TARGETS[name](Setting(options.quick, options.device))
        publish(f"speed-{name.lower()}", title, text, options)


if __name__ == "__main__":
    main()
