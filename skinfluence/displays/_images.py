"""Rows as images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse


def check_shape(image_shape: Any) -> tuple[int, ...]:
    """Refuse what is no shape of an image."""
    shape = tuple(int(length) for length in image_shape)
    if len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4)):
        return shape
    raise ValueError(
        f"image_shape is {shape}, but images are (height, width), or (height, width, channels) "
        "with 3 or 4 channels. Pass e.g. (28, 28) or (32, 32, 3)."
    )


def as_images(X: Any, name: str, image_shape: tuple[int, ...], rows: Any = None) -> NDArray[Any]:
    """All images, or those at the positions `rows` of any shape."""
    values: Any = X.tocsr() if issparse(X) else np.asarray(X)
    n_pixels = int(np.prod(image_shape))
    if values.ndim < 2 or np.prod(values.shape[1:]) != n_pixels:
        raise ValueError(
            f"{name} has shape {values.shape}, but an image of shape {image_shape} has "
            f"{n_pixels} numbers, so it must be (n, {n_pixels}). "
            "Pass flat images, or another image_shape."
        )
    if values.shape[1:] == (*image_shape[2:], *image_shape[:2]) and values.ndim == 4:
        values = np.moveaxis(values, 1, -1)  # channels first, as torch has them
    values = values if rows is None else values[np.ravel(rows)]
    values = values.toarray() if issparse(values) else values
    return values.reshape(*(values.shape[:1] if rows is None else rows.shape), *image_shape)
