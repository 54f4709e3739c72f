"""Encoders and decoders: dense ones for tables and small images, convolutions for images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

# Between the last convolution and the latents.
DENSE_WIDTH = 256


def dense_networks(
    n_features: int, hidden: Sequence[int], latent_dim: int
) -> tuple[nn.Module, nn.Module]:
    """An encoder with these hidden layers, and a decoder with them in reverse."""
    there = [n_features, *hidden, 2 * latent_dim]
    back = [latent_dim, *reversed(hidden), n_features]
    return nn.Sequential(*_dense(there)), nn.Sequential(*_dense(back))


def image_networks(
    image_shape: Sequence[int], channels: Sequence[int], latent_dim: int
) -> tuple[nn.Module, nn.Module]:
    """Convolutions that halve an image, a dense layer, and the same in reverse.

    Rows are taken flat or as images, and given flat.
    """
    depths = [image_shape[0], *channels]
    sizes = _halvings(image_shape[1:], len(channels))
    inner = (depths[-1], *sizes[-1])
    encoder: list[nn.Module] = [AsImages(image_shape)]
    for before, after in pairwise(depths):
        encoder += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.ReLU()]
    encoder += [nn.Flatten(), *_dense([math.prod(inner), DENSE_WIDTH, 2 * latent_dim])]
    decoder = [*_dense([latent_dim, DENSE_WIDTH, math.prod(inner)]), nn.ReLU(), AsImages(inner)]
    for k in reversed(range(len(channels))):
        # An odd size loses its last pixel on the way there.
        lost = tuple(int(size) % 2 for size in sizes[k])
        step = {"stride": 2, "padding": 1, "output_padding": lost}
        decoder.append(nn.ConvTranspose2d(depths[k + 1], depths[k], 4, **step))
        decoder.append(nn.ReLU() if k else nn.Flatten())
    return nn.Sequential(*encoder), nn.Sequential(*decoder)


class AsImages(nn.Module):
    """Rows as images of one shape."""

    def __init__(self, shape: Sequence[int]):
        super().__init__()
        self.shape = tuple(int(size) for size in shape)

    def forward(self, rows: Tensor) -> Tensor:
        return rows.reshape(len(rows), *self.shape)

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.shape))


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw weights and biases as torch does, from a generator instead of the global state."""
    for part in module.modules():
        weight = getattr(part, "weight", None)
        if isinstance(weight, Tensor):
            # Of each layer's kaiming_uniform_(a=sqrt(5)), and of its bias.
            bound = 1 / math.sqrt(weight[0].numel())
            with torch.no_grad():
                weight.uniform_(-bound, bound, generator=generator)
                part.bias.uniform_(-bound, bound, generator=generator)


def _dense(widths: Sequence[int]) -> list[nn.Module]:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return layers[:-1]


def _halvings(size: Sequence[int], times: int) -> list[tuple[int, ...]]:
    """Height and width before each convolution and after the last."""
    sizes = [tuple(int(n) for n in size)]
    for _ in range(times):
        sizes.append(tuple(n // 2 for n in sizes[-1]))
    if min(sizes[-1]) < 1:
        raise ValueError(
            f"Images of {sizes[0][0]} x {sizes[0][1]} pixels cannot be halved {times} times, "
            f"once by each of the {times} convolutions. Shorten hidden to at most "
            f"{int(math.log2(min(sizes[0])))} channels, or use architecture='mlp'."
        )
    return sizes
