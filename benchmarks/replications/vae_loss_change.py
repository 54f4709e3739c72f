"""Kong & Chaudhuri (2021), table 5: scores against what training did to the loss.

    python benchmarks/replications/vae_loss_change.py --data-dir DIR [--small] [--fresh]

Between two checkpoints the loss of a test image falls by about the sum of the scores of all
training rows. Both are compared for 128 test images along the first thousand steps of a training,
the losses at the same draws on both sides.
"""

from __future__ import annotations

import dataclasses

import torch
from shared import note, publish, table
from vae_shared import (
    CIFAR_CLASSES,
    DRAWS,
    QUERIES,
    Images,
    Recipe,
    Work,
    cifar,
    cifar_recipe,
    handwritten,
    mnist_recipe,
    parser,
)

from skinfluence import TracInExplainer
from skinfluence.metrics import agreement

PAPER = {"airplane": ".882", "deer": ".828"}
STEPS = 1_000  # the paper's
N_IMAGES = 1_000
CUT = """\
Cut: the paper keeps each of the first 1,000 steps, here {checkpoints} of them are kept, and the
way between two is the mean of the products at both ends. Of CIFAR-10 the first {n_images} images
of a class are trained on instead of 5,000, 32 pixels wide instead of 64; MNIST is not in the
paper's table, and Adam is traced on it alone. Its learning rate of 3e-4 is that of Adam here;
gradient descent has one of its own, which does not diverge."""

MEANING = """\
A slope of 1 is agreement in the unit of the loss. The loss falls most in the first interval, so
that a correlation without it is shown, too: later on the loss of MNIST goes on falling, and that
of airplanes hardly does, and what single batches do to it is no longer what the mean over all
rows would. A first try at ten times the rates had .938 and .975, but .12 and .08 without the
first interval: that is more than the steps between two checkpoints allow for, and the products
at their ends do not say what happened in between. Products of plain gradients are the changes
that gradient descent makes, and Adam makes others. Its scaling in the products does not mend
that this early: in the first steps it divides by averages of squares in which pixels that no
batch has had yet are zero, and scores along those are too large by orders of magnitude."""


@dataclasses.dataclass(frozen=True)
class Training:
    """An optimiser, and whether scores are scaled as it scales gradients."""

    name: str
    optimizer: str
    learning_rate: float
    preconditioner: str | None = None


def trainings(rate: float) -> list[Training]:
    """Gradient descent at this rate, and Adam with the paper's, traced in two ways."""
    return [
        Training("gradient descent", "sgd", rate),
        Training("Adam, plain products", "adam", 3e-4),
        Training("Adam, its scaling in the products", "adam", 3e-4, "optimizer"),
    ]


def short(recipe: Recipe, training: Training, n_rows: int, n_checkpoints: int) -> Recipe:
    """The recipe for the first steps alone, with evenly spaced checkpoints."""
    steps_an_epoch = -(-n_rows // recipe.batch_size)
    return dataclasses.replace(
        recipe,
        optimizer=training.optimizer,
        learning_rate=training.learning_rate,
        schedule="constant",
        max_epochs=-(-STEPS // steps_an_epoch),
        checkpoints=n_checkpoints,
    )


def agreements(recipe, training, data: Images, n_checkpoints, work, name):
    """Agreement of the scores with the drops, interval by interval and of the whole way."""
    recipe = short(recipe, training, len(data.X), n_checkpoints)
    vae = work.keep(f"{name}-{training.optimizer}", recipe, lambda: recipe.fit(data.X))

    def compute():
        explainer = TracInExplainer(
            vae,
            preconditioner=training.preconditioner,
            n_draws=DRAWS,
            contamination=None,
            random_state=0,
        ).fit(data.X)
        return explainer.validate(data.X_test[:QUERIES], consecutive=True)

    each = work.keep(f"{name}-{training.name}", (recipe, N_IMAGES), compute)
    whole = agreement(each.estimated.sum(axis=1), each.actual.sum(axis=1))
    losses = vae.loss_curve_[0], vae.loss_curve_[-1]
    return {"each": each, "whole": whole, "losses": losses, "n": len(vae.checkpoints_)}


def cases(options):
    """Names, recipes, images, rates of gradient descent, and numbers of checkpoints."""
    if options.quick:
        yield "digits", mnist_recipe(64, small=True), handwritten(options), 1e-5, 11
        return
    data = handwritten(options, 5_000)
    if data is not None:
        recipe = dataclasses.replace(mnist_recipe(64), noise_scale=0.05, batch_size=64)
        yield "MNIST", recipe, data, 1e-6, 21
    for name in ("airplane",):
        images = cifar(options, [CIFAR_CLASSES[name]])
        if images is not None:
            few = dataclasses.replace(images, X=images.X[:N_IMAGES])
            yield name, cifar_recipe(64, conv=True), few, 2e-7, 9


def later(each) -> float:
    """Correlation without the first interval, where the loss falls by far the most."""
    return agreement(each.estimated[:, 1:], each.actual[:, 1:]).pearson


def report(found):
    rows = [
        [name, training, one["n"], f"{one['each'].pearson:.3f}", f"{later(one['each']):.3f}",
         f"{one['each'].slope:.3g}", f"{one['whole'].pearson:.3f}",
         f"{one['losses'][0]:.0f} to {one['losses'][1]:.0f}", PAPER.get(name, "")]
        for (name, training), one in found.items()
    ]  # fmt: skip
    header = ["data", "training", "checkpoints", "Pearson, interval by interval",
              "without the first interval", "slope",
              "Pearson, whole way", "mean loss of the first and last epoch", "paper"]  # fmt: skip
    return table(header, rows)


def main(argv=None):
    options = parser(__doc__.splitlines()[0]).parse_args(argv)
    torch.set_num_threads(1)
    work, found = Work("vae-loss-change", options), {}
    for name, recipe, data, rate, n_checkpoints in cases(options):
        for training in trainings(rate)[: 1 if name in CIFAR_CLASSES else None]:
            one = agreements(recipe, training, data, n_checkpoints, work, name)
            found[name, training.name] = one
            note(f"{name}, {training.name}: {one['each'].pearson:.3f}")
    if not found:
        return None
    title = "Kong & Chaudhuri, table 5: scores against changes of the loss"
    publish("vae-loss-change", title, text(found), options)
    return found


def text(found):
    n_checkpoints = sorted({one["n"] for one in found.values()})
    cut = CUT.format(checkpoints=" or ".join(map(str, n_checkpoints)), n_images=N_IMAGES)
    return (
        f"Command: `vae_loss_change.py`. {QUERIES} test images, {DRAWS} draws a row, the first "
        f"{STEPS} steps. {cut}\n\n{report(found)}\n\n{MEANING}"
    )


if __name__ == "__main__":
    main()
