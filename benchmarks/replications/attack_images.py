"""The images that training-set attacks change, and the frozen networks that see them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from networks_shared import parameters, with_parameters
from representer_shared import FEATURES, LAST, Recipe, fit, network
from shared import Checkpoints, picture, read
from sklearn.datasets import load_digits
from torch import nn


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
