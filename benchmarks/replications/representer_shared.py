"""The small networks that stand in for those of Yeh et al. (2018), and their images."""

from __future__ import annotations

import argparse
import dataclasses
import math
from functools import partial

import numpy as np
import torch
from networks_shared import parameters, with_parameters
from shared import Checkpoints, digits, mnist, picture, read
from torch import Tensor, nn
from torch.nn import functional as F

FEATURES, LAST = "features", "last"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A data set, and the network trained on it.

    Parameters
    ----------
    name : str
    n_train, n_test : int
        Images.
    channels : tuple of int
        Of convolutions of 3 x 3 pixels, each with a rectifier and a pooling of 2 x 2.
    width : int
        Features that the last layer gets, which are outputs of rectifiers.
    epochs : int
    rate : float
        Of SGD with momentum .9 in the first epoch, from where it falls in a straight line.
    """

    name: str
    n_train: int
    n_test: int
    channels: tuple[int, ...]
    width: int
    epochs: int
    rate: float = 0.05


CIFAR = Recipe("CIFAR-10", 20_000, 2_000, (32, 64, 64), 128, epochs=10)
MNIST = Recipe("MNIST", 10_000, 2_000, (16, 32), 64, epochs=12)
SMALL = Recipe("digits", 1_000, 700, (8, 16), 32, epochs=30)
# Penalties of a last layer refitted to the outputs, beside the sum of the losses: the largest of a
# ladder of tens with which its outputs correlate at .999 with the network's.
L2 = {"CIFAR-10": 2.06, "MNIST": 5.26e-4, "digits": 1.26e-3}


@dataclasses.dataclass(frozen=True)
class Trained:
    """A network with its training and test rows.

    Parameters
    ----------
    recipe : Recipe
    module : torch.nn.Sequential
        In evaluation mode; its layers called `FEATURES` and `LAST` are linear.
    X, Z : ndarray of shape (n, channels, side, side)
        Standardised images, float32.
    y, z_y : ndarray of int
    classes : list of str
    """

    recipe: Recipe
    module: nn.Sequential
    X: np.ndarray
    y: np.ndarray
    Z: np.ndarray
    z_y: np.ndarray
    classes: list[str]

    def logits(self, rows: np.ndarray) -> np.ndarray:
        """Outputs of the network, float64."""
        with torch.no_grad():
            parts = [self.module(part) for part in torch.as_tensor(rows).split(500)]
        return torch.cat(parts).double().numpy()

    def before(self, layer: str, rows: np.ndarray) -> np.ndarray:
        """Inputs of a layer, float32."""
        part = self._cut(layer)[0]
        with torch.no_grad():
            return torch.cat([part(some) for some in torch.as_tensor(rows).split(500)]).numpy()

    def from_there(self, layer: str) -> nn.Module:
        """The layer and those after it."""
        return self._cut(layer)[1]

    def _cut(self, layer):
        at = [name for name, _ in self.module.named_children()].index(layer)
        return self.module[:at], self.module[at:]

    def predicted(self, rows: np.ndarray) -> np.ndarray:
        """Classes."""
        return self.logits(rows).argmax(1)

    def said(self) -> str:
        """The sizes and the accuracies, as a sentence."""
        own, new = (np.mean(self.predicted(a) == b) for a, b in self._pairs())
        return (
            f"{self.recipe.name}: {len(self.X)} training images, {len(self.recipe.channels)} "
            f"convolutions and two linear layers, {self.recipe.width} features, "
            f"{self.recipe.epochs} epochs of SGD; {own:.1%} of the training and {new:.1%} of "
            f"{len(self.Z)} test images are right."
        )

    def _pairs(self):
        return (self.X, self.y), (self.Z, self.z_y)


def network(shape: tuple[int, ...], recipe: Recipe, n_classes: int = 10) -> nn.Sequential:
    """Convolutions, a layer of features with a rectifier, and the last layer."""
    layers, depth, side = nn.Sequential(), shape[0], shape[1]
    for i, channels in enumerate(recipe.channels):
        layers.add_module(f"convolution{i}", nn.Conv2d(depth, channels, 3, padding=1))
        layers.add_module(f"rectifier{i}", nn.ReLU())
        layers.add_module(f"pooling{i}", nn.MaxPool2d(2))
        depth, side = channels, side // 2
    layers.add_module("flat", nn.Flatten())
    layers.add_module(FEATURES, nn.Linear(depth * side * side, recipe.width))
    layers.add_module("rectifier", nn.ReLU())
    layers.add_module(LAST, nn.Linear(recipe.width, n_classes))
    return layers


def fit(module: nn.Module, X: Tensor, y: Tensor, recipe: Recipe, seed: int = 0) -> nn.Module:
    """Train by SGD with momentum on the mean cross entropy."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.SGD(module.parameters(), lr=recipe.rate, momentum=0.9)
    batches = math.ceil(len(X) / 64)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.01, recipe.epochs * batches)
    for _ in range(recipe.epochs):
        for rows in torch.randperm(len(X), generator=generator).split(64):
            optimiser.zero_grad()
            F.cross_entropy(module(X[rows]), y[rows]).backward()
            optimiser.step()
            schedule.step()
    return module.eval()


# -- data -----------------------------------------------------------------------------------------


def rows_of(recipe: Recipe, options: argparse.Namespace):
    """(X, y, Z, z_y, classes) with standardised images; None where there is no file."""
    if recipe.name == "CIFAR-10":
        found = read(options, "cifar10_jpegbytes.npz")
        return None if found is None else _standardised(*_cifar(found, recipe))
    data = digits() if recipe is SMALL else mnist(options)
    if data is None:
        return None
    X, y, Z, z_y = data
    side = math.isqrt(X.shape[1])
    X, Z = (part.reshape(-1, 1, side, side) for part in (X[: recipe.n_train], Z[: recipe.n_test]))
    return _standardised(
        X, y[: recipe.n_train], Z, z_y[: recipe.n_test], [str(digit) for digit in range(10)]
    )


def _cifar(found, recipe):
    # The file is sorted by class.
    order = np.random.default_rng(0).permutation(len(found["y"]))
    train = found["is_train"].astype(bool)[order]
    parts = []
    for rows in (order[train][: recipe.n_train], order[~train][: recipe.n_test]):
        parts += [np.stack([picture(found, i) for i in rows]) / 255.0, found["y"][rows]]
    return *parts, [str(name) for name in found["classes"]]


def _standardised(X, y, Z, z_y, classes):
    mean, spread = X.mean(), X.std()
    X, Z = (((part - mean) / spread).astype(np.float32) for part in (X, Z))
    return X, y.astype(int), Z, z_y.astype(int), classes


def trained(recipe: Recipe, options: argparse.Namespace) -> Trained | None:
    """The network that all scripts share, trained once; None where there is no file."""
    torch.set_num_threads(1)
    found = rows_of(recipe, options)
    if found is None:
        return None
    X, y, Z, z_y, classes = found
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = network(X.shape[1:], recipe)
    kept = Checkpoints("representer-networks", recipe, options)
    make = partial(fit, module, torch.as_tensor(X), torch.as_tensor(y), recipe)
    theta = kept.keep(recipe.name, lambda: parameters(make()))
    return Trained(recipe, with_parameters(module, theta), X, y, Z, z_y, classes)


def all_trained(options: argparse.Namespace, recipes=(CIFAR, MNIST)) -> list[Trained]:
    """The networks of a run: that of the digits in a small one, else those with a file."""
    recipes = (SMALL,) if options.quick else recipes
    found = [trained(recipe, options) for recipe in recipes]
    return [one for one in found if one is not None]
