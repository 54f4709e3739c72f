"""Rows of tables and images, as a network takes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def flat_images(X: Any, image_shape: Sequence[int] | None) -> Any:
    """Images (n, C, H, W) as rows (n, C * H * W); anything else as it is."""
    if getattr(X, "ndim", None) != 4:
        return X
    seen = tuple(X.shape[1:])
    if image_shape is not None and seen != tuple(image_shape):
        raise ValueError(
            f"X holds images of shape {seen}, and image_shape is {tuple(image_shape)}: channels, "
            "height and width. Move the axis of the channels, or change image_shape."
        )
    return np.asarray(X).reshape(len(X), -1)


def check_image_shape(image_shape: Sequence[int] | None, n_features: int) -> tuple[int, ...]:
    """The shape of images that have so many values."""
    if image_shape is None:
        raise ValueError(
            "architecture='conv' needs to know which columns are neighbours, and X is flat. Pass "
            "image_shape=(channels, height, width), or images of shape (n, channels, height, "
            "width)."
        )
    shape = tuple(int(size) for size in image_shape)
    if len(shape) != 3 or min(shape) < 1 or math.prod(shape) != n_features:
        raise ValueError(
            f"image_shape={shape} is not (channels, height, width) of {n_features} values a row, "
            "which is how many columns X has. Change image_shape, or X."
        )
    return shape


def check_unit_interval(X: np.ndarray) -> None:
    """Refuse values that a Bernoulli likelihood has no probability for."""
    low, high = float(X.min()), float(X.max())
    if low < 0 or high > 1:
        raise ValueError(
            f"likelihood='bernoulli' takes values in [0, 1], and X has values from {low:.4g} to "
            f"{high:.4g}. Scale the columns (MinMaxScaler(clip=True), X / 255), or use "
            "likelihood='gaussian'."
        )


def as_tensor(X: np.ndarray, device: torch.device) -> Tensor:
    """An array on a device, without a copy where it can do without one."""
    # torch warns of arrays that it could not write to, and never does.
    return torch.from_numpy(X if X.flags.writeable else X.copy()).to(device)


def usable_device(name: str | torch.device | None) -> torch.device:
    """The device of this name, tried; None stands for the CPU."""
    try:
        device = torch.device("cpu" if name is None else name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(
            f"device={str(name)!r} cannot be used: {reason}. Use device=None for the CPU, or a "
            "torch that sees the device."
        ) from error
    return device
