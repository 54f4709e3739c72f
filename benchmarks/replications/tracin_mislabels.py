"""TracIn's own check: self influences find wrong labels (Pruthi et al., 2020, section 4.1).

A tenth of the labels is changed, a small convolutional network is trained on what comes of it and
its path is recorded; rows are checked in the order of their self influence along that path. As in
the paper, the new label is the wrong one that a network trained on the right labels finds most
likely; and, beside it, any other label.

    python benchmarks/replications/tracin_mislabels.py --data-dir DIR

MNIST and CIFAR-10, 10,000 training images each; --small takes scikit-learn's digits.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from shared import Checkpoints, digits, mnist, note, parser, picture, publish, read, table
from torch import Tensor, nn
from torch.nn import functional as F

from skinfluence import TracInExplainer
from skinfluence.checkpoints import CheckpointRecorder
from skinfluence.exceptions import IncompleteTraceWarning
from skinfluence.metrics import detection_auc, detection_curve

WRONG = 0.1
CHECKED = (0.1, 0.2)
FLIPS = {
    "likely": "the most likely wrong label, as in the paper",
    "random": "any other label, all alike",
}
METHODS = (
    "TracIn, all checkpoints", "TracIn, last checkpoint", "TracIn, last layer only",
    "loss, mean over the checkpoints", "loss at the end", "random",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A data set and how its network is trained.

    Parameters
    ----------
    name : str
    n_train : int
    epochs : int
        Of the network that is explained; the one that proposes wrong labels sees a fifth of them.
    repeats : int
        Draws of the wrong labels, each with networks of its own.
    channels : tuple of int
        Of the two convolutions.
    rate : float
        In the first epoch, from where it falls in a straight line to nearly nothing.
    n_checkpoints : int
        Recorded, at most.
    """

    name: str
    n_train: int
    epochs: int
    repeats: int
    channels: tuple[int, int] = (16, 32)
    rate: float = 0.05
    n_checkpoints: int = 10


RECIPES = (
    Recipe("MNIST", 10_000, epochs=20, repeats=2),
    Recipe("CIFAR-10", 10_000, epochs=20, repeats=1),
)
SMALL = Recipe("digits", 1_000, epochs=25, repeats=1, channels=(8, 16))


# -- data -----------------------------------------------------------------------------------------


def cifar(options) -> tuple[np.ndarray, ...] | None:
    """(X, y, X_test, y_test) of CIFAR-10: pixels (n, 3, 32, 32) from 0 to 1."""
    found = read(options, "cifar10_jpegbytes.npz")
    if found is None:
        return None
    # The file is sorted by class; networks are not to be trained on half of them.
    order = np.random.default_rng(0).permutation(len(found["y"]))
    train = found["is_train"].astype(bool)[order]
    parts = []
    for rows in (order[train][: RECIPES[1].n_train], order[~train][:2_000]):
        pixels = np.stack([picture(found, i) for i in rows]) / 255.0
        parts += [pixels, found["y"][rows].astype(int)]
    return tuple(parts)


def images(data, n_train):
    """Standardised images (n, channels, side, side), float32, and classes; training and test."""
    X, y, Z, z_y = data
    mean, spread = X.mean(), X.std()

    def shaped(values):
        values = torch.as_tensor((values - mean) / spread, dtype=torch.float32)
        if values.ndim == 4:
            return values
        side = math.isqrt(values.shape[1])
        return values.reshape(-1, 1, side, side)

    return shaped(X[:n_train]), torch.as_tensor(y[:n_train]), shaped(Z), torch.as_tensor(z_y)


# -- networks -------------------------------------------------------------------------------------


