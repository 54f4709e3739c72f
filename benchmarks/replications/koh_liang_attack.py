"""Koh & Liang (2017), section 5.2: training images changed by less than a rounding error.

    python benchmarks/replications/koh_liang_attack.py --data-dir DIR [--small] [--fresh]

A logistic regression on the features of a frozen network tells two classes apart. For each test
image that it gets right, a few training images are pushed along the sign of the derivative of its
loss in their pixels, through the features, within what rounds to the same 8-bit image, and the
model is trained again; until the prediction flips.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from networks_shared import parameters, with_parameters
from representer_shared import FEATURES, LAST, Recipe, fit, network
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit
from shared import Checkpoints, note, parser, picture, publish, read, table
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import nn

from skinfluence import InfluenceExplainer

COUNTS = (1, 2, 10)
PAPER = {1: "57 %", 2: "77 %", 10: "590 of 591"}


# -- images and features --------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Images:
    """Images of two classes in whole levels, and the frozen network that sees them.

    Parameters
    ----------
    X, Z : ndarray of shape (n, channels, side, side)
        Training and test images, whole numbers from 0 to `levels`.
    y, z_y : ndarray of int
        -1 and 1.
    levels : int
    features : callable
        From a tensor of images in levels to features, (n, d), float64 in and out.
    source : str
    """

    X: np.ndarray
    y: np.ndarray
    Z: np.ndarray
    z_y: np.ndarray
    levels: int
    features: Callable[[torch.Tensor], torch.Tensor]
    source: str

    def of(self, X: np.ndarray, size: int = 200) -> np.ndarray:
        """Features of images."""
        with torch.no_grad():
            parts = torch.as_tensor(X, dtype=torch.float64).split(size)
            return torch.cat([self.features(part) for part in parts]).numpy()

    def pulled_back(self, X: np.ndarray, slopes: np.ndarray) -> np.ndarray:
        """Derivative in the pixels of ``sum_i <slopes_i, features(x_i)>``."""
        x = torch.as_tensor(X, dtype=torch.float64).clone().requires_grad_()
        (self.features(x) * torch.as_tensor(slopes)).sum().backward()
        return x.grad.numpy()


class Frozen(nn.Module):
    """Layers up to the features, from images in levels; features have mean square 1.

    It runs in the type of its parameters, which is chosen for speed, between float64s.
    """

    def __init__(self, layers, mean, spread, scale=1.0):
        super().__init__()
        self.layers = layers.eval().requires_grad_(False)
        self.kind = next(layers.parameters()).dtype
        self.mean, self.spread, self.scale = mean, spread, scale

    def forward(self, x):
        standardised = ((x - self.mean) / self.spread).to(self.kind)
        return self.layers(standardised).double() / self.scale


def frozen(layers, X):
    """A network that is not trained any more, scaled by the training images."""
    module = Frozen(layers, float(X.mean()), float(X.std()))
    with torch.no_grad():
        found = module(torch.as_tensor(X, dtype=torch.float64))
    module.scale = float(found.square().mean().sqrt())
    return module


def digits_to_attack():
    """Threes and eights of scikit-learn, and convolutions at random."""
    X, y = load_digits(return_X_y=True)
    X, y = X[np.isin(y, (3, 8))].reshape(-1, 1, 8, 8), y[np.isin(y, (3, 8))]
    order = np.random.default_rng(0).permutation(len(X))
    X, y = X[order], np.where(y[order] == 8, 1, -1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = nn.Sequential(
            nn.Conv2d(1, 16, 3), nn.Tanh(), nn.Conv2d(16, 24, 3, stride=2), nn.Tanh(), nn.Flatten()
        )
    rows, tests = slice(0, 200), slice(200, 260)
    source = "threes and eights of scikit-learn's 8 x 8 digits, 17 levels; convolutions at random"
    return Images(
        X[rows], y[rows], X[tests], y[tests], 16, frozen(layers.double(), X[rows]), source
    )  # fmt: skip


RECIPE = Recipe("eight classes of CIFAR-10", 8_000, 0, (32, 64, 64), 512, epochs=6)


def cifar_to_attack(options, pair=("dog", "ship")):
    """Dogs and ships of CIFAR-10, and a network trained on the other classes; None without it."""
    found = read(options, "cifar10_jpegbytes.npz")
    if found is None:
        return None
    classes, train = [str(name) for name in found["classes"]], found["is_train"].astype(bool)
    two = [classes.index(name) for name in pair]
    rng = np.random.default_rng(0)

    def some(sign, from_train, n):
        return rng.permutation(np.flatnonzero((found["y"] == two[sign]) & (train == from_train)))[
            :n
        ]

    sets = []
    for from_train, n in ((True, 900), (False, 300)):
        rows = np.concatenate([some(0, from_train, n), some(1, from_train, n)])
        sets += [np.stack([picture(found, i) for i in rows]).astype(float)]
        sets += [np.repeat([-1, 1], n)]
    checkpoints = Checkpoints("koh-liang-attack-network", (RECIPE, pair), options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = network((3, 32, 32), RECIPE, n_classes=8)
    mean, spread = sets[0].mean(), sets[0].std()

    def train_it():
        rows = rng.permutation(np.flatnonzero(train & ~np.isin(found["y"], two)))
        rows = rows[: RECIPE.n_train]
        X = np.stack([picture(found, i) for i in rows])
        y = np.searchsorted(np.setdiff1d(np.arange(10), two), found["y"][rows])
        X = torch.as_tensor((X - mean) / spread, dtype=torch.float32)
        return parameters(fit(module, X, torch.as_tensor(y), RECIPE))

    with_parameters(module, checkpoints.keep("network", train_it))
    last = [name for name, _ in module.named_children()].index(LAST)
    source = (
        f"{pair[0]}s and {pair[1]}s of CIFAR-10 (JPEG files of quality 75, 32 x 32 pixels), for "
        f"dogs and fish of ImageNet (299 x 299); the features are the {RECIPE.width} rectified "
        f"outputs of layer '{FEATURES}' of a small network, trained on {RECIPE.n_train} images of "
        "the other eight classes, for the 2,048 of Inception"
    )
    return Images(*sets, 255, frozen(module[:last], sets[0]), source)


# -- the linear model -----------------------------------------------------------------------------


class Model:
    """Logistic regression with a free intercept, trained again from where it was.

    Parameters
    ----------
    F : ndarray of shape (n, d)
    y : ndarray of shape (n,)
        -1 and 1.
    decay : float
    """

    def __init__(self, F, y, decay):
        self.F, self.y = np.column_stack([F, np.ones(len(F))]), y
        self.penalty = np.append(np.full(F.shape[1], len(F) * decay), 0.0)
        self.theta = np.zeros(F.shape[1] + 1)
        self._factor()
        while self._step() > 1e-12 * len(F):
            self._factor()

    def _factor(self):
        bent = self.F * self.bends()[:, None]
        self.factor = cho_factor(bent.T @ self.F + np.diag(self.penalty + 1e-12))

    def slopes(self):
        """Derivative of each row's loss in its output."""
        return -self.y * expit(-self.y * (self.F @ self.theta))

    def bends(self):
        p = expit(self.F @ self.theta)
        return p * (1 - p)

    def _gradient(self):
        return self.F.T @ self.slopes() + self.penalty * self.theta

    def _objective(self, theta):
        losses = np.logaddexp(0.0, -self.y * (self.F @ theta))
        return losses.sum() + 0.5 * self.penalty @ theta**2

    def _step(self):
        """Go along a Newton step as far as the objective falls; how large the gradient was."""
        gradient = self._gradient()
        step, before = self.solve(gradient, tol=1e-3), self._objective(self.theta)
        for _ in range(30):
            theta = self.theta - step
            if self._objective(theta) <= before * (1 + 1e-14):
                break
            step = step / 2
        self.theta = theta
        return np.linalg.norm(gradient)

    def solve(self, v, tol=1e-8):
        """``H^-1 v`` by conjugate gradients, preconditioned by the factors of some time ago."""
        bends, x, r = self.bends(), np.zeros_like(v), v.copy()
        z = cho_solve(self.factor, r)
        p, rz = z, r @ z
        for _ in range(50):
            if rz == 0.0 or np.linalg.norm(r) <= tol * np.linalg.norm(v):
                break
            Hp = self.F.T @ (bends * (self.F @ p)) + self.penalty * p
            a = rz / (p @ Hp)
            x, r = x + a * p, r - a * Hp
            z = cho_solve(self.factor, r)
            rz, last = r @ z, rz
            p = z + rz / last * p
        return x

    def with_rows(self, rows, features):
        """A model trained again with other features of some rows."""
        other = object.__new__(Model)
        other.__dict__.update(self.__dict__, F=self.F.copy())
        other.F[rows, :-1] = features
        for _ in range(50):
            if other._step() <= 1e-9 * len(self.F):
                return other
        raise RuntimeError("training again did not end at a minimum")

    def margin(self, feature, label):
        """Positive where the prediction is right."""
        return label * (feature @ self.theta[:-1] + self.theta[-1])

    def derivatives(self, feature, label, rows=slice(None)):
        """Of the loss of a query, in the features of some rows, through the training, (k, d)."""
        z = np.append(feature, 1.0)
        solved = self.solve(-label * expit(-label * (z @ self.theta)) * z)
        slopes, bends = self.slopes()[rows], self.bends()[rows]
        along = bends * (self.F[rows] @ solved)
        return -(slopes[:, None] * solved[:-1] + along[:, None] * self.theta[:-1])


