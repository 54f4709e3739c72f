"""What the replications share: options, data, checkpoints, and scores of a few rows."""

from __future__ import annotations

import argparse
import hashlib
import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import common
from common import note as note
from common import publish as publish
from common import table as table

from skinfluence import InfluenceExplainer
from skinfluence.deletion.linear.deletion import outputs_moved

MACHINE = "2 cores of a shared x86 server"
# The penalty of the paper's experiments: lambda / 2 |theta|^2 beside the mean loss.
LAMBDA = 0.01
PASS_IT_ON = """
Pass its directory as --data-dir or in the environment as SKINFLUENCE_DATA; --small needs none."""
HOW_TO_MAKE = {
    "cifar10_jpegbytes.npz": """\
cifar10_jpegbytes.npz is not here, so this part is skipped. It holds CIFAR-10 as the bytes of one
JPEG file after the other (jpeg), where each starts and the last ends (offset), classes (y), and
which images are for training (is_train).""",
    "mnist60k.npz": """\
mnist60k.npz is not here, so this replication is skipped. It holds MNIST as the arrays x_train
(60000, 28, 28), y_train, x_test (10000, 28, 28), y_test, the images as bytes from 0 to 255:
sklearn.datasets.fetch_openml("mnist_784") has them in this order.""",
    "readmission.npz": """\
readmission.npz is not here, so this replication is skipped. It holds stays of diabetic patients
(Strack et al., 2014; UCI "Diabetes 130-US hospitals", first stay of each patient): for every
column with levels the arrays cat_NAME (codes, -1 = missing) and levels_NAME, among them
cat_readmitted (within 30 days) and cat_age; for every number num_NAME.""",
    "spamassassin_bow.npz": """\
spamassassin_bow.npz is not here, so this replication is skipped. It holds the SpamAssassin public
corpus as word counts: data, indices, indptr, shape of a CSR matrix (mails x words), y (1 = spam).
scikit-learn's CountVectorizer(min_df=10) makes them from the mails.""",
    "spambase.npz": """\
spambase.npz is not here, so this part is skipped. It holds UCI's Spambase as X (4601, 57) and y
(1 = spam): sklearn.datasets.fetch_openml("spambase") has it.""",
}


# -- options and data -----------------------------------------------------------------------------


def parser(description: str) -> argparse.ArgumentParser:
    """The options of all benchmarks, with ``--small`` for what the tests run."""
    options = common.parser(description)
    options.add_argument(
        "--small", dest="quick", action="store_true", help="seconds, on data that need no file"
    )
    options.set_defaults(results=HERE / "results", machine=MACHINE)
    return options


def read(options: argparse.Namespace, name: str) -> dict[str, np.ndarray] | None:
    """Arrays of a data file; None, and a word on how to make it, where there is no such file."""
    path = Path(options.data_dir or ".") / name
    if not path.exists():
        print(HOW_TO_MAKE[name] + PASS_IT_ON)
        return None
    with np.load(path, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def mnist(options: argparse.Namespace) -> tuple[np.ndarray, ...] | None:
    """(X, y, X_test, y_test) of MNIST with pixels from 0 to 1; None where there is no file."""
    found = read(options, "mnist60k.npz")
    if found is None:
        return None
    X, Z = (found[name].reshape(-1, 784) / 255.0 for name in ("x_train", "x_test"))
    return X, found["y_train"].astype(int), Z, found["y_test"].astype(int)


def digits() -> tuple[np.ndarray, ...]:
    """scikit-learn's digits, 8 x 8 pixels from 0 to 1, in the same form."""
    X, y = load_digits(return_X_y=True)
    X, Z, y, y_test = train_test_split(X / 16.0, y, test_size=0.4, random_state=0)
    return X, y, Z, y_test


def two_digits(data: tuple[np.ndarray, ...], one: int = 1, seven: int = 7):
    """The images of two digits alone; y is +1 for `seven` and -1 for `one`."""
    X, y, Z, y_test = data
    rows, tests = np.isin(y, (one, seven)), np.isin(y_test, (one, seven))
    return (
        X[rows],
        np.where(y[rows] == seven, 1, -1),
        Z[tests],
        np.where(y_test[tests] == seven, 1, -1),
    )


def picture(found: dict[str, np.ndarray], row: int, side: int = 32) -> np.ndarray:
    """One image of cifar10_jpegbytes.npz, (3, side, side), bytes."""
    from PIL import Image

    first, last = found["offset"][row : row + 2]
    with Image.open(io.BytesIO(found["jpeg"][first:last].tobytes())) as image:
        if image.size != (side, side):
            image = image.resize((side, side))
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1)


def word_counts(found: dict[str, np.ndarray], min_mails: int) -> csr_array:
    """Counts of the words that at least `min_mails` mails have."""
    parts = (found["data"], found["indices"], found["indptr"])
    counts = csr_array(parts, shape=tuple(found["shape"]))
    return counts[:, np.bincount(counts.indices, minlength=counts.shape[1]) >= min_mails]


# -- checkpoints ----------------------------------------------------------------------------------


class Checkpoints:
    """Costly arrays on disk: an interrupted run goes on where it stopped.

    Parameters
    ----------
    name : str
    settings : object
        Everything that the arrays depend on, as text; other settings, other files.
    options : argparse.Namespace
        Small runs keep nothing, fresh ones forget first.
    """

    def __init__(self, name: str, settings: object, options: argparse.Namespace):
        text = f"{settings}; {common.versions()}"
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        self.directory = None if options.quick else HERE.parent / ".cache" / f"{name}-{digest}"
        if self.directory is not None and options.fresh:
            shutil.rmtree(self.directory, ignore_errors=True)

    def keep(self, name: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """What was kept under this name, or else what `compute` returns, which is kept."""
        if self.directory is None:
            return compute()
        path = self.directory / f"{name}.npy"
        if not path.exists():
            found = compute()
            self.directory.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".part.npy")
            np.save(unfinished, found)
            unfinished.rename(path)
            common.note(f"  {name}")
        return np.load(path, allow_pickle=False)


# -- scores of some rows --------------------------------------------------------------------------


def scores_of(
    explainer: InfluenceExplainer, X: np.ndarray, y: np.ndarray, rows: np.ndarray, method: str
) -> np.ndarray:
    """Scores of some training rows by a Newton step or a refit, (n_queries, len(rows)).

    ``score_influence`` is about all rows, and where the model is large a few hundred are all one
    can refit.
    """
    deletion, queries = explainer._engine.deletion, explainer._queries(X, y)
    for part in deletion.parts:
        part.method = method
    moves = [part.moves(rows) for part in deletion.parts]
    outputs = [outputs_moved(*pair) for pair in zip(queries.designs, moves, strict=True)]
    return deletion.target.change(queries, outputs)


def first_order_of_all(explainer: InfluenceExplainer, X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """First-order scores of all training rows on the loss of one query, (n_train,)."""
    return explainer._engine.deletion.over_queries(explainer._queries(X, y))


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of two vectors."""
    return float(np.corrcoef(a, b)[0, 1])


def strongest(scores: np.ndarray, k: int) -> np.ndarray:
    """Positions of the k scores of largest size, largest first."""
    return np.argsort(-np.abs(scores), kind="stable")[:k]
