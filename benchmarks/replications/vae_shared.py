"""The auto-encoders that the replications of Kong & Chaudhuri (2021) trace, and their data."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import joblib
import numpy as np
import shared
import torch
from common import versions
from scipy.ndimage import gaussian_filter, zoom
from shared import note, read

from skinfluence import TracInExplainer
from skinfluence.torch import BetaVAE

DRAWS = 16  # the paper's
QUERIES = 128  # the paper's
# Where all rows are scored at several checkpoints: draws average over these, too.
FEW_DRAWS = 4
MNIST_ROWS = 30_000  # the paper has all 60,000
DIGITS_SIDE = 8
# Nearest to the paper's EMNIST.
AS_EMNIST = "Omniglot, drawn as EMNIST"
# The first of the ten.
CIFAR_CLASSES = {"airplane": 0}
shared.HOW_TO_MAKE |= {
    "cifar10_jpegbytes.npz": """\
cifar10_jpegbytes.npz is not here, so this part is skipped. It holds CIFAR-10 as JPEG files: their
bytes one after another in jpeg, where each begins in offset, y, is_train, classes. Pillow writes
them from the images of torchvision.datasets.CIFAR10 (quality 75).""",
    "omniglot_small.npz": """\
omniglot_small.npz is not here, so this part is skipped. It holds handwritten characters of many
alphabets (Lake et al., 2015) in 28 x 28 bytes as x28_small1: torchvision.datasets.Omniglot has
the drawings, white on black after inversion.""",
    "notmnist10k.npz": """\
notmnist10k.npz is not here, so this part is skipped. It holds letters in odd fonts (Bulatov, 2011)
as x (n, 28, 28), bytes: the small set of notMNIST.""",
    "fashion_mnist60k.npz": """\
fashion_mnist60k.npz is not here, so this part is skipped. It holds Fashion-MNIST in the form of
mnist60k.npz: sklearn.datasets.fetch_openml("Fashion-MNIST") has it.""",
}


# -- options --------------------------------------------------------------------------------------


def parser(description: str) -> argparse.ArgumentParser:
    """The options of all replications, and where trained networks are kept."""
    options = shared.parser(description)
    options.add_argument(
        "--work-dir",
        type=Path,
        default=shared.HERE.parent / ".cache",
        metavar="DIR",
        help="where finished parts are kept, so that an interrupted run goes on",
    )
    return options


class Work:
    """A directory for what took long to compute; small runs keep nothing.

    Parameters
    ----------
    name : str
    options : argparse.Namespace
    """

    def __init__(self, name: str, options: argparse.Namespace):
        self.directory = None if options.quick else Path(options.work_dir) / name
        if self.directory is not None and options.fresh:
            shutil.rmtree(self.directory, ignore_errors=True)

    def keep(self, name: str, settings: object, compute):
        """What was kept for these settings, or else what `compute` returns, which is kept."""
        if self.directory is None:
            return compute()
        digest = hashlib.sha256(f"{settings}; {versions()}".encode()).hexdigest()[:12]
        path = self.directory / f"{name}-{digest}.joblib"
        if not path.exists():
            found = compute()
            self.directory.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".part")
            joblib.dump(found, unfinished)
            unfinished.rename(path)
            note(f"  {name}")
        return joblib.load(path)


# -- training -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A beta-VAE, and how it is trained.

    The paper's log likelihood is "a constant times" the squared error, without the constant, and
    only its product with beta matters: here beta is the paper's, and `noise_scale` was chosen so
    that the auto-encoder reconstructs its rows.
    """

    latent_dim: int = 128
    beta: float = 4.0
    noise_scale: float = 0.1
    hidden: tuple[int, ...] = (512, 256)
    architecture: str = "mlp"
    image_shape: tuple[int, int, int] | None = None
    likelihood: str = "gaussian"
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    batch_size: int = 128
    max_epochs: int = 50
    checkpoints: int = 11
    random_state: int = 0

    def fit(self, X: np.ndarray) -> BetaVAE:
        """A new auto-encoder of these rows."""
        return BetaVAE(**dataclasses.asdict(self)).fit(X)


