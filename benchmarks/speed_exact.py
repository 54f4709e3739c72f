"""Speed and memory of exact deletions beside the least arithmetic: G7 and G8.

    python benchmarks/speed_exact.py [--only G7 G8] [--quick]

Every case runs in a process of its own and all cases of a target take turns. See README.md.
"""

from __future__ import annotations

import os

import setups_exact as setups
from common import floor, measure, note, ours, parser, peer, publish, speed_table
from setups_exact import Rows

MACHINES = (
    "SVC",
    "SVC, gamma = .02",
    "SVC, balanced",
    "NuSVC",
    "SVR",
    "OneClassSVM",
    "LinearSVC, hinge",
    "SGDClassifier, hinge",
)
# Real refits that stand for one a row.
LOOPED = 10


def threads_of(quick):
    """Of the cases that are measured with more than one."""
    return 1 if quick else min(2, os.cpu_count() or 1)


def text_of(table, wanted, remark):
    return f"Target: {wanted}.\n\n{table}\n\n{remark}"


def g7(quick):
    """G7: exact deletion from kernel machines, 2,000 rows."""
    rows = Rows(300 if quick else 2_000)
    parts = [_closed(rows, threads_of(quick)), _paths(rows)]
    return text_of(
        "\n\n".join(parts),
        "self influence <= 3 x, scores of all pairs <= 7 x one Cholesky of the kernel matrix; "
        "support vector machines <= 2 ms a support row at <= 200 free vectors, exact to 1e-9",
        f"n = {rows.n}, {rows.d} columns. The floor is the factorisation of the kernel matrix, "
        "which is given to it; ours begins with a fitted model. Of machines, the explainer is "
        "fitted, at the exact optimum; *moved* are the rows that change anything, and *ms a row* "
        "is for one of them. *Error* is that of the scores of all rows, relative to "
        f"{setups.REFITS} refits that are taken to their exact optimum. Peers refit at scikit-"
        "learn's own tolerance, which does not resolve these changes.",
    )


def _closed(rows, most):
    cases = []
    for threads in range(1, most + 1):
        cases.append(
            floor("one Cholesky of the kernel matrix", setups.cholesky, threads, rows=rows)
        )
        for name in ("KernelRidge", "GaussianProcessRegressor"):
            given = {"rows": rows, "kind": name}
            cases += [
                ours(f"{name}: fit and self influence", setups.own, threads, **given),
                ours(f"{name}: fit and all pairs", setups.pairs, threads, **given),
            ]
    cases.append(
        peer("a loop of refits of KernelRidge", setups.refits, rows.n / LOOPED, most,
             rows=rows, kind="KernelRidge", n_refits=LOOPED)
    )  # fmt: skip
    return speed_table(measure(cases))


def _paths(rows):
    cases = [ours(name, setups.paths, 1, rows=rows, kind=name) for name in MACHINES]
    cases.append(
        peer("a loop of refits of SVC", setups.refits, rows.n / LOOPED, rows=rows, kind="SVC",
             n_refits=LOOPED)
    )  # fmt: skip
    columns = {
        "moved": lambda one: _said(one, "moved"),
        "free": lambda one: _said(one, "free"),
        "ms a row": _each,
        "error": lambda one: "" if one.answer is None else f"{one.answer['error']:.0e}",
    }
    return speed_table(measure(cases), columns)


def _said(one, what):
    return "" if one.answer is None else one.answer[what]


def _each(one):
    return "" if one.answer is None else f"{1e3 * one.seconds / max(1, one.answer['moved']):.3g}"


def g8(quick):
    """G8: exact deletion from closed forms, 100,000 rows of 30 columns."""
    rows = Rows(3_000 if quick else 100_000, 30)
    cases, most = [], threads_of(quick)
    models = ("LinearDiscriminantAnalysis", "QuadraticDiscriminantAnalysis", "GaussianNB")
    for threads in range(1, most + 1):
        for name in models:
            given = {"rows": rows, "kind": name}
            cases += [
                floor(f"{name}: its own fit and log probabilities", setups.fit_and_predict,
                      threads, **given),
                ours(f"{name}: fit and self influence", setups.own, threads, **given),
            ]  # fmt: skip
        cases += [
            floor("eigenvectors of a matrix a row", setups.eigenvectors, threads, rows=rows),
            ours("PCA: fit and self influence", setups.own, threads, rows=rows, kind="PCA"),
        ]
    cases.append(
        peer("a loop of refits of GaussianNB", setups.refits, rows.n / LOOPED, rows=rows,
             kind="GaussianNB", n_refits=LOOPED)
    )  # fmt: skip
    return text_of(
        speed_table(measure(cases)),
        "self influence of all rows <= 3 x (fit + predict_log_proba of the same rows); "
        "PCA <= 1 x the eigenvectors of a matrix a row",
        f"n = {rows.n}, {rows.d} columns, two classes; PCA keeps 10 components. Ours begins with "
        "a fitted model.",
    )


TARGETS = {"G7": g7, "G8": g8}


def main(argv=None):
    options = parser(__doc__.splitlines()[0]).parse_args(argv)
    for name in map(str.upper, options.only or TARGETS):
        note(f"speed_exact: {name}")
        title = TARGETS[name].__doc__.rstrip(".")
        text = TARGETS[name](options.quick)
        publish(f"speed-{name.lower()}", title, text, options)


if __name__ == "__main__":
    main()