def genuine(F, y, decay):
    """The same model by scikit-learn, from scratch."""
    model = LogisticRegression(C=1 / (len(F) * decay), solver="newton-cholesky", tol=1e-10)
    return model.fit(F, y)


# -- the attack -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Plan:
    """How far pixels may go (in levels), by which share of that a step, how often, and how many.

    ``decays`` are lambda of the penalty ``lambda / 2 |w|^2`` beside the mean loss, the first the
    authors' own. 4.7 levels in 3 x 32 x 32 pixels are as long a way as .5 in 3 x 299 x 299.
    ``n_screened`` rows, those with the largest derivatives in their features, are differentiated
    in their pixels, to find those that move the loss most.
    """

    decays: tuple[float, ...] = (1e-3, 1e-2, 1e-1)
    radii: tuple[float, ...] = (0.5, 4.7)
    share: float = 0.5
    steps: int = 10
    n_tests: int = 30
    n_screened: int = 100
    n_verified: int = 20


def attacked_rows(images, model, feature, label, plan):
    """The rows whose pixels, all pushed by as much, raise the loss most; most first."""
    slopes = model.derivatives(feature, label)
    likely = np.argsort(-np.linalg.norm(slopes, axis=1))[: plan.n_screened]
    size = np.abs(images.pulled_back(images.X[likely], slopes[likely])).sum(axis=(1, 2, 3))
    return likely[np.argsort(-size)]