def mnist_recipe(latent_dim: int, *, small: bool = False) -> Recipe:
    """The one auto-encoder of MNIST that all scripts share, or a small one of the digits."""
    if small:
        return Recipe(latent_dim // 8, hidden=(64, 32), batch_size=32, max_epochs=120)
    return Recipe(latent_dim)


def cifar_recipe(latent_dim: int, *, conv: bool = False) -> Recipe:
    """The one of a class of CIFAR-10; with convolutions, as the paper has it, on request."""
    dense = Recipe(latent_dim, beta=2.0, noise_scale=0.05, batch_size=64, max_epochs=60)
    if not conv:
        return dense
    return dataclasses.replace(
        dense,
        noise_scale=0.07,
        architecture="conv",
        hidden=(32, 32, 64, 64),
        image_shape=(3, 32, 32),
        max_epochs=60,
    )


def described(recipe: Recipe | BetaVAE, n_rows: int) -> str:
    """How an auto-encoder was trained, for the reader of a table."""
    shape = "dense" if recipe.architecture == "mlp" else "convolutional"
    layers = "-".join(map(str, recipe.hidden))
    falls = "" if recipe.schedule == "constant" else f", falling ({recipe.schedule})"
    return (
        f"{n_rows} rows; {shape} layers {layers}, beta {recipe.beta:g}, noise scale "
        f"{recipe.noise_scale:g}, Adam at {recipe.learning_rate:g}{falls}, {recipe.max_epochs} "
        f"epochs of batches of {recipe.batch_size}"
    )


def trained(recipe: Recipe, X: np.ndarray, options: argparse.Namespace, rows: str) -> BetaVAE:
    """The auto-encoder of these rows, which `rows` names; trained once for all scripts."""
    torch.set_num_threads(1)
    settings = (recipe, X.shape, hashlib.sha256(np.ascontiguousarray(X)).hexdigest())
    kept = Work("vae", options)
    return kept.keep(f"{rows}-{recipe.latent_dim}", settings, lambda: recipe.fit(X))


# -- tracing --------------------------------------------------------------------------------------


def traced(
    vae: BetaVAE, X: np.ndarray, *, at: Sequence[int] | None = None, **options
) -> TracInExplainer:
    """VAE-TracIn at the recorded checkpoints of these positions, the last alone by default.

    As the paper's, scores are sums of products: every learning rate is 1.
    """
    recorded = vae.checkpoints_
    steps = [recorded.steps[k] for k in ([-1] if at is None else at)]
    options = {"learning_rates": 1.0, "n_draws": DRAWS, "random_state": 0} | options
    explainer = TracInExplainer(vae, checkpoints=recorded.at(steps), contamination=None, **options)
    return explainer.fit(X)


# -- data -----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Images:
    """Images as rows with pixels from 0 to 1, labels, and what to call them."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    name: str


def handwritten(options: argparse.Namespace, n_rows: int | None = None) -> Images | None:
    """MNIST's first rows, or scikit-learn's digits in small mode; None where there is no file."""
    data = shared.digits() if options.quick else shared.mnist(options)
    if data is None:
        return None
    X, y, Z, z_y = data
    X, y = X[:n_rows], y[:n_rows]
    name = "scikit-learn's digits" if options.quick else "MNIST"
    return Images(X.astype(np.float32), y, Z.astype(np.float32), z_y, name)


def cifar(options: argparse.Namespace, classes: Sequence[int], side: int = 32):
    """Images of these classes of CIFAR-10, flat with channels first; None without the file."""
    found = read(options, "cifar10_jpegbytes.npz")
    if found is None:
        return None
    y = found["y"]
    train = found["is_train"].astype(bool)

    def images(mask):
        rows = np.flatnonzero(mask & np.isin(y, classes))
        each = [shared.picture(found, i, side).reshape(-1) for i in rows]
        return np.stack(each).astype(np.float32) / 255, y[rows]

    (X, labels), (Z, z_labels) = images(train), images(~train)
    return Images(X, labels, Z, z_labels, "CIFAR-10")


def foreign(options: argparse.Namespace, n_rows: int) -> dict[str, np.ndarray]:
    """Images that are no digits, by name: rows of the same pixels, (n_rows, d) each."""
    if options.quick:
        return foreign_to_digits(n_rows)
    found = {}
    omniglot = read(options, "omniglot_small.npz")
    if omniglot is not None:
        # Files are sorted by alphabet: every so many, for characters of all of them.
        drawn = spread(omniglot["x28_small1"], n_rows)
        found["Omniglot"] = flat(drawn)
        found[AS_EMNIST] = flat(as_emnist(drawn))
    letters = read(options, "notmnist10k.npz")
    if letters is not None:
        found["notMNIST"] = flat(spread(letters["x"], n_rows))
    clothes = read(options, "fashion_mnist60k.npz")
    if clothes is not None:
        found["Fashion-MNIST"] = flat(clothes["x_train"][:n_rows])
    return found


def spread(images: np.ndarray, n_rows: int) -> np.ndarray:
    """So many images, evenly spaced over all."""
    return images[np.linspace(0, len(images) - 1, n_rows).astype(int)]


def flat(images: np.ndarray) -> np.ndarray:
    """Bytes as rows of pixels from 0 to 1."""
    return (images.reshape(len(images), -1) / 255).astype(np.float32)


def as_emnist(images: np.ndarray) -> np.ndarray:
    """Drawings as EMNIST has them: filling 24 of 28 pixels, with strokes as wide as MNIST's."""
    return np.stack([_enlarged(image / 255.0) for image in images]) * 255


def _enlarged(image: np.ndarray, side: int = 28, border: int = 2) -> np.ndarray:
    rows, columns = (np.flatnonzero(image.max(axis=axis) > 0.2) for axis in (1, 0))
    drawn = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    drawn = np.pad(drawn, 1)
    scale = (side - 2 * border) / max(drawn.shape)
    drawn = np.clip(zoom(drawn, min(scale, 2.0), order=1), 0, 1)
    height, width = drawn.shape
    top, left = (side - height) // 2, (side - width) // 2
    page = np.zeros((side, side))
    page[top : top + height, left : left + width] = drawn
    blurred = gaussian_filter(page, 0.7)
    return np.minimum(1.3 * blurred / blurred.max(), 1)


def foreign_to_digits(n_rows: int) -> dict[str, np.ndarray]:
    """Digits turned by a quarter, and with their pixels in another order."""
    X = shared.digits()[2].astype(np.float32)[:n_rows]
    turned = np.rot90(X.reshape(-1, DIGITS_SIDE, DIGITS_SIDE), axes=(1, 2)).reshape(len(X), -1)
    order = np.random.default_rng(0).permutation(X.shape[1])
    return {"turned": turned.copy(), "shuffled": X[:, order]}


def foreign_to_cifar(options: argparse.Namespace, n_rows: int) -> dict[str, np.ndarray]:
    """Test images of two other classes, and clothes in grey, (n_rows, 3 * 32 * 32) each."""
    found = {}
    for name, label in {"truck": 9, "frog": 6}.items():
        images = cifar(options, [label])
        if images is not None:
            found[name] = images.X_test[:n_rows]
    clothes = read(options, "fashion_mnist60k.npz")
    if clothes is not None:
        framed = np.pad(clothes["x_train"][:n_rows], ((0, 0), (2, 2), (2, 2)))
        found["Fashion-MNIST"] = flat(np.repeat(framed[:, None], 3, axis=1))
    return found
