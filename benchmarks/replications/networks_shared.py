"""Networks that the replications train, and how."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Mean and spread of MNIST's pixels, which those who publish numbers on it divide out.
MEAN, SPREAD = 0.1307, 0.3081


# -- models ---------------------------------------------------------------------------------------


def linear(n_features: int, n_classes: int = 10, *, bias: bool = True) -> nn.Module:
    """Logistic regression."""
    return nn.Sequential(nn.Linear(n_features, n_classes, bias=bias))


def perceptron(
    n_features: int, n_classes: int = 10, *, hidden: tuple[int, int] = (128, 64), dropout=0.1
) -> nn.Module:
    """Two hidden layers, each with rectifiers and dropout."""
    first, second = hidden
    return nn.Sequential(
        nn.Linear(n_features, first),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(first, second),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(second, n_classes),
    )


def convolutional(*, channels: int = 8, strides=(1, 2, 1, 2, 1), n_classes: int = 10) -> nn.Module:
    """Convolutions of 3 x 3 pixels with tanh instead of pooling; the last averages the pixels.

    With the default sizes the 2,616 parameters of Koh & Liang's network.
    """
    layers: list[nn.Module] = []
    for depth, stride in enumerate(strides):
        layers += [nn.Conv2d(channels if depth else 1, channels, 3, stride=stride), nn.Tanh()]
    layers += [nn.Conv2d(channels, n_classes, 1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(n_classes, n_classes))


def parameters(module: nn.Module) -> np.ndarray:
    """All parameters as one vector."""
    return torch.cat([p.detach().reshape(-1) for p in module.parameters()]).numpy()


def with_parameters(module: nn.Module, theta: np.ndarray) -> nn.Module:
    """The module, at these parameters, in evaluation mode."""
    vector = torch.as_tensor(theta, dtype=next(module.parameters()).dtype)
    nn.utils.vector_to_parameters(vector, module.parameters())
    return module.eval()


# -- data -----------------------------------------------------------------------------------------


def standardised(X: np.ndarray) -> Tensor:
    """Pixels from 0 to 1, less the mean and over the spread of MNIST's."""
    return torch.as_tensor((X - MEAN) / SPREAD, dtype=torch.float32)


def images(X: np.ndarray) -> Tensor:
    """Rows of pixels as square images with one channel."""
    side = round(X.shape[1] ** 0.5)
    return torch.as_tensor(X, dtype=torch.float32).reshape(-1, 1, side, side)


def losses(module: nn.Module, X: Tensor, y: Tensor) -> np.ndarray:
    """Cross entropy of every row, float64."""
    with torch.no_grad():
        return F.cross_entropy(module(X).double(), y, reduction="none").numpy()


def accuracy(module: nn.Module, X: Tensor, y: Tensor) -> float:
    """Share of the rows that the module gets right."""
    with torch.no_grad():
        return float((module(X).argmax(1) == y).double().mean())


# -- training -------------------------------------------------------------------------------------


def trained_by_sgd(
    make: Callable[[], nn.Module],
    X: Tensor,
    y: Tensor,
    *,
    epochs: int,
    seed: int,
    momentum: float = 0.9,
    rate: float = 0.01,
    batch_size: int = 64,
) -> nn.Module:
    """A new module, trained on the mean cross entropy; the seed draws all that is random."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = make().train()
        optimiser = torch.optim.SGD(module.parameters(), lr=rate, momentum=momentum)
        for _ in range(epochs):
            for rows in torch.randperm(len(X)).split(batch_size):
                optimiser.zero_grad()
                F.cross_entropy(module(X[rows]), y[rows]).backward()
                optimiser.step()
    return module.eval()
