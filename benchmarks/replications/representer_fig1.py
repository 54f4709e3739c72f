"""Yeh et al. (2018), figure 1: a layer that is a sum over training rows, beside the network's own.

    python benchmarks/replications/representer_fig1.py --data-dir DIR [--small] [--fresh]

The last layer is refitted, with an l2 penalty, to the outputs that the network has (equation 4).
How near do its outputs come to the network's own, on rows it was fitted to and on new ones, by the
strength of the penalty? The same for the hidden layer before it, which section 3.2 promises.
"""

from __future__ import annotations

import time
import warnings

import numpy as np
from representer_shared import FEATURES, LAST, SMALL, Trained, all_trained
from shared import note, parser, publish, table
from torch import nn

from skinfluence import RepresenterExplainer
from skinfluence.exceptions import NotStationaryWarning

# Beside the mean of the losses, as the paper's lambda is; None is the one found by itself.
PENALTIES = {
    LAST: (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, None),
    FEATURES: (1.0, 1e-1, 1e-2, 1e-3, 1e-4, None),
}


def reconstructed(
    module: nn.Module, layer: str, X: np.ndarray, Z: np.ndarray, penalty: float | None
) -> dict:
    """How near the refitted layer comes, on training and on test rows.

    The module begins with the layer: what is before it stays as it is, and is computed but once.
    """
    l2 = None if penalty is None else penalty * len(X)
    # Given where the outputs of the network are decomposed; hidden layers say what follows them.
    loss = "cross_entropy" if layer == LAST else None
    explainer = RepresenterExplainer(module, layer=layer, loss=loss, l2=l2)
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotStationaryWarning)  # strong penalties: that is shown
        explainer.fit(X)
    seconds = time.process_time() - start
    return {
        "penalty": np.max(explainer.l2_) / len(X),
        "chosen": penalty is None,
        "seconds": seconds,
        "train": explainer.reconstruction_,
        "test": explainer.validate(Z),
        "stationarity": explainer.stationarity_[1],
    }


def study(found: Trained) -> dict:
    """The last layer, and of the smallest network the one before it, by penalty."""
    results: dict[str, list] = {}
    for layer, penalties in PENALTIES.items():
        if layer == FEATURES and found.recipe is not SMALL:
            continue  # a hundred thousand parameters: minutes each
        results[layer] = []
        rows = [found.before(layer, part) for part in (found.X, found.Z)]
        for penalty in penalties:
            one = reconstructed(found.from_there(layer), layer, *rows, penalty)
            results[layer].append(one)
            note(f"{found.recipe.name}, {layer}, {penalty}: {one['seconds']:.1f} CPU s")
    return results


def report(found: Trained, results: dict) -> str:
    names = {LAST: ("the last layer", "probabilities"), FEATURES: ("the features", "rectified")}
    parts = [f"## {found.recipe.name}", found.said()]
    for layer in results:
        name, activated = names[layer]
        header = [
            f"{name}, penalty", "Pearson of outputs, training", "test",
            f"of {activated}, training", "test", "worst error, test", "decomposition", "CPU s",
        ]  # fmt: skip
        rows = [
            [
                f"{one['penalty']:.3g}" + (" (chosen)" if one["chosen"] else ""),
                *(f"{one[part].pearson:.6f}" for part in ("train", "test")),
                *(f"{one[part].activated_pearson:.6f}" for part in ("train", "test")),
                f"{one['test'].activated_worst_error:.2g}",
                f"{max(one[part].decomposition_error for part in ('train', 'test')):.1e}",
                f"{one['seconds']:.2f}",
            ]
            for one in results[layer]
        ]  # fmt: skip
        parts.append(table(header, rows))
    return "\n\n".join(parts)


NOTES = """\
The paper shows, for VGG-16, softmax outputs that lie on the diagonal, with a correlation of
"almost 1" on both sets. *Pearson of outputs* is of the logits less their mean over the classes
(of a hidden layer, of what comes before the rectifier), which no softmax flattens: it is the
harder test. *Decomposition* is the largest difference between outputs of the refitted layer and
their sums over the training rows. CPU seconds are of one thread, and of the layer alone: what is
before it was computed once."""


def main(argv=None):
    options = parser(__doc__.splitlines()[0]).parse_args(argv)
    networks = all_trained(options)
    if not networks:
        return None
    if not options.quick:
        networks += all_trained(options, [SMALL])
    found = {one.recipe.name: study(one) for one in networks}
    texts = [report(one, found[one.recipe.name]) for one in networks]
    stand_in = (
        "Command: `representer_fig1.py`. Networks of two or three convolutions stand in for "
        "VGG-16, a part of the images for all of them. The hidden layer is that of the digits."
    )
    texts = [stand_in, *texts, NOTES]
    publish(
        "representer-fig1", "Yeh et al., figure 1: reconstruction", "\n\n".join(texts), options
    )
    return found


if __name__ == "__main__":
    main()
