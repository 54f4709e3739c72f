"""Losses that are hard to minimise, each in a few lines: kinks in the slope, walls, valleys."""

import numpy as np

from skinfluence.objectives.losses import PointLoss


class SquaredHinge(PointLoss):
    """``max(0, 1 - s eta)^2`` with s = +-1."""

    smooth = False

    def _left(self, eta, y):
        return np.maximum(0.0, 1.0 - y * eta[..., 0])

    def value(self, eta, y):
        return self._left(eta, y) ** 2

    def gradient(self, eta, y):
        return (-2.0 * y * self._left(eta, y))[..., None]

    def curvature(self, eta, y, *, expected=False):
        return (2.0 * (self._left(eta, y) > 0))[..., None, None]


class ModifiedHuber(SquaredHinge):
    """The squared hinge, continued straight below a margin of -1."""

    def value(self, eta, y):
        margin = y * eta[..., 0]
        return np.where(margin < -1.0, -4.0 * margin, super().value(eta, y))

    def gradient(self, eta, y):
        flat = (y * eta[..., 0] < -1.0)[..., None]
        return np.where(flat, -4.0 * np.asarray(y)[..., None], super().gradient(eta, y))

    def curvature(self, eta, y, *, expected=False):
        flat = (y * eta[..., 0] < -1.0)[..., None, None]
        return np.where(flat, 0.0, super().curvature(eta, y))


class Huber(PointLoss):
    """Half the squared residual up to 0.1, straight beyond."""

    smooth = False
    width = 0.1

    def value(self, eta, y):
        size = np.abs(eta[..., 0] - y)
        return np.where(size < self.width, 0.5 * size**2, self.width * (size - 0.5 * self.width))

    def gradient(self, eta, y):
        return np.clip(eta - np.asarray(y)[..., None], -self.width, self.width)

    def curvature(self, eta, y, *, expected=False):
        return (np.abs(eta[..., 0] - y) < self.width).astype(float)[..., None, None]


class SquaredTube(PointLoss):
    """``max(0, |y - eta| - 1/2)^2``: flat at its minimum."""

    smooth = False

    def _outside(self, eta, y):
        residual = eta[..., 0] - y
        return np.sign(residual) * np.maximum(np.abs(residual) - 0.5, 0.0)

    def value(self, eta, y):
        return self._outside(eta, y) ** 2

    def gradient(self, eta, y):
        return 2.0 * self._outside(eta, y)[..., None]

    def curvature(self, eta, y, *, expected=False):
        return (2.0 * (self._outside(eta, y) != 0))[..., None, None]


class InverseGaussian(PointLoss):
    """Half the deviance of power 3 with a log link: not convex where the mean exceeds 2 y."""

    has_expected = True

    def value(self, eta, y):
        return 0.5 * y * np.exp(-2.0 * eta[..., 0]) - np.exp(-eta[..., 0]) + 0.5 / y

    def gradient(self, eta, y):
        return (np.exp(-eta[..., 0]) - y * np.exp(-2.0 * eta[..., 0]))[..., None]

    def curvature(self, eta, y, *, expected=False):
        mean = np.exp(-eta[..., 0])
        return (mean if expected else 2.0 * y * mean**2 - mean)[..., None, None]


class GammaIdentity(PointLoss):
    """``y / mu + log mu`` with mu = eta, infinite at mu <= 0 and not convex beyond 2 y."""

    def value(self, eta, y):
        mean = eta[..., 0]
        safe = np.where(mean > 0, mean, 1.0)
        return np.where(mean > 0, y / safe + np.log(safe), np.inf)

    def gradient(self, eta, y):
        return (1.0 / eta[..., 0] - y / eta[..., 0] ** 2)[..., None]

    def curvature(self, eta, y, *, expected=False):
        return (2.0 * y / eta[..., 0] ** 3 - 1.0 / eta[..., 0] ** 2)[..., None, None]


class PoissonIdentity(GammaIdentity):
    """``mu - y log mu`` with mu = eta."""

    def value(self, eta, y):
        mean = eta[..., 0]
        safe = np.where(mean > 0, mean, 1.0)
        return np.where(mean > 0, safe - y * np.log(safe), np.inf)

    def gradient(self, eta, y):
        return (1.0 - y / eta[..., 0])[..., None]

    def curvature(self, eta, y, *, expected=False):
        return (y / eta[..., 0] ** 2)[..., None, None]