def classifier(shape, channels, n_classes=10) -> nn.Module:
    """Two convolutions that halve the image, and two linear layers."""
    depth, height, width = shape
    first, second = channels
    return nn.Sequential(
        nn.Conv2d(depth, first, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(first, second, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(second * (height // 4) * (width // 4), 64), nn.ReLU(),
        nn.Linear(64, n_classes),
    )  # fmt: skip


def trained(make: Callable[[], nn.Module], X, y, recipe, seed, epochs=None):
    """A network trained by SGD with momentum, and the recording of it."""
    recorder = CheckpointRecorder(keep=recipe.n_checkpoints + 1, optimizer_state=False)
    epochs = recipe.epochs if epochs is None else epochs
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = make()
        optimiser = torch.optim.SGD(module.parameters(), lr=recipe.rate, momentum=0.9)
        with recorder.watch(module, optimiser, n_rows=len(X)):
            for epoch in range(epochs):
                optimiser.param_groups[0]["lr"] = recipe.rate * (1 - epoch / epochs)
                for rows in torch.randperm(len(X)).split(64):
                    optimiser.zero_grad()
                    F.cross_entropy(module(X[rows]), y[rows]).backward()
                    optimiser.step()
    return module.eval(), recorder.checkpoints


def outputs(module: nn.Module, X: Tensor) -> Tensor:
    """Logits of all rows, float64."""
    with torch.no_grad():
        return torch.cat([module(part) for part in X.split(500)]).double()


def losses(module, X, y) -> np.ndarray:
    """Cross entropy of every row."""
    return F.cross_entropy(outputs(module, X), y, reduction="none").numpy()


def accuracy(module, X, y) -> float:
    return float((outputs(module, X).argmax(1) == y).double().mean())


# -- wrong labels ---------------------------------------------------------------------------------


def mislabelled(y: Tensor, logits: Tensor, how: str, seed: int) -> tuple[Tensor, np.ndarray]:
    """Labels of which a tenth is wrong, and which these are."""
    rng = np.random.default_rng(seed)
    bad = np.zeros(len(y), dtype=bool)
    bad[rng.choice(len(y), size=round(WRONG * len(y)), replace=False)] = True
    if how == "likely":
        others = logits.clone()
        others[torch.arange(len(y)), y] = -torch.inf
        wrong = others.argmax(1)
    else:
        step = torch.as_tensor(rng.integers(1, logits.shape[1], len(y)))
        wrong = (y + step) % logits.shape[1]
    return torch.where(torch.as_tensor(bad), wrong, y), bad


def suspicion(module, checkpoints, X, y, seed) -> np.ndarray:
    """What rows are ranked by, (n_methods, n), in the order of METHODS."""
    # The state before training knows no row, and Pruthi et al. leave it out, too.
    trained_ones = checkpoints[1:]

    def own(path, **options):
        explainer = TracInExplainer(module, checkpoints=path, loss="cross_entropy", **options)
        with warnings.catch_warnings():
            # Momentum of 0.9 makes steps too long for sums in nats; rows are only ordered here.
            warnings.simplefilter("ignore", IncompleteTraceWarning)
            return explainer.fit(X, y).self_influence()

    copy = classifier(X.shape[1:], [module[0].out_channels, module[3].out_channels])
    along = []
    for state in trained_ones:
        copy.load_state_dict({name: torch.tensor(v) for name, v in state.parameters.items()})
        along.append(losses(copy, X, y))
    rows = [
        own(trained_ones), own(checkpoints[-1:]), own(trained_ones, params="last_layer"),
        np.mean(along, axis=0), losses(module, X, y), np.random.default_rng(seed).random(len(X)),
    ]  # fmt: skip
    return np.stack(rows)


def one_draw(recipe, data, how, seed) -> np.ndarray:
    """Scores of all methods, which rows are bad, and accuracies, as one array."""
    X, y, Z, z_y = data
    make = partial(classifier, X.shape[1:], recipe.channels)
    right, _ = trained(make, X, y, recipe, seed, epochs=max(1, recipe.epochs // 5))
    labels, bad = mislabelled(y, outputs(right, X), how, seed)
    module, checkpoints = trained(make, X, labels, recipe, seed + 100)
    scores = suspicion(module, checkpoints, X, labels, seed)
    reached = [accuracy(right, Z, z_y), accuracy(module, Z, z_y), accuracy(module, X, labels)]
    return np.vstack([scores, bad, np.resize(reached, len(X))])


# -- results --------------------------------------------------------------------------------------


def measured(found: np.ndarray) -> dict:
    """AUC and the shares found, by method; and accuracies."""
    *scores, bad, reached = found
    bad = bad.astype(bool)
    by_method = {}
    for name, values in zip(METHODS, scores, strict=True):
        checked, seen = detection_curve(bad, values)
        early = [float(np.interp(share, checked, seen)) for share in CHECKED]
        by_method[name] = [detection_auc(bad, values), *early]
    return {"found": by_method, "accuracy": reached[:3]}


def study(recipe, data, options):
    """Means over the draws, for both kinds of wrong labels."""
    data = images(data, recipe.n_train)
    kept, results = Checkpoints("tracin-mislabels", recipe, options), {}
    for how in FLIPS:
        draws = [
            measured(kept.keep(f"{how}-{s}", partial(one_draw, recipe, data, how, s)))
            for s in range(recipe.repeats)
        ]
        results[how] = {
            "found": {name: np.mean([d["found"][name] for d in draws], 0) for name in METHODS},
            "spread": {name: np.std([d["found"][name][0] for d in draws]) for name in METHODS},
            "accuracy": np.mean([d["accuracy"] for d in draws], axis=0),
        }
        note(f"{recipe.name}, {how}: done")
    return results


def report(recipe, results) -> str:
    parts = [f"## {recipe.name}"]
    for how, one in results.items():
        clean, dirty, own = one["accuracy"]
        rows = [
            [name, f"{auc:.3f} +- {one['spread'][name]:.3f}", f"{first:.1%}", f"{second:.1%}"]
            for name, (auc, first, second) in one["found"].items()
        ]
        header = ["order of checking", "AUC", *(f"found in the first {c:.0%}" for c in CHECKED)]
        parts += [
            f"Wrong labels: {FLIPS[how]}. {recipe.n_train} training images, {recipe.epochs} "
            f"epochs, {recipe.repeats} draw(s). Test accuracy {dirty:.1%} ({clean:.1%} with the "
            f"right labels, a fifth of the epochs); {own:.1%} of the training labels, wrong ones "
            "among them, are fitted.",
            table(header, rows),
        ]
    return "\n\n".join(parts)


def main(argv=None):
    options = parser(__doc__.splitlines()[0]).parse_args(argv)
    torch.set_num_threads(1)
    if options.quick:
        sets = [(SMALL, digits())]
    else:
        sets = [(RECIPES[0], mnist(options)), (RECIPES[1], cifar(options))]
    found = {
        recipe.name: study(recipe, data, options) for recipe, data in sets if data is not None
    }
    if not found:
        return None
    texts = [report(recipe, found[recipe.name]) for recipe, _ in sets if recipe.name in found]
    publish("tracin-mislabels", "TracIn: wrong labels of images", text_of(texts), options)
    return found


def text_of(texts) -> str:
    return "\n\n".join(
        [
            f"Command: `tracin_mislabels.py`. {WRONG:.0%} of the labels are wrong. A network of "
            "two convolutions and two linear layers, SGD with momentum .9 and a falling "
            "rate, batches of 64; "
            f"{SMALL.n_checkpoints} checkpoints or fewer, evenly spaced, without the one before "
            "training. AUC of the detection curve: .5 for a random order, .95 for a perfect one; "
            "mean and standard deviation over the draws.",
            *texts,
            "Pruthi et al. train a ResNet-56 on all of CIFAR-10 for 270 epochs, which fits its "
            "labels, and show curves; these networks are small and see a fifth of the images, so "
            "their numbers are not to be compared. What can be: whether the whole path finds more "
            "than its end, all layers more than the last, and either more than the loss alone. "
            "The end is of little use once wrong labels are fitted, since their losses and "
            "gradients have all but vanished; the loss averaged over the same checkpoints, which "
            "costs less, is to be tried first. A network of CIFAR-10 this small is right about "
            "half of the test images, so that wrong labels are not odder to it than many right "
            "ones.",
        ]
    )


if __name__ == "__main__":
    main()
