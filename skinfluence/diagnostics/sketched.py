"""Leverages and distances of training rows in a sketch, as a named result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class SketchedDiagnostics:
    """Leverages, residuals and distances of rows, in a random subspace of the features.

    What :class:`~skinfluence.diagnostics.Diagnostics` is of a fit whose Hessian can be held, with
    the same names where the same is meant. A sketched leverage is at most the true one, whatever
    the projection; with as many components as features they are equal.

    Parameters
    ----------
    leverage : ndarray of shape (n,)
        Leverage h, mean over the sketches; corrected for the shrinkage where that was asked for.
    leverage_std : ndarray of shape (n,) or None
        Its standard error over independent sketches, None of one sketch. It says how much
        sketches differ, and not how much they all shrink.
    sketched_leverage : ndarray of shape (n,)
        As the sketch has it, without correction.
    scores : ndarray of shape (n,)
        Scores c = r^2 h / (1 - h), r the residual over its standard deviation.
    cooks_distance : ndarray of shape (n,) or None
        Distance r^2 h / ((1 - h)^2 k phi) and its like under a penalty; None where the loss is no
        deviance.
    resid_pearson : ndarray of shape (n,) or None
        The residuals r; None where the loss is no deviance.
    scale : float
        Dispersion phi: 1 for logistic and Poisson regression, else Pearson's statistic over the
        residual degrees of freedom.
    n_sketched_params, n_effective_params : float
        What leverages add up to in the sketch, and in the whole fit: exact without a penalty and
        with independent features, an upper bound otherwise, or a part of the number passed as
        ``correct_shrinkage``.
    shrinkage : float
        The first over the second: by which factor leverages are too small, on average.
    row_labels : ndarray of shape (n,)
        Names of the rows.
    name : str
        Of the one-vs-rest class or the output, where the model solves several problems.

    See Also
    --------
    skinfluence.diagnostics.Diagnostics : Exact, for fewer features.
    skinfluence.InfluenceSketch : Its ``diagnostics`` makes these.

    Examples
    --------
    With no fewer components than features a sketch is exact:

    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import LinearRegression
    >>> from skinfluence import InfluenceExplainer, InfluenceSketch
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = LinearRegression().fit(X, y)
    >>> sketched = InfluenceSketch(model, n_components=10).fit(X, y).diagnostics()
    >>> exact = InfluenceExplainer(model).fit(X, y).diagnostics()
    >>> float(abs(sketched.cooks_distance / exact.cooks_distance - 1.0).max()) < 1e-9
    True
    """

    leverage: Array
    leverage_std: Array | None
    sketched_leverage: Array
    scores: Array
    cooks_distance: Array | None
    resid_pearson: Array | None
    scale: float
    n_sketched_params: float
    n_effective_params: float
    shrinkage: float
    row_labels: Any
    name: str = ""

    def frame(self) -> Any:
        """Return the columns as a table, one row a training row.

        Returns
        -------
        frame : pandas.DataFrame
            ``leverage``, ``leverage_std`` (of several sketches), ``scores``, ``cooks_distance``
            and ``resid_pearson`` where they exist.
        """
        import pandas as pd

        names = ("leverage", "leverage_std", "scores", "cooks_distance", "resid_pearson")
        columns = {name: getattr(self, name) for name in names}
        columns = {name: values for name, values in columns.items() if values is not None}
        return pd.DataFrame(columns, index=self.row_labels)

    def __repr__(self) -> str:
        return (
            f"SketchedDiagnostics({len(self.leverage)} rows, {self.n_sketched_params:.4g} of about"
            f" {self.n_effective_params:.4g} parameters)"
        )
