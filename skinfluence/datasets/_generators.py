"""Generators that know the truth: clusters with labels, and planted rows with their mask."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array, check_random_state, column_or_1d

# Sizes and spreads are those of Kong & Chaudhuri (2021), appendix B.1. They publish no centres:
# ours are at least five apart, so that every gap is several times the larger spread and the
# cluster of exactly ten rows is the one that a k-NN density with k = 10 singles out.
_CENTRES = np.array([[-4.0, 4.0], [3.5, 5.0], [-6.0, -2.5], [0.5, -0.5], [6.0, -1.0], [0.0, -6.5]])
_SIZES = np.array([25, 15, 20, 25, 10, 5])
_SPREADS = np.array([0.5, 0.5, 0.4, 0.4, 0.5, 1.0])


def make_six_clusters(*, random_state: Any = None) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Draw the six spherical Gaussian clusters of the density experiments, 100 rows in the plane.

    Clusters 0 to 5 have 25, 15, 20, 25, 10, 5 rows and standard deviations 0.5, 0.5, 0.4, 0.4,
    0.5, 1.0 per coordinate, as in appendix B.1 of [1]_. The paper publishes no centres; ours are
    well separated.

    Parameters
    ----------
    random_state : int, RandomState instance or None, default=None
        Determines the draw. Pass an int for reproducible rows.

    Returns
    -------
    X : ndarray of shape (100, 2)
        The rows, cluster by cluster.
    labels : ndarray of shape (100,)
        The cluster of each row, 0 to 5.

    See Also
    --------
    load_old_faithful : Two clusters in real data.
    plant_outliers : Rows that belong to no cluster.

    References
    ----------
    .. [1] Z. Kong and K. Chaudhuri (2021), Understanding instance-based interpretability of
       variational auto-encoders, NeurIPS 34.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.datasets import make_six_clusters
    >>> X, labels = make_six_clusters(random_state=0)
    >>> print(X.shape, np.bincount(labels))
    (100, 2) [25 15 20 25 10  5]
    """
    rng = check_random_state(random_state)
    labels = np.repeat(np.arange(6), _SIZES)
    noise = rng.standard_normal((labels.size, 2))
    return _CENTRES[labels] + _SPREADS[labels, None] * noise, labels


def _count(n_planted: Any, n_rows: int, *, limit: int | None = None) -> int:
    """Number of rows to plant: a count, or a fraction of the `n_rows` given, rounded up."""
    is_number = isinstance(n_planted, numbers.Real) and not isinstance(n_planted, bool)
    if is_number and isinstance(n_planted, numbers.Integral) and int(n_planted) >= 1:
        count = int(n_planted)
    elif is_number and 0.0 < float(n_planted) < 1.0:
        # 0.1 * 30 is a little above 3 in floating point, which is not a fourth row
        count = int(np.ceil(float(n_planted) * n_rows * (1.0 - 1e-12)))
    else:
        raise ValueError(
            f"n_planted is {n_planted!r}, but it must be an integer >= 1 (a number of rows) or a "
            "float strictly between 0 and 1 (a fraction of the rows given). Pass e.g. 10 or 0.05."
        )
    if limit is not None and count > limit:
        raise ValueError(
            f"n_planted asks for {count} rows, but there are only {limit} to choose from. "
            "Pass a smaller number."
        )
    return count


def _rows(X: Any, *, allow_objects: bool) -> tuple[Any, int]:
    """Check that `X` is a table with at least two rows; frames pass as they are."""
    checked = check_array(
        X,
        dtype=None if allow_objects else np.float64,
        ensure_all_finite=not allow_objects,
        ensure_min_samples=2,
    )
    return (X if hasattr(X, "iloc") else checked), checked.shape[0]


def _append(X: Any, rows: Any) -> Any:
    """Stack `rows` under `X`; in a frame they get labels that `X` does not use."""
    if not hasattr(X, "iloc"):
        return np.concatenate([X, rows])
    import pandas as pd

    n_new = len(rows)
    labels: Any = [f"planted_{j}" for j in range(n_new)]
    if pd.api.types.is_integer_dtype(X.index.dtype):
        labels = int(X.index.max()) + 1 + np.arange(n_new)
    values = rows if hasattr(rows, "iloc") else pd.DataFrame(rows, columns=X.columns)
    return pd.concat([X, values.set_axis(labels, axis=0)])


def _shuffled(X: Any, order: NDArray[np.intp]) -> Any:
    return X.iloc[order] if hasattr(X, "iloc") else X[order]


