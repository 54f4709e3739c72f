"""The training rows as a mixture sees them: features, responsibilities, batched E steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from .statistics import Array, Frame

_CACHE = 2**18  # elements of an E step's table that stay in a core's cache
SMALL = 50.0  # exp of a smaller change can neither overflow nor lose the sum


def responsibilities(frame: Frame, X: Array) -> tuple[Array, Array]:
    """Log responsibilities (K, m) and log density (m,) of rows X."""
    joint = frame.log_joint(X)
    density = logsumexp(joint, axis=0)
    return joint - density, density


def log_ratio(log_r: Array, change: Array) -> Array:
    """log p'(x) - log p(x) = log sum_k r_k exp(change_k), over the first axis."""
    return logsumexp(log_r + change, axis=0)


@dataclass
class Rows:
    """B rows that are deleted (sign -1) or added (+1), each in a model of its own.

    Attributes
    ----------
    f : (K, qf, B)
    r, log_r : (K, B)
    known : (n_second, B) or None
        Their part of the known second moment, signed (tied covariances).
    """

    f: Array
    log_r: Array
    known: Array | None
    sign: float

    def __post_init__(self) -> None:
        self.r = np.exp(self.log_r)

    @property
    def size(self) -> int:
        return self.f.shape[-1]

    def take(self, index: Array) -> Rows:
        known = None if self.known is None else self.known[:, index]
        return Rows(self.f[:, :, index], self.log_r[:, index], known, self.sign)

    def change(self, eta: Array) -> Array:
        """Change of each row's log joint in its own model, (K, B)."""
        return np.einsum("kqB,kqB->kB", self.f, eta)

    def moved_r(self, eta: Array) -> Array:
        """Responsibilities of each row in its own model, (K, B)."""
        joint = self.log_r + self.change(eta)
        return np.exp(joint - logsumexp(joint, axis=0))


class Sample:
    """Training rows under a frame. Features are kept if they fit into `budget` bytes."""

    def __init__(self, frame: Frame, X: Array, log_r: Array, budget: float) -> None:
        self.frame, self.X, self.log_r = frame, X, log_r
        self.r = np.exp(log_r)
        width = 8 * frame.n_components * frame.n_features_out
        self._chunk = int(max(64, min(len(X), 2**22 // width)))
        self._cache = frame.features(X) if width * len(X) <= budget else None

    def features(self, rows: slice) -> Array:
        """f of some rows, (K, qf, m)."""
        if self._cache is not None:
            return self._cache[:, :, rows]
        return self.frame.features(self.X[rows])

    def rows(self, rows: slice | Array, sign: float = -1.0) -> Rows:
        """Training rows to delete."""
        X = self.X[rows]
        f = self.frame.features(X)
        return Rows(f, self.log_r[:, rows], self.frame.known(X, sign), sign)

    def blocks(self, size: int | None = None) -> Iterator[slice]:
        size = size or self._chunk
        for start in range(0, len(self.X), size):
            yield slice(start, min(start + size, len(self.X)))

    def e_step(self, eta: Array) -> Array:
        """Change of the statistics of all rows under B models, sum_j (r'_jk - r_jk) t_jk."""
        K, q, B = len(eta), self.frame.n_stats, eta.shape[-1]
        dT = np.zeros((K, q, B))
        inner = max(16, _CACHE // (K * B))
        for outer in self.blocks():
            f = self.features(outer)
            for start in range(0, f.shape[-1], inner):
                part = slice(start, start + inner)
                rows = slice(outer.start + start, outer.start + start + f[:, :, part].shape[-1])
                moved = self._moved(f[:, :, part], self.log_r[:, rows], self.r[:, rows], eta)
                dT += np.matmul(f[:, :q, part], moved)
        return dT

    @staticmethod
    def _moved(f: Array, log_r: Array, r: Array, eta: Array) -> Array:
        """Change of the responsibilities of some rows under B models, (K, m, B)."""
        G = np.matmul(f.swapaxes(1, 2), eta)
        if -SMALL < G.min() and G.max() < SMALL:
            np.exp(G, out=G)
            G *= r[:, :, None]
        else:
            G += log_r[:, :, None]
            G -= G.max(axis=0)
            np.exp(G, out=G)
        G /= G.sum(axis=0)
        G -= r[:, :, None]
        return G
