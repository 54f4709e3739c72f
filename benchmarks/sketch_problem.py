"""Rows of many sparse features, made block by block from a seed, with planted ones among them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.special import expit
from sklearn.linear_model import SGDClassifier

# One row in a thousand is planted, 7 rows behind the thousands.
EVERY, OFFSET = 1_000, 7
BLOCK = 10_000
# Penalty of the fit, over the mean loss.
ALPHA = 1e-6


@dataclass(frozen=True)
class SketchProblem:
    """A logistic model of sparse rows.

    The features of a row are drawn with frequencies that fall as a power, as words and the n-grams
    of programs do. Labels follow one feature in ten. A planted row has rare features, and a
    label against what ten of them say.

    Parameters
    ----------
    n, p : int
        Rows and features.
    per_row : int, default=100
        Features of a row.
    seed : int, default=0
    """

    n: int
    p: int
    per_row: int = 100
    seed: int = 0

    @property
    def truth(self) -> np.ndarray:
        """Coefficients that labels follow, (p,)."""
        rng = np.random.default_rng([self.seed, 0])
        return rng.normal(size=self.p) * (rng.uniform(size=self.p) < 0.1)

    @property
    def planted(self) -> np.ndarray:
        """Mask of the planted rows, (n,)."""
        return np.arange(self.n) % EVERY == OFFSET

    def blocks(self) -> Iterator[tuple[csr_array, np.ndarray]]:
        """All rows in blocks, the same each time."""
        truth = self.truth
        for start in range(0, self.n, BLOCK):
            yield self._block(start, min(BLOCK, self.n - start), truth)

    def test(self, n: int = 20_000) -> tuple[csr_array, np.ndarray]:
        """Rows that are not among them, none of which is planted."""
        return self._block(self.n + BLOCK, n, self.truth, plant=False)

    def _block(self, start, n, truth, *, plant=True):
        rng = np.random.default_rng([self.seed, 1, start])
        # Squares and more of uniform numbers: the first tenth of the features takes half of them.
        places = (self.p * rng.random((n, self.per_row), dtype=np.float32) ** 3.3).astype(np.int32)
        np.minimum(places, self.p - 1, out=places)
        planted = np.flatnonzero(np.arange(start, start + n) % EVERY == OFFSET) if plant else []
        for row in planted:
            rare = rng.integers(self.p // 10, self.p, size=self.per_row)
            side = 1.0 if rng.random() < 0.5 else -1.0
            telling = np.flatnonzero(side * truth > 0.5)
            rare[:10] = rng.choice(telling, size=10)
            places[row] = rare
        values = np.full(n * self.per_row, 1.0 / np.sqrt(self.per_row), dtype=np.float32)
        starts = np.arange(0, n * self.per_row + 1, self.per_row, dtype=np.int32)
        X = csr_array((values, places.ravel(), starts), shape=(n, self.p))
        X.sum_duplicates()
        eta = 8.0 * np.asarray(X @ truth)
        y = (rng.random(n) < expit(eta)).astype(np.int64)
        y[planted] = eta[planted] < 0
        return X, y

    def fitted(self, n_epochs: int = 2) -> SGDClassifier:
        """A logistic regression that saw all blocks in turn, averaged."""
        steps = {"learning_rate": "invscaling", "eta0": 4.0, "power_t": 0.25, "average": True}
        model = SGDClassifier("log_loss", alpha=ALPHA, random_state=0, **steps)
        for _ in range(n_epochs):
            for X, y in self.blocks():
                model.partial_fit(X, y, classes=[0, 1])
        return model