def attack(images, model, feature, label, rows, radius, plan):
    """Whether the prediction flips, the images that did it, and their features."""
    x0 = images.X[rows]
    x, now, before = x0.copy(), model, None
    for _ in range(plan.steps):
        slopes = now.derivatives(feature, label, rows)
        push = np.sign(images.pulled_back(x, slopes))
        x = np.clip(x + plan.share * radius * push, x0 - radius, x0 + radius)
        x = np.clip(x, 0, images.levels)
        F = images.of(x)
        now = now.with_rows(rows, F)
        if now.margin(feature, label) < 0:
            return True, x, F
        if before is not None and np.array_equal(x, before):
            break  # at a corner that it does not leave
        before = x
    return False, x, F


def pushed_at_random(images, model, feature, label, rows, radius, rng):
    """Whether the prediction flips when the same pixels go as far in directions at random."""
    x = images.X[rows] + radius * rng.choice([-1.0, 1.0], size=images.X[rows].shape)
    x = np.clip(x, 0, images.levels)
    return model.with_rows(rows, images.of(x)).margin(feature, label) < 0


def verified(images, F, decay, feature, label, rows, x):
    """Whether a model of scikit-learn, trained from scratch on the changed images, errs."""
    F = F.copy()
    F[rows] = images.of(x)
    return genuine(F, images.y, decay).predict(feature[None])[0] != label


