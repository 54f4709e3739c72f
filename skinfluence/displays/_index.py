"""One statistic of every row against its position, as stems."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skinfluence.displays import _crowd, _labels, _style, _thresholds
from skinfluence.displays._thresholds import STATISTICS, Statistic, Threshold, read, resolve

_DASHES: list[Any] = [(0, (4, 3)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2))]


class InfluenceIndexDisplay:
    """A statistic of every row as stems over the rows' positions, with a named threshold.

    Rows beyond the first threshold are orange; the legend says which share they are, as a
    threshold that many rows exceed says little about any one of them. Neighbours that stand out
    together (a batch, a day, a sorted file) are seen here and in no other picture.

    Build it by `from_explainer`, `from_diagnostics` or `from_values`; the constructor only
    stores.

    Parameters
    ----------
    values : array-like of shape (n_train,)
        The statistic; infinities are allowed.
    statistic : str, default="cooks_distance"
        Which statistic it is. "cooks_distance", "leverage", "resid_studentized_external",
        "resid_studentized_internal", "dffits" and "dfbetas" have thresholds with names; any
        other text becomes the label of the axis.
    param : str, default=None
        Name of the parameter that DFBETAS are of.
    n_params : float, default=None
        Effective number of parameters, k; default for leverages: their sum.
    df_resid : float, default=None
        Residual degrees of freedom; default: n_train - k where k is known.
    row_names : array-like of shape (n_train,), default=None
        Labels of the rows; default: positions.
    name : str, default=None
        Title.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        Its figure.
    stems_ : matplotlib LineCollection
        Stems from zero to each value.
    heads_ : matplotlib PathCollection
        Their ends.
    rows_ : ndarray of int of shape (n_drawn,)
        Position of the row behind each stem. Of more than 20,000 rows those are left out that
        neighbours hide.
    infinite_ : matplotlib PathCollection or None
        Rows of infinite value, as stars on a rule at the edge.
    lines_ : dict of str to list of matplotlib Line2D
        Lines of each threshold, by its name.
    thresholds_ : dict of str to float
        Thresholds drawn, by name.
    labels_ : list of matplotlib Annotation
        Names of the rows of the largest absolute value.

    See Also
    --------
    InfluenceBubbleDisplay : Leverage, residual and Cook's distance in one picture.

    References
    ----------
    .. [1] D. A. Belsley, E. Kuh and R. E. Welsch (1980), Regression Diagnostics: Identifying
       Influential Data and Sources of Collinearity, Wiley, section 2.1.
    .. [2] K. A. Bollen and R. W. Jackman (1985), Regression diagnostics: an expository treatment
       of outliers and influential cases, Sociological Methods & Research 13, 510-542.

    Examples
    --------
    >>> from skinfluence.displays import InfluenceIndexDisplay
    >>> display = InfluenceIndexDisplay(values=[0.1, 0.0, 1.5, 0.2], row_names=list("abcd"))
    >>> display.plot().thresholds_  # 4/n
    {'4/n': 1.0}
    >>> [label.get_text() for label in display.plot(n_labels=1).labels_]
    ['c']
    """

    def __init__(
        self,
        *,
        values: ArrayLike,
        statistic: str = "cooks_distance",
        param: str | None = None,
        n_params: float | None = None,
        df_resid: float | None = None,
        row_names: ArrayLike | None = None,
        name: str | None = None,
    ) -> None:
        self.values = _style.as_scores(values, "values")
        n = self.values.size
        self.statistic, self.param = statistic, param
        if n_params is None and statistic == "leverage":
            n_params = float(self.values.sum())
        if df_resid is None and n_params is not None:
            df_resid = n - n_params
        self.n_params, self.df_resid = n_params, df_resid
        labels = np.arange(n) if row_names is None else row_names
        self.row_names = _style.one_per_row(labels, "row_names", n)
        self.name = name

    @classmethod
    def from_explainer(
        cls,
        explainer: Any,
        *,
        statistic: str = "cooks_distance",
        param: Any = None,
        name: str | None = None,
        ax: Any = None,
        **plot_params: Any,
    ) -> InfluenceIndexDisplay:
        """Compute the diagnostics of a fitted explainer, and draw one.

        Parameters
        ----------
        explainer : fitted explainer
            With ``diagnostics``.
        statistic : str, default="cooks_distance"
            Which statistic.
        param : str or int, default=None
            For "dfbetas": which parameter, by name or position.
        name : str, default=None
            Title; default: the class of the explainer.
        ax : matplotlib Axes, default=None
            Where to draw; default: a new figure.
        **plot_params : dict
            Further arguments of `plot`.

        Returns
        -------
        display : InfluenceIndexDisplay
            The drawn display.
        """
        check_is_fitted(explainer)
        name = type(explainer).__name__ if name is None else name
        arguments = {"statistic": statistic, "param": param, "name": name, "ax": ax, **plot_params}
        return cls.from_diagnostics(_thresholds.diagnostics_of(explainer), **arguments)

    @classmethod
    def from_diagnostics(
        cls,
        diagnostics: Any,
        *,
        statistic: str = "cooks_distance",
        param: Any = None,
        name: str | None = None,
        ax: Any = None,
        **plot_params: Any,
    ) -> InfluenceIndexDisplay:
        """Draw one of the diagnostics that are already there.

        Parameters
        ----------
        diagnostics : Diagnostics or SketchedDiagnostics
            What ``explainer.diagnostics()`` returned.
        statistic : str, default="cooks_distance"
            Which statistic: "cooks_distance", "leverage", "resid_studentized_external",
            "resid_studentized_internal", "dffits" or "dfbetas".
        param : str or int, default=None
            For "dfbetas": which parameter, by name or position.
        name : str, default=None
            Title.
        ax : matplotlib Axes, default=None
            Where to draw; default: a new figure.
        **plot_params : dict
            Further arguments of `plot`.

        Returns
        -------
        display : InfluenceIndexDisplay
            The drawn display.
        """
        if statistic not in STATISTICS:
            raise ValueError(
                f"statistic is {statistic!r}, but it must be one of {', '.join(STATISTICS)}. "
                "Draw other numbers by from_values."
            )
        values = read(diagnostics, statistic)
        if values.ndim == 2:
            place = _column(param, [str(p) for p in diagnostics.param_names], statistic)
            values, param = values[:, place], str(diagnostics.param_names[place])
        elif param is not None:
            raise ValueError(
                f"param is {param!r}, but {statistic} is one number per row. Leave param out, or "
                "choose statistic='dfbetas'."
            )
        display = cls(
            values=values,
            statistic=statistic,
            param=param,
            **_thresholds.degrees(diagnostics),
            row_names=diagnostics.row_labels,
            name=name,
        )
        return display.plot(ax, **plot_params)

    @classmethod
    def from_values(
        cls,
        values: ArrayLike,
        *,
        statistic: str = "cooks_distance",
        n_params: float | None = None,
        df_resid: float | None = None,
        row_names: ArrayLike | None = None,
        name: str | None = None,
        ax: Any = None,
        **plot_params: Any,
    ) -> InfluenceIndexDisplay:
        """Draw any statistic, e.g. self influence.

        Parameters
        ----------
        values : array-like of shape (n_train,)
            The statistic.
        statistic : str, default="cooks_distance"
            Its name.
        n_params : float, default=None
            Effective number of parameters, k.
        df_resid : float, default=None
            Residual degrees of freedom.
        row_names : array-like of shape (n_train,), default=None
            Labels of the rows; default: positions.
        name : str, default=None
            Title.
        ax : matplotlib Axes, default=None
            Where to draw; default: a new figure.
        **plot_params : dict
            Further arguments of `plot`.

        Returns
        -------
        display : InfluenceIndexDisplay
            The drawn display.
        """
        display = cls(
            values=values,
            statistic=statistic,
            n_params=n_params,
            df_resid=df_resid,
            row_names=row_names,
            name=name,
        )
        return display.plot(ax, **plot_params)

    def frame(self) -> Any:
        """Return the numbers behind the picture.

        Returns
        -------
        frame : pandas.DataFrame of shape (n_train, 1)
            The statistic under its name, labelled by `row_names`.
        """
        import pandas as pd

        return pd.DataFrame({self.statistic: self.values}, index=self.row_names)

    def plot(
        self,
        ax: Any = None,
        *,
        threshold: Any = "auto",
        n_labels: int = 5,
        stem_kwargs: dict[str, Any] | None = None,
    ) -> InfluenceIndexDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; default: a new figure.
        threshold : str, float, list of these or None, default="auto"
            Lines, by name or number. Cook's distance: "4/n" (default), "4/(n-k)",
            "F median" (of F with k and ``df_resid`` degrees of freedom), "1". Leverage: "2k/n"
            and "3k/n" (default both). DFFITS: "2*sqrt(k/n)" (default), "1". DFBETAS:
            "2/sqrt(n)" (default), "1". Studentised residuals: "t 5%" (two-sided, one row)
            and "Bonferroni 5%" (over all rows; default both), "2", "3"; for internally
            studentised ones they are carried over exactly. DFFITS also have "3*sqrt(k/(n-k))".
        n_labels : int, default=5
            How many of the rows of the largest absolute value to name. Labels that would
            overlap are left out.
        stem_kwargs : dict, default=None
            Further arguments of ``Axes.vlines`` for the stems.

        Returns
        -------
        display : InfluenceIndexDisplay
            This object.
        """
        known = STATISTICS.get(self.statistic, Statistic(self.statistic, two_sided=True))
        found = resolve(
            threshold, self.statistic, n=self.values.size, k=self.n_params, df=self.df_resid
        )
        self.thresholds_ = {t.name: t.value for t in found}
        self.ax_ = _style.new_axes(self, ax, (8.0, 4.0))
        self.figure_ = self.ax_.figure
        size = np.abs(self.values) if known.two_sided else self.values
        top = np.argsort(-size, kind="stable")[:n_labels]
        self._draw_lines(found, size, known.two_sided)
        points = self._draw_rows(size > (found[0].value if found else np.inf), top, stem_kwargs)
        of = "" if self.param is None else f" of {self.param}"
        self.ax_.set(xlabel="row", ylabel=known.label + of)
        self.ax_.margins(x=0.03)
        _positions(self.ax_.xaxis)
        _labels.legend_above(self.ax_, self.name or "")
        places = np.append(top, self.rows_)  # the chosen ones first, the rest to be avoided
        lines = _labels.strokes([self.lines_])
        self.labels_ = _labels.label_points(
            self.ax_,
            points[places],
            np.arange(top.size),
            self.row_names[top],
            strokes=np.concatenate([lines, self.stems_.get_segments()]),
        )
        return self

    def _draw_rows(self, beyond: Any, top: Any, stem_kwargs: dict[str, Any] | None) -> Any:
        """Draw stems, heads and stars; return the place of each row."""
        points = np.column_stack([np.arange(self.values.size), self.values]).astype(float)
        infinite = np.isinf(self.values)
        points = _style.move_infinite(self.ax_, points)
        self.rows_ = _crowd.extremes(points[:, 1], keep=top)
        colours = np.where(beyond[self.rows_], _style.BEYOND, _style.ROW)
        shrink = float(np.clip(np.sqrt(100 / self.rows_.size), 0.2, 1.0))
        raster = self.rows_.size > 2000
        style = {"colors": colours, "linewidths": 1.6 * shrink, "rasterized": raster, "zorder": 2}
        x, y = points[self.rows_].T
        self.stems_ = self.ax_.vlines(x, 0, y, **style | (stem_kwargs or {}))
        finite = ~infinite[self.rows_]
        self.heads_ = self.ax_.scatter(
            x[finite],
            y[finite],
            s=26 * shrink**2,
            c=colours[finite],
            linewidths=0,
            rasterized=raster,
            zorder=3,
        )
        self.ax_.axhline(0, color=_style.EDGE, linewidth=0.8, zorder=1)
        self.infinite_ = None
        if infinite.any():
            label = f"infinite ({_share(infinite)})"
            self.infinite_ = _style.stars(self.ax_, points[infinite], label)
        return points

    def _draw_lines(self, found: list[Threshold], size: Any, two_sided: bool) -> None:
        self.lines_: dict[str, list[Any]] = {}
        for place, t in enumerate(found):
            sign = "±" if two_sided else ""
            value = f"{sign}{t.value:.3g}"
            text = value if t.text == f"{t.value:.4g}" else f"{t.text} = {value}"
            style = {
                "color": _style.EDGE,
                "linewidth": 1.0,
                "linestyle": _DASHES[place % len(_DASHES)],
                "zorder": 4,
            }
            label = f"{text} ({_share(size > t.value, 'beyond')})"
            self.lines_[t.name] = [self.ax_.axhline(t.value, label=label, **style)]
            if two_sided:
                self.lines_[t.name].append(self.ax_.axhline(-t.value, **style))


def _positions(axis: Any) -> None:
    """Ticks at whole rows only, written out."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    axis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _share(rows: Any, what: str = "") -> str:
    """How many of all rows, and which share."""
    counts = f"{int(rows.sum()):,} of {rows.size:,} {what}".rstrip()
    return f"{counts}, {100 * rows.mean():.2g} %"


def _column(param: Any, names: list[str], statistic: str) -> int:
    """Position of a parameter given by name or position."""
    if param in names:
        return names.index(param)
    if isinstance(param, int | np.integer) and -len(names) <= param < len(names):
        return int(param) % len(names)
    raise ValueError(
        f"param is {param!r}, but {statistic} has one column for each of {', '.join(names[:8])} "
        f"(positions 0 to {len(names) - 1}). Pass one of the names or positions."
    )
