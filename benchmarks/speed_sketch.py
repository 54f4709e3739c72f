"""Speed and memory of influence sketching beside the formula in plain NumPy: R2.

    python benchmarks/speed_sketch.py [--only sparse gaussian countsketch] [--quick]

Every case runs in a process of its own and all cases take turns. See README.md.
"""

from __future__ import annotations

import resource

import numpy as np
import setups_sketch as setups
from common import floor, measure, note, ours, parser, publish, speed_table
from sketch_problem import SketchProblem
from sklearn.metrics import roc_auc_score


def r2(quick, only=None):
    """R2: influence sketch of 2.3 million rows x 100,000 sparse features, 100 a row, k = 200."""
    n, p, k = (10_000, 2_000, 50) if quick else (2_300_000, 100_000, 200)
    problem = SketchProblem(n, p)
    note("  fitting")
    model = problem.fitted()
    given = {"problem": problem, "model": model}
    kinds = ("sparse", "countsketch") if quick else ("sparse", "gaussian", "countsketch")
    cases = [floor("making the rows, twice", setups.made, 1, **given)]
    for kind in only or kinds:
        options = dict(given, k=k, projection=kind)
        cases += [
            floor(f"NumPy and SciPy, {kind}", setups.floor, 1, **options),
            ours(f'fit(blocks), projection="{kind}"', setups.sketched, 1, **options),
        ]
    found = measure(cases, rounds=1)
    text = speed_table(found, {"agreement": _Agreement(found), "AUC of planted": _Auc(problem)})
    text = f"Target: two passes, <= 10 minutes, <= 4 GB.\n\n{text}\n\n{_said(problem, found)}"
    return text


class _Agreement:
    """Largest relative difference of our scores from the floor's, case by case."""

    def __init__(self, found):
        self.floors = {}
        for one in found[1:]:
            if one.case.role == "floor":
                self.floors[one.case.arguments["projection"]] = one.answer

    def __call__(self, one):
        if one.case.role == "floor":
            return ""
        theirs = self.floors[one.case.arguments["projection"]]
        return f"{np.abs(one.answer['scores'] / theirs - 1.0).max():.0e}"


class _Auc:
    """How far up the planted rows are, by c, by the leverage, and by squared residuals alone."""

    def __init__(self, problem):
        self.planted = problem.planted

    def __call__(self, one):
        if one.case.role == "floor":
            return ""
        names = ("scores", "leverage", "squares")
        found = [roc_auc_score(self.planted, one.answer[name]) for name in names]
        return "c {:.3f}, h {:.3f}, r^2 {:.3f}".format(*found)


def _said(problem, found):
    last = next(one.answer for one in found if one.case.role == "ours")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return (
        f"n = {problem.n}, p = {problem.p}, {problem.per_row} features a row, one thread. Rows "
        "are made block by block from a seed, in every pass anew, inside the clock; the model, "
        "two epochs of averaged SGD with alpha = 1e-6, is fitted outside of it. *Agreement* is "
        "the largest relative difference of c from the floor's. Planted rows are one in a "
        "thousand: rare features, and a label against the evidence. Largest resident set of any "
        f"process {peak:.2f} GB. Leverages add up to {last['shrinkage']:.3g} of the bound on "
        f"those of the whole fit; stationarity_ {last['stationarity']:.2g}."
    )


def main(argv=None):
    options = parser(__doc__.splitlines()[0]).parse_args(argv)
    note("speed_sketch: R2")
    publish("speed-r2", r2.__doc__.rstrip("."), r2(options.quick, options.only), options)


if __name__ == "__main__":
    main()
