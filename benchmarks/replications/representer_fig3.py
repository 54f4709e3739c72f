"""Yeh et al. (2018), figures 3 to 5: rows that excite a class, rows that inhibit it, and mistakes.

    python benchmarks/replications/representer_fig3.py --data-dir DIR [--small] [--fresh]

Of test images that a network gets right: are the rows that excite their class most of that class,
and are those that inhibit it images like them with another label? Of test images that it gets
wrong in the same way: are the same rows behind all of them? And where the labels of some training
images are wrong on purpose, are *these* the rows that keep others like them from the right class?
"""

from __future__ import annotations

import dataclasses
import warnings
from collections import Counter
from typing import Any

import numpy as np
import torch
from representer_shared import L2, LAST, MNIST, SMALL, Trained, all_trained, fit, network
from shared import note, parser, publish, table

from skinfluence import InfluenceExplainer, RepresenterExplainer
from skinfluence.exceptions import NotStationaryWarning

SHOWN = 3  # rows a side, as in the paper's figures 3 and 4
BEHIND, AMONG = 4, 10  # rows of figure 5; "among the top inhibitory", which the paper does not say
REPRESENTER, OF_LABELS, INFLUENCE, PIXELS, FEATURES = METHODS = (
    "representer values", "representer values, layer of the labels", "influence, last layer",
    "nearest pixels", "nearest features",
)  # fmt: skip
# Beside the mean loss, of a last layer refitted to the labels.
PENALTY = 1e-4
# Two classes that are taken for each other, and the share of the first called the second.
CALLED, PLANTED = {"MNIST": (4, 9), "digits": (8, 1)}, 0.1


def explainers_of(found: Trained) -> dict[str, Any]:
    """Of the last layer, the others as they are, as in the paper."""
    of_labels = {"mode": "trained", "l2": PENALTY * len(found.y)}
    explainers = {
        REPRESENTER: RepresenterExplainer(
            found.module, loss="cross_entropy", l2=L2[found.recipe.name]
        ),
        OF_LABELS: RepresenterExplainer(found.module, loss="cross_entropy", **of_labels),
        INFLUENCE: InfluenceExplainer(
            found.module, loss="cross_entropy", params="last_layer", curvature="ggn"
        ),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotStationaryWarning)  # the layer of the labels is another
        return {name: one.fit(found.X, found.y) for name, one in explainers.items()}


def features(found: Trained, rows: np.ndarray) -> np.ndarray:
    """Inputs of the last layer, float64."""
    return found.before(LAST, rows).astype(np.float64)


# -- figures 3 and 4 ------------------------------------------------------------------------------


def neighbours(own: np.ndarray, asked: np.ndarray, k: int) -> np.ndarray:
    """Positions of the k nearest rows to each query, (n_queries, k)."""
    squares = (own**2).sum(1) - 2 * asked @ own.T
    return np.argsort(squares, axis=1, kind="stable")[:, :k]


