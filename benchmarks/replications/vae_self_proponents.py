"""Kong & Chaudhuri (2021), tables 1 and 3: how often a row is its own strongest proponent.

    python benchmarks/replications/vae_self_proponents.py --data-dir DIR [--small] [--fresh]

The scores of all training rows on the losses of the first 128 of them, by VAE-TracIn with 16 draws
a row, independent for the two sides. What most influences a row should be the row itself.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from shared import note, publish, table
from vae_shared import (
    CIFAR_CLASSES,
    DRAWS,
    QUERIES,
    Work,
    cifar,
    cifar_recipe,
    described,
    few_recipe,
    handwritten,
    mnist_recipe,
    parser,
    traced,
    trained,
)

PAPER = {"MNIST, 64": ".992", "MNIST, 128": "1.000", "airplane, 64": "1.000", "deer, 64": ".984"}


CUT = """\
Cut: the paper trains on all 60,000 rows of MNIST, for 1.5 million steps of 64 rows; here it is the
first 20,000 or 5,000, and the epochs below. It adds up 30 checkpoints, here they are as many as
the table says, evenly spaced. Of CIFAR-10, 32 pixels wide instead of 64, two classes are tried,
with dense layers; "conv" is an auto-encoder of convolutions, as the paper's."""
TRIED = """\
It takes long training, and several checkpoints. At any one of them some rows of large gradients
have more influence than a row itself, but they are others at the next one, and the sum tells the
row. After 20 epochs of 10,000 rows and 16 draws the last checkpoint alone had .32 with a
Bernoulli likelihood and 64 latents, .70 with a noise scale of .3, .67 with .1. The rate of Adam
matters more: at 1e-3 it still oscillates at the end, and all rows' gradients share what it has
overshot by. Some epochs more at 1e-4, the paper's rate, took the last checkpoint of MNIST with
20,000 rows and 64 latents from .69 to .88 (among the 1,261 rows that had been the strongest),
and the dense one of airplanes, in batches that divide the rows, from .08 to .83 after five (64
rows among some 800). So the rates of CIFAR-10 above are what too large steps leave, and not what
scores can do: the paper's are .984 to 1.000 after 1.5 million steps, and .602 and .609 for all
of CIFAR-10, which it calls underfitted."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is traced: rows of MNIST, latents, and checkpoints by their number from the end."""

    n_rows: int | None = 20_000
    n_few: int = 5_000
    latents: tuple[int, ...] = (64, 128)
    n_checkpoints: int = 4
    small: bool = False


def spaced(n_recorded: int, n: int) -> list[int]:
    """Positions of so many checkpoints, evenly spaced, without that before the first step."""
    return np.unique(np.linspace(0, n_recorded - 1, n + 1)[1:].round().astype(int)).tolist()


def ranks(scores: np.ndarray) -> np.ndarray:
    """How many rows have more influence on each query than it has itself; 0 is the strongest."""
    own = scores[np.arange(len(scores)), np.arange(len(scores))]
    return (scores > own[:, None]).sum(axis=1)


def scores_at(vae, X, positions, work, settings):
    """Scores on the first rows at each checkpoint, by its position; they add up to TracIn's."""

    def compute(k):
        directory = work.directory and work.directory / f"blocks-{settings}-{k}"
        explainer = traced(vae, X, at=[k], resume=directory, progress=work.directory is not None)
        return explainer.score_influence(X[:QUERIES]).astype(np.float32)

    return {
        k: work.keep(f"{settings}-at-{k}", vae.get_params(), lambda k=k: compute(k))
        for k in positions
    }


def study(vae, X, n_checkpoints, work, name):
    """Ranks of the queries among their own proponents, at the last checkpoint and over all."""
    positions = spaced(len(vae.checkpoints_), n_checkpoints)
    each = scores_at(vae, X, positions, work, name)
    last = each[positions[-1]]
    return {
        "last": ranks(last),
        "all": ranks(sum(each.values())),
        "steps": [vae.checkpoints_.steps[k] for k in positions],
        "n": len(X),
        "losses": (vae.loss_curve_[0], vae.loss_curve_[-1]),
        "vae": vae,
    }


def auto_encoders(options, plan):
    """Names, trained auto-encoders and their rows, one at a time."""
    data = handwritten(options, plan.n_rows)
    if data is None:
        return
    for latents in plan.latents:
        recipe = mnist_recipe(latents, small=plan.small)
        yield f"MNIST, {latents}", trained(recipe, data.X, options, "mnist"), data.X
    if plan.small:
        return
    few = handwritten(options, plan.n_few)
    for latents in plan.latents:
        vae = trained(few_recipe(latents), few.X, options, f"mnist-{plan.n_few}")
        yield f"MNIST ({plan.n_few:,}), {latents}", vae, few.X
    for name, label in CIFAR_CLASSES.items():
        images = cifar(options, [label])
        if images is None:
            return
        for conv in (False, True):
            recipe = cifar_recipe(64, conv=conv)
            vae = trained(recipe, images.X, options, name)
            yield f"{name}{'-conv' * conv}, 64", vae, images.X


def report(found):
    rows = []
    for name, one in found.items():
        far = one["all"]
        rows.append(
            [name, one["n"], one["vae"].n_iter_, len(one["steps"]), f"{np.mean(far == 0):.3f}",
             f"{np.mean(one['last'] == 0):.3f}", f"{np.mean(far < 10):.3f}", int(far.max()),
             PAPER.get(name.replace("-conv", "").replace(" (5,000)", ""), "")]
        )  # fmt: skip
    header = ["data, latents", "rows", "epochs", "checkpoints", "self-proponents",
              "last checkpoint alone", "among ten strongest", "worst rank", "paper"]  # fmt: skip
    return table(header, rows)


def main(argv=None):
    options = parser(__doc__.splitlines()[0]).parse_args(argv)
    torch.set_num_threads(1)
    plan = Plan(None, (64, 128), small=True) if options.quick else Plan()
    work, found = Work("vae-self-proponents", options), {}
    for name, vae, X in auto_encoders(options, plan):
        # More of them did not help where the last one is so far off.
        n = (
            1
            if name.rpartition(",")[0].removesuffix("-conv") in CIFAR_CLASSES
            else plan.n_checkpoints
        )
        found[name] = study(vae, X, n, work, name.replace(", ", "-"))
        note(f"{name}: {np.mean(found[name]['all'] == 0):.3f}")
    if not found:
        return None
    publish(
        "vae-self-proponents",
        "Kong & Chaudhuri, tables 1 and 3: rows as their own strongest proponents",
        text(found, plan),
        options,
    )
    return found


def text(found, plan):
    source = "scikit-learn's digits, an eighth of the latents" if plan.small else "MNIST, CIFAR-10"
    recipes = {
        name.rpartition(",")[0]: described(one["vae"], one["n"]) for name, one in found.items()
    }
    how = "\n".join(f"- {name}: {one}." for name, one in recipes.items())
    return (
        f"Data: {source}. Command: `vae_self_proponents.py`. {QUERIES} queries, the first rows; "
        f"{DRAWS} draws a row; every learning rate 1, as in the paper. {CUT}\n\n{how}\n\n"
        f"{report(found)}\n\n{TRIED}"
    )


if __name__ == "__main__":
    main()