def distances(images, F, rows, x, moved):
    """Moves over the mean distance from the centroid of the class, in pixels and features."""

    def relative(before, after, every):
        own = images.y == images.y[rows[0]]
        spread = np.linalg.norm(every[own] - every[own].mean(axis=0), axis=1).mean()
        return np.linalg.norm(after - before) / spread

    flat = images.X.reshape(len(images.X), -1)
    return relative(flat[rows[0]], x[0].ravel(), flat), relative(F[rows[0]], moved[0], F)


def study(images, plan, checkpoints):
    """What came of the attacks, by penalty and radius."""
    F, G = checkpoints.keep("F", lambda: images.of(images.X)), images.of(images.Z)
    found = {"n": len(F), "d": F.shape[1], "plan": plan, "by decay": {}}
    for decay in plan.decays:
        model = Model(F, images.y, decay)
        found["by decay"][decay] = of_decay(images, F, G, model, decay, plan, checkpoints)
    found["gap"] = gap(images, Model(F, images.y, plan.decays[0]), G, plan.decays[0])
    return found


def of_decay(images, F, G, model, decay, plan, checkpoints):
    """Attacks on one model: results by radius, and how good and how sure it is."""
    right = np.flatnonzero(model.margin(G, images.z_y) > 0)
    tests = np.sort(np.random.default_rng(0).permutation(right)[: plan.n_tests])
    orders = checkpoints.keep(
        f"orders-{decay}",
        lambda: np.stack(
            [attacked_rows(images, model, G[t], images.z_y[t], plan)[:10] for t in tests]
        ),
    )
    attacks = list(zip(tests, orders, strict=True))
    return {
        "results": {
            radius: checkpoints.keep(
                f"radius-{radius}-{decay}",
                lambda r=radius: of_radius(images, F, G, model, decay, attacks, r, plan),
            )
            for radius in plan.radii
        },
        "accuracy": len(right) / len(G),
        "trained": np.mean(model.margin(F, images.y) > 0),
        "least": expit(np.sort(model.margin(F, images.y))[:2]),
    }


# What is kept of an attack.
FLIPPED, AT_RANDOM, CHECKED, CONFIRMED, PIXELS, MOVED, MARGIN = range(7)


def of_radius(images, F, G, model, decay, attacks, radius, plan):
    """What came of the attacks on each test image, (n_tests, len(COUNTS), 7)."""
    rng, found = np.random.default_rng(0), np.zeros((len(attacks), len(COUNTS), 7))
    for i, (t, order) in enumerate(attacks):
        feature, label = G[t], images.z_y[t]
        for j, count in enumerate(COUNTS):
            rows, one = order[:count], found[i, j]
            one[FLIPPED], x, moved = attack(images, model, feature, label, rows, radius, plan)
            one[AT_RANDOM] = pushed_at_random(images, model, feature, label, rows, radius, rng)
            one[PIXELS], one[MOVED] = distances(images, F, rows, x, moved)
            one[MARGIN] = model.margin(feature, label)
            assert np.abs(x - images.X[rows]).max() <= radius * (1 + 1e-9)
            if one[FLIPPED] and found[:, j, CHECKED].sum() < plan.n_verified:
                one[CHECKED] = 1
                one[CONFIRMED] = verified(images, F, decay, feature, label, rows, x)
    return found


