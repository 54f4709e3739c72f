"""Yeh et al. (2018), figures 7 and 8: influence on the loss vanishes where representers do not.

    python benchmarks/replications/representer_fig7.py --data-dir DIR [--small] [--fresh]

Figure 7: the largest value, in size, that any training row has for a test image, over many test
images. Figure 8: two classes in the plane with a wide gap between them, and a point of one of
them; how large are values there, and are the rows with large ones those at the gap?
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from representer_shared import L2, Trained, all_trained
from shared import note, parser, publish, table
from torch import nn
from torch.nn import functional as F

from skinfluence import InfluenceExplainer, RepresenterExplainer
from skinfluence.exceptions import NotStationaryWarning

# Edges of the bins of figure 7, in units of the median over the test images of representers, and
# of the largest for influence, so that what has vanished is told whatever the unit.
EDGES = (1e-12, 1e-9, 1e-6, 1e-3, 1e-1)
LOSS, LOGIT, REPRESENTER = "influence on the loss", "influence on the logit", "representer values"


def explainers_of(module, X, y, **representer):
    """Of the last layer; influence on the loss, and on the logit of the class."""
    last = {"loss": "cross_entropy", "params": "last_layer", "curvature": "ggn"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotStationaryWarning)
        return {
            REPRESENTER: RepresenterExplainer(
                module, loss="cross_entropy", **representer
            ).fit(X, y),
            LOSS: InfluenceExplainer(module, **last).fit(X, y),
            LOGIT: InfluenceExplainer(module, target="decision_function", **last).fit(X, y),
        }  # fmt: skip


# -- figure 7 -------------------------------------------------------------------------------------


def largest(explainer, Z, labels) -> np.ndarray:
    """The largest size of a value at each query, (n_queries,)."""
    found = []
    for part in np.array_split(np.arange(len(Z)), max(1, len(Z) // 100)):
        scores = explainer.score_influence(Z[part], labels[part])
        found.append(np.abs(scores).max(axis=1))
    return np.concatenate(found)


def distribution(found: Trained, n_queries: int) -> dict[str, np.ndarray]:
    """Largest values of test images, by method; of the class that the network says."""
    Z = found.Z[:n_queries]
    labels = found.predicted(Z)
    explainers = explainers_of(found.module, found.X, found.y, l2=L2[found.recipe.name])
    values = {name: largest(one, Z, labels) for name, one in explainers.items()}
    note(f"{found.recipe.name}: done")
    return values


def in_bins(values: np.ndarray) -> np.ndarray:
    """Shares: exactly zero, then by size relative to the largest, (len(EDGES) + 2,)."""
    relative = values[values > 0] / values.max(initial=1e-300)
    counts = np.histogram(relative, bins=(0.0, *EDGES, np.inf))[0]
    return np.append(np.sum(values == 0), counts) / len(values)


# -- figure 8 -------------------------------------------------------------------------------------


def two_classes(n: int = 200, seed: int = 0):
    """Points of the plane, float32, in two squares with a gap that is as wide as they are."""
    rng = np.random.default_rng(seed)
    y = np.repeat([0, 1], n // 2)
    X = rng.uniform(-1, 1, (n, 2)) + np.where(y == 1, 2.0, -2.0)[:, None] * [1.0, 0.0]
    return X.astype(np.float32), y


def perceptron(X, y, steps: int = 3_000):
    """A hidden layer of rectifiers, trained long beyond the last mistake."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 2))
        optimiser = torch.optim.Adam(module.parameters(), lr=0.02)
        rows, labels = torch.as_tensor(X), torch.as_tensor(y)
        for _ in range(steps):
            optimiser.zero_grad()
            F.cross_entropy(module(rows), labels).backward()
            optimiser.step()
    return module.eval()