def nearness(own: np.ndarray, asked: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Share of all rows that are nearer to a query than the rows named, (n_queries, k)."""
    squares = (own**2).sum(1) - 2 * asked @ own.T
    theirs = np.take_along_axis(squares, rows, axis=1)
    return np.stack([(squares < theirs[:, [j]]).mean(1) for j in range(rows.shape[1])], axis=1)


def strongest(found: Trained, explainers: dict[str, Any], at: np.ndarray) -> dict:
    """The rows that speak most for and against the class of each query, by method."""
    Z, z_y = found.Z[at], found.z_y[at]
    shown: dict[str, list] = {
        name: [
            explainer.proponents(Z, z_y, k=SHOWN, return_scores=False),
            explainer.opponents(Z, z_y, k=SHOWN, return_scores=False),
        ]
        for name, explainer in explainers.items()
    }
    pixels = (found.X.reshape(len(found.X), -1), Z.reshape(len(Z), -1))
    spaces = {PIXELS: pixels, FEATURES: (features(found, found.X), features(found, Z))}
    for name, (own, asked) in spaces.items():
        shown[name] = [neighbours(own, asked, SHOWN), None]
    return {
        name: [
            None if rows is None else _described(found, rows, z_y, spaces[FEATURES])
            for rows in sides
        ]
        for name, sides in shown.items()
    }


def _described(found, rows, labels, space):
    return {
        "same class": float(np.mean(found.y[rows] == labels[:, None])),
        "nearer": float(np.median(nearness(*space, rows))),
        "distinct": len(np.unique(rows)) / rows.size,
    }


# -- figure 5 -------------------------------------------------------------------------------------


def mistakes(found: Trained, explainer: RepresenterExplainer, at_most: int = 3) -> list[dict]:
    """The commonest confusions, and the rows that inhibit the right class in all of them."""
    said, own = found.predicted(found.Z), found.predicted(found.X)
    wrong = np.flatnonzero(said != found.z_y)
    pairs = Counter(zip(found.z_y[wrong].tolist(), said[wrong].tolist(), strict=True))
    results = []
    for (right, taken), count in pairs.most_common(at_most):
        these = np.flatnonzero((found.z_y == right) & (said == taken))
        fine = np.flatnonzero((found.z_y == right) & (said == right))
        rows, others = (
            explainer.opponents(found.Z[part], target_class=right, k=AMONG, return_scores=False)
            for part in (these, fine)
        )
        values, times = np.unique(rows, return_counts=True)
        behind = values[np.argsort(-times, kind="stable")[:BEHIND]]
        of_class = (found.y == right) & (own != right)
        results.append(
            {
                "pair": (right, taken),
                "mistakes": count,
                "behind": _present(behind, rows),
                "by chance": _present(behind, others),
                "labels": found.y[behind],
                "of these": found.y[rows],
                "training": (int((own[of_class] == taken).sum()), int(of_class.sum())),
            }
        )
    return results


def _present(behind, rows):
    """Mean share of the rows behind the mistakes that are among those of each query."""
    return float(np.mean([np.isin(behind, one).mean() for one in rows]))


# -- wrong labels that explain mistakes -----------------------------------------------------------


def planted(found: Trained) -> dict:
    """Share of rows with a wrong label among those that speak most against the right class."""
    right, called = CALLED[found.recipe.name]
    rng = np.random.default_rng(0)
    candidates = np.flatnonzero(found.y == right)
    bad = rng.choice(candidates, round(PLANTED * len(candidates)), replace=False)
    y = found.y.copy()
    y[bad] = called
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = network(found.X.shape[1:], found.recipe)
    fit(module, torch.as_tensor(found.X), torch.as_tensor(y), found.recipe)
    other = dataclasses.replace(found, module=module, y=y)
    said = other.logits(found.Z)
    # Those of the class that are likeliest to be taken for the other: mistakes first.
    margin = np.where(found.z_y == right, said[:, called] - said[:, right], -np.inf)
    at = np.argsort(-margin, kind="stable")[:20]
    labels = np.full(len(at), right)
    is_bad = np.isin(np.arange(len(y)), bad)
    against = y == called
    shares: dict[str, Any] = {
        name: is_bad[explainer.opponents(found.Z[at], labels, k=AMONG, return_scores=False)].mean()
        for name, explainer in explainers_of(other).items()
    }
    space = features(other, found.X[against]), features(other, found.Z[at])
    near = np.flatnonzero(against)[neighbours(*space, AMONG)]
    shares[f"{FEATURES}, of those called {called}"] = is_bad[near].mean()
    return {
        "pair": (right, called),
        "planted": len(bad),
        "fitted": float(np.mean(other.predicted(found.X[bad]) == called)),
        "mistakes": int((margin > 0).sum()),
        "base": float(is_bad[against].mean()),
        "shares": shares,
    }


# -- results --------------------------------------------------------------------------------------


def study(found: Trained, n_queries: int) -> dict:
    right = np.flatnonzero(found.predicted(found.Z) == found.z_y)[:n_queries]
    explainers = explainers_of(found)
    result = {
        "queries": len(right),
        "sides": strongest(found, explainers, right),
        "mistakes": [
            one | {"method": name}
            for name in (REPRESENTER, OF_LABELS)
            for one in mistakes(found, explainers[name])
        ],
        "l2": explainers[REPRESENTER].l2_,
        "reconstruction": explainers[REPRESENTER].reconstruction_.pearson,
        "damping": explainers[INFLUENCE].damping_,
    }
    if found.recipe in (MNIST, SMALL):
        result["planted"] = planted(found)
    note(f"{found.recipe.name}: done")
    return result


OF_MISTAKES = [
    "method", "mistake", "test images", "the four among their ten",
    "among those of images got right", "labels of the four",
    "of all ten, of the class taken for", "training images wrong, in the same way",
]  # fmt: skip


def report(found: Trained, result: dict) -> str:
    header = [
        "method", "for: of the class", "nearer rows", "distinct",
        "against: of the class", "nearer rows", "distinct",
    ]  # fmt: skip
    rows = []
    for name, sides in result["sides"].items():
        cells = []
        for one in sides:
            cells += ["", "", ""] if one is None else [f"{one[key]:.1%}" for key in one]
        rows.append([name, *cells])
    name = found.classes
    of_mistakes = [
        [
            one["method"],
            f"{name[one['pair'][0]]}, taken for {name[one['pair'][1]]}",
            one["mistakes"],
            f"{one['behind']:.0%}",
            f"{one['by chance']:.0%}",
            ", ".join(name[label] for label in one["labels"]),
            f"{np.mean(one['of these'] == one['pair'][1]):.0%}",
            "{} of {}".format(*one["training"]),
        ]
        for one in result["mistakes"]
    ]
    parts = [
        f"## {found.recipe.name}",
        f"{found.said()} Refitted with l2 = {result['l2']:.3g}, outputs correlate at "
        f"{result['reconstruction']:.5f}; influence has damping {result['damping']:.2g}. "
        f"{result['queries']} test images that are right, {SHOWN} rows a side:",
        table(header, rows),
        "The commonest mistakes, and the four rows that most often are among the "
        f"{AMONG} that inhibit the right class:",
        table(OF_MISTAKES, of_mistakes),
    ]  # fmt: skip
    if "planted" in result:
        parts += _planted_report(result["planted"])
    return "\n\n".join(parts)


def _planted_report(one):
    right, called = one["pair"]
    rows = [[name, f"{share:.1%}"] for name, share in one["shares"].items()]
    rows.append([f"all rows called {called}", f"{one['base']:.1%}"])
    return [
        f"Another network is trained with {PLANTED:.0%} of the {right}s ({one['planted']}) called "
        f"{called}; it fits {one['fitted']:.0%} of these labels. The 20 test images of a {right} "
        f"that are nearest to being called {called} ({one['mistakes']} are): of the {AMONG} rows "
        f"that speak most against {right}, those with a wrong label.",
        table(["method", "wrong labels"], rows),
    ]


NOTES = """\
*Nearer rows*: the share of the training rows that are nearer to the test image in the features, in
the median: how like it the rows shown are. *Distinct*: different rows among all that are shown. A
method that shows the same rows for many queries has few. The paper has two test images for each of
its figures 3 and 4 and says that representers show rows like them, with their label and with
others, where influence shows those in one case and not in the other. For figure 5 it has 12
mistakes of one kind with the same four rows among the top inhibitory ones of all; it does not say
how many these are among, nor whether images that are got right have them as well. Here mistakes of
a kind share their four rows, too (89 % in the mean over the tables), and images that are got right
have most of them as well (69 %): rows of large alpha inhibit that class whatever is asked, as
features behind a rectifier are never negative and no row is unlike another. They say more about a
mistake where labels are wrong and the layer is refitted to the *labels*. Refitted to the outputs,
alpha knows of labels only what the network made of them."""


def main(argv=None):
    options = parser(__doc__.splitlines()[0]).parse_args(argv)
    networks = all_trained(options)
    if not networks:
        return None
    found = {one.recipe.name: study(one, 300 if options.quick else 1_000) for one in networks}
    texts = [report(one, found[one.recipe.name]) for one in networks]
    stand_in = (
        "Command: `representer_fig3.py`. Small networks on CIFAR-10 and MNIST stand in for a "
        "ResNet-50 on Animals with Attributes."
    )
    title = "Yeh et al., figures 3 to 5: rows that excite, rows that inhibit, and mistakes"
    publish("representer-fig3", title, "\n\n".join([stand_in, *texts, NOTES]), options)
    return found


if __name__ == "__main__":
    main()
