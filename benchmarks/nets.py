"""Networks on images of digits, trained once and handed to every process that measures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional
from torch_problem import TorchProblem

# Width of the images: digits are drawn three times their size, somewhere in a frame of 28 x 28.
WIDTH, SCALE = 28, 3


def images(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noisy digits (n, 784) in [0, 1], float32, and their classes: a stand-in for MNIST."""
    rng = np.random.default_rng(seed)
    small, classes = load_digits(return_X_y=True)
    drawn = rng.integers(len(small), size=n)
    large = np.kron(small[drawn].reshape(n, 8, 8) / 16.0, np.ones((SCALE, SCALE)))
    frames = rng.uniform(0.0, 0.1, (n, WIDTH, WIDTH)).astype(np.float32)
    corners = rng.integers(WIDTH - 8 * SCALE + 1, size=(n, 2))
    for frame, image, (top, left) in zip(frames, large, corners, strict=True):
        frame[top : top + 8 * SCALE, left : left + 8 * SCALE] += image.astype(np.float32)
    return frames.reshape(n, -1).clip(0.0, 1.0), classes[drawn]


def small_digits(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The digits of scikit-learn themselves, (n, 64): the first, or the last as seed 1."""
    X, y = load_digits(return_X_y=True)
    part = slice(0, n) if seed == 0 else slice(len(X) - n, len(X))
    return (X[part] / 16.0).astype(np.float32), y[part]


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def cnn() -> nn.Sequential:
    """Two convolutions and two linear layers, 56,714 parameters."""
    return nn.Sequential(
        nn.Unflatten(1, (1, WIDTH, WIDTH)),
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(800, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


# Each with its rows and the epochs it is trained for.
NETS = {
    "wide": (partial(mlp, 784, 512, 256, 10), images, 2),
    "one_layer": (partial(mlp, 784, 128, 10), images, 5),
    "narrow": (partial(mlp, 784, 16, 10), images, 2),
    "cnn": (cnn, images, 1),
    "tiny": (partial(mlp, 64, 12, 10), small_digits, 150),
    "digits": (partial(mlp, 64, 32, 10), small_digits, 60),
}


@dataclass(frozen=True)
class NetProblem:
    """A trained network with its rows and queries; it pickles small, because rows are redrawn.

    Parameters
    ----------
    kind : str
        One of NETS.
    n, m : int
        Training rows and queries.
    state : dict of str to ndarray
        Parameters after training.
    dtype : str
    device : str
    """

    kind: str
    n: int
    m: int
    state: dict[str, np.ndarray]
    dtype: str = "float32"
    device: str = "cpu"

    def tensors(self, first: int | None = None, queries: int | None = None) -> TorchProblem:
        """Network, rows and queries as tensors; the first few of either only, if asked."""
        make, rows, _ = NETS[self.kind]
        (X, y), (Xq, yq) = rows(self.n), rows(self.m, seed=1)
        net = make()
        net.load_state_dict({name: torch.as_tensor(v) for name, v in self.state.items()})
        kind: Any = getattr(torch, self.dtype)
        of_floats = dict(dtype=kind, device=self.device)
        return TorchProblem(
            net=net.to(**of_floats).eval(),
            X=torch.as_tensor(X[:first]).to(**of_floats),
            y=torch.as_tensor(y[:first]).to(self.device),
            Xq=torch.as_tensor(Xq[:queries]).to(**of_floats),
            yq=torch.as_tensor(yq[:queries]).to(self.device),
            binary=False,
        )

    def in_type(self, dtype: str) -> NetProblem:
        """The same problem in another floating point type."""
        return replace(self, dtype=dtype)


@cache
def trained(kind: str, n: int, m: int, device: str = "cpu") -> NetProblem:
    """A network trained by Adam on its rows' mean cross-entropy."""
    make, rows, epochs = NETS[kind]
    torch.manual_seed(0)
    net = make()
    X, y = map(torch.as_tensor, rows(n))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(epochs):
        for part in torch.randperm(n).split(100):
            optimizer.zero_grad()
            functional.cross_entropy(net(X[part]), y[part]).backward()
            optimizer.step()
    state = {name: value.numpy().copy() for name, value in net.state_dict().items()}
    return NetProblem(kind, n, m, state, device=device)