def margin_toy() -> dict:
    """Values of all rows at one point in each class, and whose the strongest are."""
    X, y = two_classes()
    module = perceptron(X, y)
    queries, labels = np.array([[2.0, 0.0], [-2.0, 0.0]], dtype=np.float32), np.array([1, 0])
    outputs = module(torch.as_tensor(queries)).detach()
    own = F.cross_entropy(module(torch.as_tensor(X)), torch.as_tensor(y), reduction="none")
    results = {}
    explainers = explainers_of(module, X, y)
    explainers["representer values, layer of the labels"] = explainers_of(
        module, X, y, mode="trained", l2=1e-4 * len(y)
    )[REPRESENTER]
    for name, explainer in explainers.items():
        scores = explainer.score_influence(queries, labels)
        # Influence on a logit is what deletion does to it: rows that support it are negative.
        support = -scores if name == LOGIT else scores
        order = np.argsort(-support, axis=1, kind="stable")
        pro, contra = order[:, :5], order[:, -5:]
        gap = np.abs(X[:, 0]) - 1.0
        results[name] = {
            "largest": float(np.abs(scores).max()),
            "zeros": float(np.mean(scores == 0)),
            "own class for": float(np.mean(y[pro] == labels[:, None])),
            "other class against": float(np.mean(y[contra] != labels[:, None])),
            "signs": float(np.mean((support > 0) == (y == labels[:, None]))),
            "distance for": float(np.mean(gap[pro])),
            "distance against": float(np.mean(gap[contra])),
        }
    again = perceptron(*(np.delete(part, strongest_row(explainers, queries, labels), axis=0)
                         for part in (X, y)))  # fmt: skip
    losses = [
        F.cross_entropy(net(torch.as_tensor(queries)).double(), torch.as_tensor(labels)).item()
        for net in (module, again)
    ]
    return {
        "results": results,
        "logits": outputs.numpy(),
        "largest loss": float(own.detach().max()),
        "losses": losses,
    }


def strongest_row(explainers, queries, labels) -> int:
    """The row of largest representer value at the first query."""
    scores = explainers[REPRESENTER].score_influence(queries[:1], labels[:1])[0]
    return int(np.argmax(np.abs(scores)))


# -- results --------------------------------------------------------------------------------------


def report(found: Trained, values: dict[str, np.ndarray]) -> str:
    header = [
        "largest value of a test image, over the largest of all", "exactly 0",
        *(f"< {edge:g}" for edge in EDGES), f">= {EDGES[-1]:g}", "median", "largest",
    ]  # fmt: skip
    rows = [
        [name, *(f"{share:.1%}" for share in in_bins(one)), np.median(one), one.max()]
        for name, one in values.items()
    ]
    n = len(next(iter(values.values())))
    return "\n\n".join(
        [f"## Figure 7: {found.recipe.name}", f"{found.said()} {n} test images.",
         table(header, rows)]
    )  # fmt: skip


def toy_report(toy: dict) -> str:
    header = [
        "method", "largest value", "exactly 0", "sign is that of the class",
        "five strongest for: of the class", "distance to the gap", "against: of the other",
        "distance to the gap",
    ]  # fmt: skip
    rows = [
        [
            name,
            *(float(one["largest"]), f"{one['zeros']:.0%}", f"{one['signs']:.0%}"),
            *(f"{one['own class for']:.0%}", f"{one['distance for']:.2f}"),
            *(f"{one['other class against']:.0%}", f"{one['distance against']:.2f}"),
        ]
        for name, one in toy["results"].items()
    ]
    before, after = toy["losses"]
    return "\n\n".join(
        [
            "## Figure 8: two classes with a gap",
            "200 points in two squares of side 2, two apart; a hidden layer of 32 rectifiers, "
            f"trained until the largest loss of a point is {toy['largest loss']:.1e}. The queries "
            "are the centres of the squares. *Distance to the gap* is between 0 and 2, and 1 in "
            "the mean.",
            table(header, rows),
            "Trained again without the row of largest representer value, the mean loss of the "
            f"queries goes from {before:.2e} to {after:.2e}.",
        ]
    )


NOTES = """\
The paper finds that over 300 of 1,000 test images of CIFAR-10 have influence values of exactly 0
for all rows and some 200 more very small ones, of a VGG-16; and that all are 0 in the plane. The
loss of a test image that the network is sure of is flat, and with it what any row does to it; that
much is right, as a training without the row shows. The *logit* is not flat there, and influence on
it (`target="decision_function"`) vanishes no more than representers do. Nothing is exactly 0 here:
slopes are taken of the logarithm of the softmax, which loses no digits where probabilities are
near 1. In the plane, a layer refitted to the labels has the picture of the paper. Refitted to the
outputs, rows of the own class inhibit it, too: those whose output is a little below what the refit
gives them."""


def main(argv=None):
    options = parser(__doc__.splitlines()[0]).parse_args(argv)
    networks = all_trained(options)
    found = {
        one.recipe.name: distribution(one, 300 if options.quick else 1_000) for one in networks
    }
    if not found:
        return None
    toy = margin_toy()
    texts = [report(one, found[one.recipe.name]) for one in networks]
    stand_in = (
        "Command: `representer_fig7.py`. Small networks stand in for VGG-16. All methods are of "
        "the last layer, the others as they are, and about the class that the network says."
    )
    title = "Yeh et al., figures 7 and 8: values that vanish"
    publish(
        "representer-fig7", title,
        "\n\n".join([stand_in, *texts, toy_report(toy), NOTES]), options,
    )  # fmt: skip
    return {"figure 7": found, "figure 8": toy}


if __name__ == "__main__":
    main()
