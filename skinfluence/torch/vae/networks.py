"""Encoders and decoders: dense ones for tables and small images, convolutions for images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from skinfluence.torch.vae.module import VAE

# Hidden layers by default: of a table, and channels of an image.
HIDDEN = {"mlp": (512, 256), "conv": (32, 32, 64, 64)}
# Between the last convolution and the latents.
DENSE_WIDTH = 256


def new_module(settings: Any, n_features: int, seed: int) -> VAE:
    """The untrained module of a BetaVAE, on the CPU."""
    hidden = HIDDEN[settings.architecture] if settings.hidden is None else settings.hidden
    widths, latent_dim = [check_width(width) for width in hidden], int(settings.latent_dim)
    # Without values: the constructors of layers draw theirs from torch's global state.
    with torch.device("meta"):
        if settings.architecture == "mlp":
            made = dense_networks(n_features, widths, latent_dim)
        else:
            made = image_networks(settings.image_shape_, widths, latent_dim)
        module = VAE(
            *made,
            latent_dim=latent_dim,
            beta=settings.beta,
            likelihood=settings.likelihood,
            noise_scale=settings.noise_scale,
        )
    module = module.to_empty(device="cpu").to(getattr(torch, settings.dtype))
    initialise(module, torch.Generator().manual_seed(seed))
    return module


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
        if k:
            decoder.append(nn.ReLU())
    return nn.Sequential(*encoder), nn.Sequential(*decoder, nn.Flatten())


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


def check_width(width: Any) -> int:
    """The width of a layer, or its channels."""
    if not isinstance(width, Integral) or int(width) < 1:
        raise ValueError(
            f"hidden is a sequence of positive integers, one a layer. Got {width!r} in it. Pass "
            "for instance hidden=(512, 256)."
        )
    return int(width)


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