def plant_outliers(
    X: Any,
    n_planted: int | float = 0.05,
    *,
    kind: str = "shell",
    distance: float = 1.5,
    random_state: Any = None,
) -> tuple[Any, NDArray[np.bool_]]:
    """Add rows that do not belong, and tell which they are.

    Columns are standardised first, so that no column decides alone where "far" is.

    Parameters
    ----------
    X : array-like or pandas DataFrame of shape (n_rows, n_features)
        Numeric rows, at least two.
    n_planted : int or float, default=0.05
        How many rows to add: an integer, or a fraction of `n_rows` (rounded up).
    kind : {"shell", "uniform"}, default="shell"
        "shell": at `distance` times the largest standardised distance of any row of `X` from the
        mean, in random directions. With ``distance > 1`` each is farther out than every original
        row. "uniform": uniform in the box that spans `X`, stretched by `distance` about its
        centre; background noise, some of which may fall among the rows.
    distance : float, default=1.5
        Positive factor, see `kind`.
    random_state : int, RandomState instance or None, default=None
        Determines the rows and their places.

    Returns
    -------
    X_planted : ndarray or DataFrame of shape (n_rows + n_planted, n_features)
        Original and planted rows in random order; a frame keeps the labels of the original rows.
    is_planted : ndarray of bool of shape (n_rows + n_planted,)
        True for the planted rows.

    Raises
    ------
    ValueError
        If `n_planted`, `kind` or `distance` is out of range, or `X` is not a finite table.

    See Also
    --------
    plant_duplicates : Rows that belong too well.
    plant_mislabels : Wrong labels.
    skinfluence.metrics.detection_auc : How well a score finds the planted rows.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.datasets import plant_outliers
    >>> X = np.random.default_rng(0).normal(size=(50, 2))
    >>> X_planted, is_planted = plant_outliers(X, 5, random_state=0)
    >>> z = (X_planted - X.mean(axis=0)) / X.std(axis=0)
    >>> radius = np.linalg.norm(z, axis=1)
    >>> print(is_planted.sum(), radius[is_planted].min() > radius[~is_planted].max())
    5 True
    """
    X, n_rows = _rows(X, allow_objects=False)
    count = _count(n_planted, n_rows)
    if kind not in ("shell", "uniform"):
        raise ValueError(
            f"kind is {kind!r}, but it must be 'shell' (farther out than every row) or 'uniform' "
            "(anywhere in the box around the rows). Pass one of the two."
        )
    if not distance > 0:
        raise ValueError(
            f"distance is {distance!r}, but it is a factor on the extent of the rows and must be "
            "positive. Pass e.g. 1.5."
        )
    rng = check_random_state(random_state)
    values = np.asarray(X, dtype=np.float64)
    rows = (_shell if kind == "shell" else _box)(values, count, distance, rng)
    order = rng.permutation(n_rows + count)
    return _shuffled(_append(X, rows), order), order >= n_rows


def _shell(X: NDArray[np.float64], count: int, distance: float, rng: Any) -> NDArray[np.float64]:
    """Rows at `distance` times the largest standardised radius, in uniform directions."""
    mean, spread = X.mean(axis=0), X.std(axis=0)
    spread[spread == 0] = 1.0  # a constant column still needs some direction to leave in
    radius = np.linalg.norm((X - mean) / spread, axis=1).max()
    directions = rng.standard_normal((count, X.shape[1]))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    # all rows equal: radius 0, and any positive one is "far"
    return mean + spread * directions * distance * (radius or 1.0)


def _box(X: NDArray[np.float64], count: int, distance: float, rng: Any) -> NDArray[np.float64]:
    """Rows uniform in the bounding box of `X`, stretched by `distance` about its centre."""
    low, high = X.min(axis=0), X.max(axis=0)
    centre, half = (low + high) / 2, (high - low) / 2
    return centre + distance * half * rng.uniform(-1.0, 1.0, (count, X.shape[1]))


