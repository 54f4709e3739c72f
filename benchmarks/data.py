"""Rows for the benchmarks: seeded generators, and the outlier sets that are not ours to ship."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from skinfluence.datasets import make_six_clusters

ODDS_FILE = "odds17.npz"
HOW_TO_MAKE_ODDS = f"""\
{ODDS_FILE} is not here, so this benchmark is skipped. It holds, for each of the 17 sets, the
arrays `<name>_X` (rows x columns) and `<name>_y` (1 = outlier). The sets are at
https://odds.cs.stonybrook.edu (.mat files: scipy.io.loadmat or h5py); several can be made with
sklearn.datasets.fetch_openml (glass, ionosphere, satellite, ...) and the classes named there.
Write them with np.savez_compressed("{ODDS_FILE}", glass_X=..., glass_y=..., ...) and pass the
directory as --data-dir or in the environment as SKINFLUENCE_DATA."""


def odds(directory: Path | str | None):
    """Yield (name, X, y) of the sets from small to large; nothing where the file is absent."""
    path = Path(directory or ".") / ODDS_FILE
    if not path.exists():
        return
    with np.load(path, allow_pickle=False) as file:
        names = [name[:-2] for name in file.files if name.endswith("_X")]
        sets = [(n, file[f"{n}_X"].astype(float), file[f"{n}_y"].ravel()) for n in names]
    yield from sorted(sets, key=lambda item: item[1].size)


def gaussian_rows(n: int, d: int, *, n_planted: int = 0, seed: int = 0) -> np.ndarray:
    """Standard normal rows; the last `n_planted` lie 8 to 40 standard deviations out."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    if n_planted:
        far = X[-n_planted:]
        far *= (np.linspace(8.0, 40.0, n_planted) / np.linalg.norm(far, axis=1))[:, None]
    return X


def scott(n: int, d: int) -> float:
    """Scott's rule of thumb for rows of unit variance."""
    return n ** (-1.0 / (d + 4))


def clusters(
    n: int, k: int, d: int, *, spread: float = 5.0, seed: int = 0, draw: int = 0
) -> np.ndarray:
    """Rows from k Gaussian clusters of unequal sizes and widths, centres `spread` apart or so.

    Another `draw` gives other rows of the same clusters.
    """
    rng = np.random.default_rng(seed)
    centres = spread * rng.standard_normal((k, d))
    widths, sizes = rng.uniform(0.4, 1.0, k), rng.dirichlet(np.full(k, 8.0))
    rng = np.random.default_rng([seed, draw])
    label = rng.choice(k, size=n, p=sizes)
    return centres[label] + widths[label, None] * rng.standard_normal((n, d))


def six_clusters(n: int, *, draw: int = 0, noise: float = 0.0) -> np.ndarray:
    """The paper's six clusters of 100 rows, drawn n / 100 times; with `noise` they overlap."""
    first = 1_000 * draw
    X = np.vstack([make_six_clusters(random_state=first + i)[0] for i in range(n // 100)])
    return X + noise * np.random.default_rng(draw).standard_normal(X.shape)
