"""Training rows and queries of an explainer as numbers that can be placed in a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.utils.validation import check_is_fitted

from skinfluence.engines.sketch.rows import BlockedRows

Array = NDArray[np.float64]
_BLOCK = 4_000_000  # numbers of sparse rows that are dense at a time: 32 MB


def as_table(X: Any, n_rows: int, feature_names: Any = None) -> tuple[Any, list[str]]:
    """Rows as numbers, with the names of the columns: those given, else those of a frame.

    Sparse rows stay sparse.
    """
    if issparse(X):
        values = X.tocsr().astype(np.float64)
    else:
        try:
            values = np.asarray(X, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                "X holds values that are not numbers, so its rows cannot be placed in a picture. "
                "Pass numeric columns, e.g. the rows after a pipeline's transformers."
            ) from error
    if values.ndim != 2 or values.shape[0] != n_rows:
        raise ValueError(
            f"X has shape {values.shape}, but there are {n_rows} scores, so it must be "
            f"({n_rows}, n_features). Pass the rows that were scored, in the same order."
        )
    names = getattr(X, "columns", None) if feature_names is None else feature_names
    if names is None:
        names = [f"feature {j}" for j in range(values.shape[1])]
    if len(names) != values.shape[1]:
        raise ValueError(
            f"feature_names has {len(names)} entries, but X has {values.shape[1]} columns. "
            "Pass one name per column."
        )
    return values, [str(name) for name in names]


def columns_of(X: Any, places: tuple[int, int]) -> Array:
    """Two columns of dense or sparse rows."""
    columns = X[:, list(places)]
    return columns.toarray() if issparse(columns) else columns


def features_frame(X: Any, names: list[str], index: Any) -> Any:
    """Frame of dense or sparse rows."""
    import pandas as pd

    if issparse(X):
        return pd.DataFrame.sparse.from_spmatrix(X, index=index, columns=names)
    return pd.DataFrame(X, columns=names, index=index)


def training_rows(explainer: Any) -> tuple[Any, Any, bool]:
    """Rows to draw, the names of their columns or None, and whether they are the model's.

    The rows are those the explainer was fitted on, as it saw them. Where they are no table of
    numbers (texts, categories), they are the rows that the model saw behind the transformers.
    """
    check_is_fitted(explainer)
    if not hasattr(explainer, "_raw_rows"):
        raise ValueError(
            f"{type(explainer).__name__} was fitted on blocks of rows and keeps none of them, so "
            "there are no rows to draw. Pass them as X, or numbers of your choice, one row for "
            "each row of the blocks."
        )
    rows = on_cpu(explainer._raw_rows)
    if _are_numbers(rows):
        return rows, getattr(explainer, "feature_names_in_", None), False
    return flat(rows_of_model(explainer)), getattr(explainer, "_feature_columns", None), True


def training_images(explainer: Any) -> Any:
    """Rows to draw one by one: with the axes of an image, where a network takes them so."""
    rows, _, of_model = training_rows(explainer)
    return rows_of_model(explainer) if of_model else rows


def rows_of_model(explainer: Any, rows: Any = None) -> Any:
    """Rows in the model's space, by default those of the fit, as an array.

    Raises
    ------
    ValueError
        If a network's rows are no array: several inputs, or a dataset.
    """
    rows = explainer._fit_X if rows is None else rows
    if isinstance(rows, BlockedRows):
        rows = rows[:]
    if not issparse(rows) and not isinstance(rows, np.ndarray):
        rows = getattr(rows, "X", rows)  # inputs of a network of any kind
    if not hasattr(rows, "shape") and not isinstance(rows, list):
        raise ValueError(
            f"The rows are held in a {type(rows).__name__}, which no picture can place. Draw "
            "scores that are there already, over numbers of your choice: "
            "from_influence(scores, X, ...)."
        )
    return on_cpu(rows)


def on_cpu(rows: Any) -> Any:
    """Tensors as arrays."""
    return rows.detach().cpu().numpy() if hasattr(rows, "detach") else rows


def flat(rows: Any) -> Any:
    """Images and sequences as one row of numbers each; tables as they are."""
    if issparse(rows) or hasattr(rows, "columns") or np.ndim(rows) <= 2:
        return rows
    return np.reshape(rows, (len(rows), -1))


def _are_numbers(rows: Any) -> bool:
    if issparse(rows):
        return True
    inputs = isinstance(rows, tuple) and any(hasattr(part, "shape") for part in rows)
    if inputs or not (hasattr(rows, "shape") or isinstance(rows, list | tuple)):
        return False
    try:
        return np.asarray(rows, dtype=np.float64).ndim == 2
    except (TypeError, ValueError):
        return False


# -- queries ------------------------------------------------------------------------------------


def one_query(explainer: Any, query: Any) -> Any:
    """One query as what the explainer takes: a table of one row, or a list of one text."""
    check_is_fitted(explainer)
    if query is None:
        return None
    rows, query = getattr(explainer, "_raw_rows", None), on_cpu(query)
    if rows is None:  # they came in blocks, which are tables
        return one_row(query)
    if not hasattr(rows, "shape") and not isinstance(rows, list | tuple):
        return query
    if not issparse(rows) and np.ndim(rows) == 1:
        return [query] if np.ndim(query) == 0 else query
    if not issparse(rows) and np.ndim(rows) > 2:
        return query if np.ndim(query) == np.ndim(rows) else np.asarray(query)[None]
    return one_row(query)


def one_row(query: Any) -> Any:
    """One query as a table of one row, keeping the names of a pandas object."""
    if issparse(query):
        return query.reshape(1, -1) if query.ndim == 1 else query
    if hasattr(query, "to_frame"):
        return query.to_frame().T
    if hasattr(query, "columns"):
        return query
    return np.atleast_2d(query)


def one_target(explainer: Any, y: Any) -> Any:
    """Target of one query as an array of one target, or of one row of several outputs."""
    if y is None:
        return None
    several = getattr(getattr(explainer, "_train_y", None), "ndim", 1) == 2
    return np.atleast_2d(y) if several else np.atleast_1d(y)


def flat_query(query: Any, n_features: int) -> Array:
    """Numbers of one query."""
    values = np.asarray(query.toarray() if issparse(query) else query, dtype=np.float64)
    if values.shape not in ((n_features,), (1, n_features)):
        raise ValueError(
            f"query has shape {values.shape}, but the rows have {n_features} features and one "
            f"query is drawn at a time: ({n_features},) or (1, {n_features}). Pass one row, e.g. "
            "Z[[0]]."
        )
    return values.ravel()


def only_row(scores: Any) -> Any:
    """Scores of one query, out of the matrix of one row."""
    if scores.shape[0] == 1:
        return scores[0]
    raise ValueError(
        f"There are {scores.shape[0]} scores a training row, but one query, or one parameter, is "
        "drawn at a time. Pass one row, e.g. Z[[0]], or the target of one parameter."
    )


def distances(X: Any, query: Array) -> Array:
    """Euclidean distance of dense or sparse rows to one query, (n_rows,)."""
    if not issparse(X):
        return np.linalg.norm(X - query, axis=1)
    size = max(1, _BLOCK // max(1, X.shape[1]))
    blocks = (X[start : start + size].toarray() for start in range(0, X.shape[0], size))
    return np.concatenate([np.linalg.norm(block - query, axis=1) for block in blocks])