def gap(images, model, G, decay):
    """Difference of the derivative in pixels from ``perturbation`` of the whole network."""
    features = copy.deepcopy(images.features).double()
    features.kind = torch.float64
    rows = np.arange(3)
    slopes = model.derivatives(G[0], images.z_y[0], rows)
    ours = dataclasses.replace(images, features=features).pulled_back(images.X[rows], slopes)
    module = nn.Sequential(features, nn.Linear(model.F.shape[1] - 1, 1).double())
    with torch.no_grad():
        module[1].weight.copy_(torch.as_tensor(model.theta[None, :-1]))
        module[1].bias.copy_(torch.as_tensor(model.theta[-1:]))
    explainer = InfluenceExplainer(
        module, loss="binary_cross_entropy", params="last_layer",
        weight_decay={"1.weight": decay}, damping=0.0,
    )  # fmt: skip
    yes, is_yes = (images.y > 0).astype(float), (images.z_y[:1] > 0).astype(float)
    explainer.fit(images.X.astype(float), yes)
    theirs = explainer.perturbation(images.Z[:1].astype(float), is_yes, rows=rows)[0]
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


# -- what is reported -----------------------------------------------------------------------------


def report(found):
    rows, every = [], []
    for decay, one in found["by decay"].items():
        for radius, results in one["results"].items():
            every.append(results)
            flipped = results[:, :, FLIPPED].mean(axis=0)
            moved = np.median(results[:, 0, [PIXELS, MOVED]], axis=0)
            rows.append(
                [f"{decay:g}", f"± {radius:g}", *(f"{share:.0%}" for share in flipped),
                 f"{results[:, -1, AT_RANDOM].mean():.0%}", *(f"{step:.1%}" for step in moved),
                 f"{one['accuracy']:.1%}", f"{np.median(results[:, 0, MARGIN]):.1f}",
                 ", ".join(f"{p:.0%}" for p in one["least"])]
            )  # fmt: skip
    rows.append(
        ["paper, 0.001", "± 0.5", *PAPER.values(), "", "", "about 100 %", "98.5%", "",
         "77%, 90%"]
    )  # fmt: skip
    header = [
        "penalty", "levels", *(f"flipped by {k} row{'s' * (k > 1)}" for k in COUNTS),
        "10 at random", "moved in pixels", "in features", "right", "margin", "least sure",
    ]  # fmt: skip
    every = np.concatenate(every)
    return "\n\n".join(
        [
            f"{found['n']} training images, {found['d']} features of mean square 1; "
            f"{len(results)} of the test images that are right are attacked, each by itself, in "
            f"at most {found['plan'].steps} steps.",
            table(header, rows),
            f"Flips that were trained again from scratch by scikit-learn: "
            f"{int(every[:, :, CONFIRMED].sum())} of {int(every[:, :, CHECKED].sum())} are "
            "flips there. *At random*: the same 10 images, pushed as far in directions at random. "
            "*Moved*: the one row, over the mean distance of its class from its centroid, median. "
            "*Right*: test images. *Margin*: median logit of the class of the attacked images. "
            "*Least sure*: the two training images whose class has the lowest probability. The "
            "derivative in pixels differs from `perturbation` of the whole network by "
            f"{found['gap']:.1g} (relative).",
        ]
    )


NOTES = ""


def main(argv=None):
    options = parser(__doc__.splitlines()[0]).parse_args(argv)
    torch.set_num_threads(1)
    images = digits_to_attack() if options.quick else cifar_to_attack(options)
    if images is None:
        return None
    plan = (
        Plan(decays=(1e-3,), radii=(0.5, 2.0), steps=20, n_tests=8, n_verified=4)
        if options.quick
        else Plan()
    )
    found = study(images, plan, Checkpoints("koh-liang-attack", plan, options))
    text = f"Data: {images.source}. Command: `koh_liang_attack.py`.\n\n{report(found)}"
    if not options.quick:
        text = f"{text}\n\n{NOTES}"
    publish("koh-liang-attack", "Koh & Liang, section 5.2: attacks on training", text, options)
    note("done")
    return found


if __name__ == "__main__":
    main()
