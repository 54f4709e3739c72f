"""Models that describe rows by fewer numbers: what may be asked of them."""

from __future__ import annotations

from typing import Any, Self

from skinfluence.deletion.closed.base import Array, Family
from skinfluence.deletion.closed.heads import Head, Reconstruction

RECONSTRUCTION = "reconstruction_error"
DENSITY, ERROR, BOTH = ("density",), ("error",), ("density", "error")


class Latent(Family):
    """Densities whose rows can be reconstructed from a few components or factors.

    Parameters
    ----------
    wanted : tuple of {"density", "error"}
        The outputs: log density, and squared error of the reconstruction, in this order.
    """

    supervised = False
    reconstructs = True

    def __init__(self, wanted: tuple[str, ...] = DENSITY):
        self.wanted = wanted

    def asked(self, settings: Any) -> Self:
        # A function of the user may want both; no other target does.
        if callable(settings.target):
            return type(self)(BOTH)
        return type(self)(ERROR if settings.target == RECONSTRUCTION else DENSITY)

    def head(self, estimator: Any) -> Head:
        return Reconstruction()


def beyond(gaps: Array, axes: Array) -> Array:
    """What orthonormal axes (K, p) leave of rows (q, p)."""
    return gaps - (gaps @ axes.T) @ axes