def plant_duplicates(
    X: Any,
    n_planted: int | float = 0.05,
    *,
    jitter: float = 0.0,
    random_state: Any = None,
    return_source: bool = False,
) -> tuple[Any, ...]:
    """Add copies of randomly chosen rows, and tell which they are.

    Copies hide each other from deletion scores: with a twin in place, losing a row costs little.

    Parameters
    ----------
    X : array-like or pandas DataFrame of shape (n_rows, n_features)
        Rows, at least two. Any type where ``jitter=0``, numeric otherwise.
    n_planted : int or float, default=0.05
        How many copies to add: an integer, or a fraction of `n_rows` (rounded up). Each row is
        copied at most once.
    jitter : float, default=0.0
        Standard deviation of the noise added to each copy, in units of each column's standard
        deviation. 0 plants exact copies.
    random_state : int, RandomState instance or None, default=None
        Determines which rows are copied, the noise, and the places.
    return_source : bool, default=False
        If True, also return `source`.

    Returns
    -------
    X_planted : ndarray or DataFrame of shape (n_rows + n_planted, n_features)
        Original rows and copies in random order; a frame keeps the labels of the original rows.
    is_planted : ndarray of bool of shape (n_rows + n_planted,)
        True for the copies.
    source : ndarray of int of shape (n_rows + n_planted,)
        For a copy the position *in X_planted* of its original, -1 for the other rows. Only if
        `return_source` is True.

    Raises
    ------
    ValueError
        If `n_planted` exceeds `n_rows`, or `n_planted` or `jitter` is out of range.

    See Also
    --------
    plant_outliers : Rows that do not belong.
    plant_mislabels : Wrong labels.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.datasets import plant_duplicates
    >>> X = np.arange(20.0).reshape(10, 2)
    >>> X_planted, copied, source = plant_duplicates(X, 3, random_state=0, return_source=True)
    >>> print(np.array_equal(X_planted[copied], X_planted[source[copied]]))
    True
    """
    X, n_rows = _rows(X, allow_objects=jitter == 0)
    count = _count(n_planted, n_rows, limit=n_rows)
    if not jitter >= 0:
        raise ValueError(
            f"jitter is {jitter!r}, but it is a standard deviation and must be >= 0. "
            "Pass 0 for exact copies."
        )
    rng = check_random_state(random_state)
    chosen = rng.choice(n_rows, size=count, replace=False)
    rows = _shuffled(X, chosen)
    if jitter > 0:
        noise = rng.standard_normal((count, X.shape[1]))
        rows = rows + jitter * np.asarray(X, dtype=np.float64).std(axis=0) * noise
    order = rng.permutation(n_rows + count)
    planted = _shuffled(_append(X, rows), order), order >= n_rows
    if not return_source:
        return planted
    place = np.argsort(order)  # where each row went
    source = np.full(order.size, -1, dtype=np.intp)
    source[place[n_rows:]] = place[chosen]
    return *planted, source


def plant_mislabels(
    y: Any, n_planted: int | float = 0.1, *, random_state: Any = None
) -> tuple[Any, NDArray[np.bool_]]:
    """Replace labels of randomly chosen rows by another class, and tell which they are.

    The wrong class is drawn uniformly from the other classes that occur in `y`.

    Parameters
    ----------
    y : array-like or pandas Series of shape (n_rows,)
        Class labels of at least two classes.
    n_planted : int or float, default=0.1
        How many labels to change: an integer, or a fraction of `n_rows` (rounded up).
    random_state : int, RandomState instance or None, default=None
        Determines the rows and their wrong labels.

    Returns
    -------
    y_planted : ndarray or Series of shape (n_rows,)
        A copy of `y` with the wrong labels in place.
    is_planted : ndarray of bool of shape (n_rows,)
        True where the label was changed.

    Raises
    ------
    ValueError
        If `y` has fewer than two classes or `n_planted` is out of range.

    See Also
    --------
    plant_outliers : Rows that do not belong.
    plant_duplicates : Copies of rows.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.datasets import plant_mislabels
    >>> y = np.array(["cat", "dog"] * 10)
    >>> y_planted, is_planted = plant_mislabels(y, 0.2, random_state=0)
    >>> print(is_planted.sum(), np.array_equal(y_planted != y, is_planted))
    4 True
    """
    labels = column_or_1d(y)
    classes, codes = np.unique(labels, return_inverse=True)
    if classes.size < 2:
        raise ValueError(
            f"y has {classes.size} class(es), but a wrong label needs another class to come from. "
            "Pass labels of at least two classes."
        )
    count = _count(n_planted, labels.size, limit=labels.size)
    rng = check_random_state(random_state)
    chosen = rng.choice(labels.size, size=count, replace=False)
    # a shift of 1 .. K-1 places never returns to the own class and is uniform over the others
    shift = rng.randint(1, classes.size, size=count)
    wrong = classes[(codes[chosen] + shift) % classes.size]
    is_planted = np.zeros(labels.size, dtype=bool)
    is_planted[chosen] = True
    if hasattr(y, "iloc"):
        y_planted = y.copy()
        y_planted.iloc[chosen] = wrong
    else:
        y_planted = labels.copy()
        y_planted[chosen] = wrong
    return y_planted, is_planted
