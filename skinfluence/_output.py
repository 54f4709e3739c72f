"""Labelled results where scikit-learn's output configuration asks for them."""

from __future__ import annotations

import numpy as np

from skinfluence._compat import output_container


def row_labels(X, n_rows):
    """Index of a pandas object, else the positions of its `n_rows` rows."""
    # Lists have an `index` too, and datasets may: only what has positions beside it has labels.
    return np.asarray(X.index) if hasattr(X, "iloc") else np.arange(n_rows)


def few(names):
    """The first names of many, for a message."""
    return ", ".join(map(str, names[:5])) + (", ..." if len(names) > 5 else "")


def labelled(estimator, values, *, index, columns):
    """Array as it is, or a frame of the container that `estimator` is configured for.

    Parameters
    ----------
    estimator : estimator
        Read for ``set_output``; without it the global ``transform_output`` counts.
    values : ndarray of shape (n_rows,) or (n_rows, n_columns)
        A vector becomes a Series.
    index, columns : array-like
        Labels of the rows and columns. Polars has no index and needs unique column names.
    """
    container = output_container(estimator)
    if container == "default":
        return values
    if container == "pandas":
        import pandas as pd

        if values.ndim == 1:
            return pd.Series(values, index=index, name=columns)
        return pd.DataFrame(values, index=index, columns=columns)
    import polars as pl

    if values.ndim == 1:
        return pl.Series(columns, values)
    names = [str(column) for column in columns]
    if len(set(names)) != len(names):
        raise ValueError(
            "Polars frames need unique column names, and the training rows have repeated labels. "
            'Reset the index of the training rows, or use set_output(transform="pandas").'
        )
    return pl.DataFrame(values, schema=names, orient="row")


def labelled_pairs(estimator, values, *, queries, rows, columns):
    """Array of pairs as it is, or a frame with a row a pair.

    Parameters
    ----------
    estimator : estimator
        As for :func:`labelled`.
    values : ndarray of shape (n_queries, n_rows, n_columns)
    queries, rows, columns : array-like
        Their labels. In pandas the first two are an index of two levels, in polars, which has
        none, two columns.
    """
    container = output_container(estimator)
    if container == "default":
        return values
    flat = values.reshape(len(queries) * len(rows), len(columns))
    if container == "pandas":
        import pandas as pd

        index = pd.MultiIndex.from_product([queries, rows], names=["query", "row"])
        return pd.DataFrame(flat, index=index, columns=columns)
    import polars as pl

    labels = {"query": np.repeat(queries, len(rows)), "row": np.tile(rows, len(queries))}
    names = [*labels, *map(str, columns)]
    if len(set(names)) != len(names):
        raise ValueError(
            'Polars frames need unique column names, two of which are "query" and "row", and the '
            'features have others of the same name. Use set_output(transform="pandas").'
        )
    return pl.DataFrame([*labels.values(), *flat.T], schema=names)
