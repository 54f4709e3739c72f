"""Yeh et al. (2018), table 1: what representer values cost, and what influence does.

    python benchmarks/replications/representer_table1.py --data-dir DIR [--small] [--fresh]

The seconds that it takes to be ready (a refit of the last layer; a curvature), and those for the
values of all training rows at one test image, over 50 test images asked one by one as the paper
did, and asked together.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from representer_shared import CIFAR, Trained, all_trained
from shared import note, parser, publish, table

from skinfluence import InfluenceExplainer, RepresenterExplainer

QUERIES, ROWS = 50, 2_000
# One by one, of those that go through all rows again for every one.
FEW = 3
# What searches again for every query is measured on one, and on the smaller networks.
SEARCH = "conjugate gradients"
REPRESENTER = "representer values"
LAST = {"loss": "cross_entropy", "params": "last_layer", "curvature": "ggn"}
# A tenth of the mean eigenvalue is what is added where a curvature is not definite.
ALL = {"loss": "cross_entropy", "damping": 0.01}
WAYS: dict[str, tuple[type, dict[str, Any], int]] = {
    REPRESENTER: (RepresenterExplainer, {"loss": "cross_entropy"}, QUERIES),
    "influence, last layer, factorised": (InfluenceExplainer, LAST, FEW),
    f"influence, last layer, {SEARCH}": (
        InfluenceExplainer, LAST | {"solver": "cg", "damping": 0.001}, 1,
    ),
    "influence, all layers, EK-FAC": (
        InfluenceExplainer, ALL | {"curvature": "ekfac"}, FEW,
    ),
    f"influence, all layers, {SEARCH}": (
        InfluenceExplainer, ALL | {"curvature": "ggn", "solver": "cg", "tol": 1e-2}, 1,
    ),
}  # fmt: skip


def seconds(run) -> float:
    """Of one thread, which is all that is used: others on the machine do not count."""
    start = time.process_time()
    run()
    return time.process_time() - start


def timed(found: Trained, explainer: Any, n_each: int, n_together: int) -> dict[str, Any]:
    """Seconds to be ready, one by one, and together."""
    X, y = found.X[:ROWS], found.y[:ROWS]
    ready = seconds(lambda: explainer.fit(X, y))
    Z, labels = found.Z[:n_together], found.predicted(found.Z[:n_together])
    explainer.score_influence(Z[:1], labels[:1])  # what is done but once
    each = [
        seconds(lambda at=at: explainer.score_influence(Z[at : at + 1], labels[at : at + 1]))
        for at in range(n_each)
    ]
    together = None
    if n_each > 1:
        together = seconds(lambda: explainer.score_influence(Z, labels)) / n_together
    return {"ready": ready, "each": np.array(each), "together": together}


def study(found: Trained, queries: int) -> dict[str, dict]:
    """All ways, by name."""
    results = {}
    for name, (kind, options, n_each) in WAYS.items():
        if SEARCH in name and found.recipe is CIFAR:
            continue
        explainer = kind(found.module, **options)
        results[name] = timed(found, explainer, min(n_each, queries), queries)
        note(f"{found.recipe.name}, {name}: done")
    return results


def _mean_and_spread(values):
    spread = f" ± {values.std():.2g}" if len(values) > 1 else ""
    return f"{values.mean():.3g}{spread}"


def report(found: Trained, results: dict) -> str:
    ours = results[REPRESENTER]
    rows = [
        [
            name,
            f"{one['ready']:.2f}",
            _mean_and_spread(1e3 * one["each"]),
            "" if one["together"] is None else f"{1e3 * one['together']:.3g}",
            "" if one is ours else f"{one['each'].mean() / ours['each'].mean():.3g} x",
            len(one["each"]),
        ]
        for name, one in results.items()
    ]
    header = [
        "way", "s to be ready", "ms a test image, one by one", "together", "one by one, x ours",
        "test images",
    ]  # fmt: skip
    return "\n\n".join([f"## {found.recipe.name}", found.said(), table(header, rows)])


NOTES = """\
CPU seconds of one thread; mean ± standard deviation over the test images, after a first one. The
paper's table has influence functions that are ready at once and search again for every test image,
and representers that are refitted once and then quick. Of a last layer the curvature can be
factorised once, too; then most of the time of one test image is spent on running all rows through
the network again, which is shared by those that are asked together. Representers keep the features
of the rows. What costs is to follow *all* layers, which representers do not. For conjugate
gradients over all layers the tolerance is 1e-2."""


def main(argv=None):
    options = parser(__doc__.splitlines()[0]).parse_args(argv)
    networks = all_trained(options)
    if not networks:
        return None
    found = {one.recipe.name: study(one, 10 if options.quick else QUERIES) for one in networks}
    texts = [report(one, found[one.recipe.name]) for one in networks]
    stand_in = (
        "Command: `representer_table1.py`. Small networks on CIFAR-10 and MNIST stand in for "
        f"VGG-16 and ResNet-50. The first {ROWS} training images are explained by; searches for "
        "every test image are left out for CIFAR-10, and measured on one."
    )
    publish(
        "representer-table1", "Yeh et al., table 1: cost",
        "\n\n".join([stand_in, *texts, NOTES]), options,
    )  # fmt: skip
    return found


if __name__ == "__main__":
    main()
