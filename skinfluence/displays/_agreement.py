"""Estimated changes against those of real refits."""

from __future__ import annotations

from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skinfluence.displays import _crowd, _labels, _style
from skinfluence.metrics import agreement


class AgreementDisplay:
    """Predicted against actual change of every deletion, with the identity.

    Points on the solid line are right in size, points on any other line only in order: the
    dashed line is the least-squares one of **actual on predicted**, as in
    :func:`skinfluence.metrics.agreement`. The worst row is named, because one bad row in a
    hundred does not show in a correlation.

    Build it by `from_explainer`, `from_agreement` or `from_predictions`; the constructor only
    stores.

    Parameters
    ----------
    estimated : array-like of shape (n_rows,) or (n_queries, n_rows)
        Predicted changes. Infinities are allowed, NaN is not.
    actual : array-like of the same shape
        Actual changes, by refitting without the row.
    rows : array-like of int of shape (n_rows,), default=None
        Training positions of the columns; default: 0, 1, ...
    row_names : array-like of shape (n_rows,), default=None
        Labels of the columns; default: `rows`.
    name : str, default=None
        Title.

    Attributes
    ----------
    agreement : Agreement
        The numbers of :func:`skinfluence.metrics.agreement`.
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        Its figure.
    scatter_ : matplotlib PathCollection
        The finite pairs.
    pairs_ : ndarray of int of shape (n_drawn,)
        Position of the pair behind each point, in the flattened array. Of more than 20,000 pairs
        those are left out that lie below one of larger error.
    infinite_ : matplotlib PathCollection or None
        Pairs with an infinite side, as stars on a rule at the edge.
    identity_ : matplotlib Line2D
        Where predicted and actual change are equal.
    fit_ : matplotlib Line2D or None
        The least-squares line, if there is one.
    labels_ : list of matplotlib Annotation
        Names of the rows of the largest error.

    See Also
    --------
    skinfluence.metrics.agreement : The numbers.

    References
    ----------
    .. [1] P. W. Koh and P. Liang (2017), Understanding black-box predictions via influence
       functions, ICML 34, figure 2.

    Examples
    --------
    >>> from skinfluence.displays import AgreementDisplay
    >>> display = AgreementDisplay(estimated=[0.1, 0.2, -0.1], actual=[0.1, 0.2, -0.3])
    >>> display.agreement.worst_row
    2
    """

    def __init__(
        self,
        *,
        estimated: ArrayLike,
        actual: ArrayLike,
        rows: ArrayLike | None = None,
        row_names: ArrayLike | None = None,
        name: str | None = None,
    ) -> None:
        self.agreement = agreement(estimated, actual, rows=rows)  # checks them
        self.estimated = np.asarray(estimated, dtype=np.float64)
        self.actual = np.asarray(actual, dtype=np.float64)
        n = self.estimated.shape[-1]
        self.rows = np.arange(n) if rows is None else np.asarray(rows)
        labels = self.rows if row_names is None else row_names
        self.row_names = _style.one_per_row(labels, "row_names", n)
        self.name = name

    @classmethod
    def from_explainer(
        cls,
        explainer: Any,
        X: Any = None,
        y: Any = None,
        *,
        n_refits: int = 20,
        random_state: Any = None,
        name: str | None = None,
        ax: Any = None,
        **plot_params: Any,
    ) -> AgreementDisplay:
        """Refit a fitted explainer's model without some rows, and draw.

        Parameters
        ----------
        explainer : fitted explainer
            With ``validate``.
        X : array-like of shape (n_queries, n_features), default=None
            Queries; default: those of ``validate``.
        y : array-like of shape (n_queries,), default=None
            Their targets, where the model has some.
        n_refits : int, default=20
            How many rows to delete, one at a time. TracInExplainer deletes none: its points are
            queries, and what training did to them.
        random_state : int, RandomState instance or None, default=None
            Chooses the rows.
        name : str, default=None
            Title; default: the class of the explainer.
        ax : matplotlib Axes, default=None
            Where to draw; default: a new figure.
        **plot_params : dict
            Further arguments of `plot`.

        Returns
        -------
        display : AgreementDisplay
            The drawn display.
        """
        check_is_fitted(explainer)
        queries = (X,) if y is None else (X, y)
        more = {"n_refits": n_refits} if "n_refits" in _validates(explainer) else {}
        result = explainer.validate(*queries, **more, random_state=random_state)
        name = type(explainer).__name__ if name is None else name
        return cls.from_agreement(result, name=name, ax=ax, **plot_params)

    @classmethod
    def from_agreement(
        cls,
        result: Any,
        *,
        row_names: ArrayLike | None = None,
        name: str | None = None,
        ax: Any = None,
        **plot_params: Any,
    ) -> AgreementDisplay:
        """Draw what ``validate`` or ``agreement`` returned.

        Parameters
        ----------
        result : Agreement
            With the pairs behind it: ``estimated``, ``actual`` and ``rows``.
        row_names : array-like of shape (n_rows,), default=None
            Labels of the rows compared; default: their training positions.
        name : str, default=None
            Title.
        ax : matplotlib Axes, default=None
            Where to draw; default: a new figure.
        **plot_params : dict
            Further arguments of `plot`.

        Returns
        -------
        display : AgreementDisplay
            The drawn display.
        """
        if getattr(result, "estimated", None) is None:
            raise ValueError(
                f"This {type(result).__name__} holds no pairs, only their summary, so there is "
                "nothing to draw. Pass the changes themselves to from_predictions."
            )
        pairs = {"estimated": result.estimated, "actual": result.actual, "rows": result.rows}
        return cls(**pairs, row_names=row_names, name=name).plot(ax, **plot_params)

    @classmethod
    def from_predictions(
        cls,
        estimated: ArrayLike,
        actual: ArrayLike,
        *,
        rows: ArrayLike | None = None,
        row_names: ArrayLike | None = None,
        name: str | None = None,
        ax: Any = None,
        **plot_params: Any,
    ) -> AgreementDisplay:
        """Draw changes that are already there.

        Parameters
        ----------
        estimated : array-like of shape (n_rows,) or (n_queries, n_rows)
            Predicted changes.
        actual : array-like of the same shape
            Actual changes.
        rows : array-like of int of shape (n_rows,), default=None
            Training positions of the columns.
        row_names : array-like of shape (n_rows,), default=None
            Labels of the columns; default: `rows`.
        name : str, default=None
            Title.
        ax : matplotlib Axes, default=None
            Where to draw; default: a new figure.
        **plot_params : dict
            Further arguments of `plot`.

        Returns
        -------
        display : AgreementDisplay
            The drawn display.
        """
        pairs: dict[str, Any] = {"estimated": estimated, "actual": actual, "rows": rows}
        return cls(**pairs, row_names=row_names, name=name).plot(ax, **plot_params)

    def frame(self) -> Any:
        """Return the numbers behind the picture.

        Returns
        -------
        frame : pandas.DataFrame of shape (n_pairs, 4)
            ``query`` (position), ``row``, ``estimated`` and ``actual``, query by query, labelled
            by `row_names`.
        """
        import pandas as pd

        n_queries = self.estimated.size // self.rows.size
        columns = {
            "query": np.repeat(np.arange(n_queries), self.rows.size),
            "row": np.tile(self.rows, n_queries),
            "estimated": self.estimated.ravel(),
            "actual": self.actual.ravel(),
        }
        return pd.DataFrame(columns, index=np.tile(self.row_names, n_queries))

    def plot(
        self,
        ax: Any = None,
        *,
        n_labels: int = 1,
        scatter_kwargs: dict[str, Any] | None = None,
    ) -> AgreementDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; default: a new figure.
        n_labels : int, default=1
            How many of the pairs of the largest error to name and to colour. Labels that would
            overlap are left out.
        scatter_kwargs : dict, default=None
            Further arguments of ``Axes.scatter``.

        Returns
        -------
        display : AgreementDisplay
            This object.
        """
        self.ax_ = _style.new_axes(self, ax, (5.4, 5.4))
        self.figure_ = self.ax_.figure
        pairs = np.column_stack([self.estimated.ravel(), self.actual.ravel()])
        same = pairs[:, 0] == pairs[:, 1]  # infinities too, whose difference is NaN
        error = np.zeros(len(pairs))
        error[~same] = np.abs(pairs[~same, 0] - pairs[~same, 1])
        worst = np.argsort(-error, kind="stable")[:n_labels]
        points = self._draw_pairs(pairs, error, worst, scatter_kwargs)
        self.ax_.set(xlabel="predicted change", ylabel="actual change", aspect="equal")
        self._draw_legend()
        places = np.append(worst, self.pairs_)
        self.labels_ = _labels.label_points(
            self.ax_, points[places], np.arange(worst.size), self._texts(worst)
        )
        return self

    def _draw_pairs(
        self, pairs: Any, error: Any, worst: Any, scatter_kwargs: dict[str, Any] | None
    ) -> Any:
        """Draw the lines, the points and the stars; return the place of each pair."""
        finite = np.isfinite(pairs).all(axis=1)
        shown = pairs[np.isfinite(pairs)]
        low, high = (shown.min(), shown.max()) if shown.size else (0.0, 1.0)
        # both axes end alike: so do the rules of the infinities
        corners = np.array([[low, low], [high, high]])
        points = _style.move_infinite(self.ax_, np.vstack([pairs, corners]))[:-2]
        self._draw_lines(pairs[finite], low, high)
        chosen = np.flatnonzero(finite)
        kept = _crowd.one_per_cell(
            points[chosen], error[chosen], np.isin(chosen, worst).nonzero()[0]
        )
        self.pairs_ = chosen[kept]
        shrink = min(1.0, max(0.25, np.sqrt(300 / max(self.pairs_.size, 1))))
        style = {
            "s": 34 * shrink,
            "c": np.where(np.isin(self.pairs_, worst), _style.BEYOND, _style.ROW),
            "alpha": 0.75,
            "linewidths": 0,
            "zorder": 3,
            "rasterized": chosen.size > _crowd.MANY,
        }
        self.scatter_ = self.ax_.scatter(*points[self.pairs_].T, **style | (scatter_kwargs or {}))
        self.infinite_ = None
        if not finite.all():
            self.infinite_ = _style.stars(self.ax_, points[~finite])
        return points

    def _draw_lines(self, pairs: Any, low: float, high: float) -> None:
        ends = np.array([low, high])
        style = {"color": _style.MUTED, "linewidth": 1.2, "zorder": 1}
        (self.identity_,) = self.ax_.plot(ends, ends, label="identity", **style)
        self.fit_ = None
        slope = self.agreement.slope
        if np.isfinite(slope):
            x, y = pairs.mean(axis=0)
            reach = np.array([pairs[:, 0].min(), pairs[:, 0].max()])
            (self.fit_,) = self.ax_.plot(
                reach,
                y + slope * (reach - x),
                color=_style.EDGE,
                linewidth=1.0,
                linestyle=(0, (4, 3)),
                zorder=2,
                label=f"least squares, slope {slope:.3g}".replace("-", "\N{MINUS SIGN}"),
            )

    def _draw_legend(self) -> None:
        result = self.agreement
        numbers = {
            "Pearson": result.pearson,
            "Spearman": result.spearman,
            "relative error": result.relative_error,
        }
        _labels.legend_above(
            self.ax_,
            self.name or "",
            note=[f"{name} {_number(value)}" for name, value in numbers.items()],
            # the sign of infinity stands above the axes, where it is needed
            borderaxespad=2.0 if np.isinf(self.estimated).any() else 0.3,
        )

    def _texts(self, pairs: Any) -> list[str]:
        query, column = np.divmod(pairs, self.rows.size)
        texts = [str(self.row_names[c]) for c in column]
        if self.estimated.ndim == 2 and self.estimated.shape[0] > 1:
            texts = [f"{text} (query {q})" for text, q in zip(texts, query, strict=True)]
        return texts


def _validates(explainer: Any) -> Any:
    """Parameters of an explainer's ``validate``; refused where it compares no changes."""
    name = type(explainer).__name__
    if not hasattr(explainer, "validate"):
        raise TypeError(
            f"{name} has no validate(), which holds its scores against real changes. Refit "
            "without some rows and draw both changes by from_predictions(estimated, actual), or "
            "take InfluenceExplainer, which has it."
        )
    parameters = signature(explainer.validate).parameters
    if "random_state" not in parameters:
        raise TypeError(
            f"validate() of {name} compares outputs, and no changes: nothing is deleted. Read "
            "the numbers of validate(X), or draw sums of scores against outputs by "
            "from_predictions(scores.sum(axis=1) + intercept, outputs)."
        )
    return parameters


def _number(value: float) -> str:
    if np.isnan(value):
        return "undefined"
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}").replace("inf", "∞")
