"""Leverage against residual, with bubbles as large as Cook's distance."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skinfluence.displays import _crowd, _labels, _style, _thresholds
from skinfluence.displays._thresholds import STATISTICS, Threshold, read, resolve

_LARGEST = 1000.0  # area of the largest bubble in square typographic points
_DOT = 4.0
_TEXT = 8.3  # height of a legend's text in points


class InfluenceBubbleDisplay:
    """Leverage, studentised residual and Cook's distance of every row in one picture.

    A row moves a regression if it could (leverage, to the right), and if the others do not agree
    with it (externally studentised residual, up or down); Cook's distance, the **area** of the
    bubble, is how far it does. Rows beyond the first threshold for Cook's distance are orange.
    The dashed lines have names: ``2k/n`` and ``3k/n`` [1]_ for the leverage, whose mean is k/n,
    and ``t 5%`` for the residuals, which one row in 20 exceeds by chance. For Cook's distance
    ``4/n`` [2]_ shows rows worth a look, ``F median`` [3]_ rows that decide the fit.

    Build it by `from_explainer` or `from_diagnostics`; the constructor only stores.

    Parameters
    ----------
    leverage : array-like of shape (n_train,)
        Diagonal of the hat matrix.
    residuals : array-like of shape (n_train,)
        Externally studentised residuals; infinities are allowed.
    cooks_distance : array-like of shape (n_train,)
        Cook's distances; infinities are allowed.
    n_params : float, default=None
        Effective number of parameters, k; default: the sum of the leverages.
    df_resid : float, default=None
        Residual degrees of freedom; default: n_train - k.
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
    bubbles_ : matplotlib PathCollection
        The rows, the largest first; their sizes are areas in square points, proportional to
        Cook's distance.
    dots_ : matplotlib PathCollection
        Dots in place of the bubbles too small to be seen.
    rows_ : ndarray of int of shape (n_drawn,)
        Position of the row behind each bubble. Of more than 20,000 rows those are left out that
        lie below a larger bubble.
    infinite_ : matplotlib PathCollection or None
        Rows of infinite residual or distance, as stars; infinite residuals lie on a rule at the
        edge.
    lines_ : dict of str to dict of str to list of matplotlib Line2D
        Lines of the leverage and of the residual, by statistic and name of the threshold.
    thresholds_ : dict of str to dict of str to float
        Thresholds drawn, by statistic and name.
    labels_ : list of matplotlib Annotation
        Names of the rows of the largest Cook's distance.

    See Also
    --------
    InfluenceIndexDisplay : One statistic against row position.
    SelfInfluenceDisplay : For densities.

    References
    ----------
    .. [1] P. F. Velleman and R. E. Welsch (1981), Efficient computing of regression diagnostics,
       The American Statistician 35, 234-242.
    .. [2] K. A. Bollen and R. W. Jackman (1985), Regression diagnostics: an expository treatment
       of outliers and influential cases, Sociological Methods & Research 13, 510-542.
    .. [3] R. D. Cook (1977), Detection of influential observation in linear regression,
       Technometrics 19, 15-18.

    Examples
    --------
    A line through ten points, the last of them far out and off the line:

    >>> import numpy as np
    >>> from skinfluence.displays import InfluenceBubbleDisplay
    >>> x = np.arange(10.0)
    >>> x[9] = 20.0
    >>> X = np.column_stack([np.ones(10), x])
    >>> h = np.diag(X @ np.linalg.pinv(X))
    >>> e = np.eye(10)[9] - X @ np.linalg.pinv(X)[:, 9]  # residuals of y = (0, ..., 0, 1)
    >>> r2 = e**2 / (1 - h) / (e @ e / 8)
    >>> t = np.sign(e) * np.sqrt(r2 * 7 / np.maximum(8 - r2, 1e-9))
    >>> display = InfluenceBubbleDisplay(
    ...     leverage=h, residuals=t, cooks_distance=r2 * h / (1 - h) / 2
    ... )
    >>> display.n_params  # a slope and an intercept
    2.0
    >>> int(display.frame()["cooks_distance"].idxmax())
    9
    """

    def __init__(
        self,
        *,
        leverage: ArrayLike,
        residuals: ArrayLike,
        cooks_distance: ArrayLike,
        n_params: float | None = None,
        df_resid: float | None = None,
        row_names: ArrayLike | None = None,
        name: str | None = None,
    ) -> None:
        self.leverage = _style.as_scores(leverage, "leverage")
        n = self.leverage.size
        self.residuals = _style.as_scores(residuals, "residuals")
        self.cooks_distance = _style.as_scores(cooks_distance, "cooks_distance")
        _style.one_per_row(self.residuals, "residuals", n)
        _style.one_per_row(self.cooks_distance, "cooks_distance", n)
        if self.cooks_distance.min() < 0:
            raise ValueError(
                f"The smallest of cooks_distance is {self.cooks_distance.min():.3g}, but it must "
                "be at least 0: it is drawn as an area. Pass squared distances, not changes."
            )
        self.n_params = float(self.leverage.sum() if n_params is None else n_params)
        self.df_resid = float(n - self.n_params if df_resid is None else df_resid)
        labels = np.arange(n) if row_names is None else row_names
        self.row_names = _style.one_per_row(labels, "row_names", n)
        self.name = name

    @classmethod
    def from_explainer(
        cls, explainer: Any, *, name: str | None = None, ax: Any = None, **plot_params: Any
    ) -> InfluenceBubbleDisplay:
        """Compute the diagnostics of a fitted explainer, and draw.

        Parameters
        ----------
        explainer : fitted explainer
            With ``diagnostics``.
        name : str, default=None
            Title; default: the class of the explainer.
        ax : matplotlib Axes, default=None
            Where to draw; default: a new figure.
        **plot_params : dict
            Further arguments of `plot`.

        Returns
        -------
        display : InfluenceBubbleDisplay
            The drawn display.
        """
        check_is_fitted(explainer)
        name = type(explainer).__name__ if name is None else name
        return cls.from_diagnostics(
            _thresholds.diagnostics_of(explainer), name=name, ax=ax, **plot_params
        )

    @classmethod
    def from_diagnostics(
        cls, diagnostics: Any, *, name: str | None = None, ax: Any = None, **plot_params: Any
    ) -> InfluenceBubbleDisplay:
        """Draw diagnostics that are already there.

        Parameters
        ----------
        diagnostics : Diagnostics
            What ``explainer.diagnostics()`` returned.
        name : str, default=None
            Title.
        ax : matplotlib Axes, default=None
            Where to draw; default: a new figure.
        **plot_params : dict
            Further arguments of `plot`.

        Returns
        -------
        display : InfluenceBubbleDisplay
            The drawn display.
        """
        display = cls(
            leverage=diagnostics.leverage,
            residuals=read(diagnostics, "resid_studentized_external"),
            cooks_distance=read(diagnostics, "cooks_distance"),
            n_params=diagnostics.n_effective_params,
            df_resid=diagnostics.df_resid,
            row_names=diagnostics.row_labels,
            name=name,
        )
        return display.plot(ax, **plot_params)

    def frame(self) -> Any:
        """Return the numbers behind the picture.

        Returns
        -------
        frame : pandas.DataFrame of shape (n_train, 3)
            ``leverage``, ``resid_studentized_external`` and ``cooks_distance``, labelled by
            `row_names`.
        """
        import pandas as pd

        columns = {
            "leverage": self.leverage,
            "resid_studentized_external": self.residuals,
            "cooks_distance": self.cooks_distance,
        }
        return pd.DataFrame(columns, index=self.row_names)

    def plot(
        self,
        ax: Any = None,
        *,
        leverage_threshold: Any = "auto",
        residual_threshold: Any = "auto",
        cook_threshold: Any = "auto",
        n_labels: int = 5,
        scatter_kwargs: dict[str, Any] | None = None,
    ) -> InfluenceBubbleDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; default: a new figure.
        leverage_threshold : str, float, list of these or None, default="auto"
            Vertical lines, by name or number: "2k/n" and "3k/n" ("auto": both).
        residual_threshold : str, float, list of these or None, default="auto"
            Horizontal lines at plus and minus: "t 5%" (two-sided, with ``df_resid - 1`` degrees
            of freedom; "auto"), "Bonferroni 5%" (the same over all rows), "2", "3".
        cook_threshold : str, float, list of these or None, default="auto"
            Entries of the legend: "4/n" and "F median" (of F with k and ``df_resid`` degrees of
            freedom; "auto": both), "4/(n-k)", "1". Rows beyond the first are orange.
        n_labels : int, default=5
            How many of the rows of the largest Cook's distance to name. Labels that would
            overlap are left out.
        scatter_kwargs : dict, default=None
            Further arguments of ``Axes.scatter``.

        Returns
        -------
        display : InfluenceBubbleDisplay
            This object.
        """
        found = self._resolved(leverage_threshold, residual_threshold, cook_threshold)
        self.thresholds_ = {key: {t.name: t.value for t in ts} for key, ts in found.items()}
        self.ax_ = _style.new_axes(self, ax, (6.4, 5.4))
        self.figure_ = self.ax_.figure
        self._draw_lines(found["leverage"], found["resid_studentized_external"])
        everything = [self.leverage, self.residuals, self.cooks_distance]
        infinite = np.isinf(everything).any(axis=0)
        rank = np.where(infinite, np.inf, self.cooks_distance)
        top = np.argsort(-rank, kind="stable")[:n_labels]
        points, radii = self._draw_rows(infinite, top, found["cooks_distance"], scatter_kwargs)
        self._draw_legend(found["cooks_distance"])
        self.ax_.margins(**_labels.room(self.ax_, np.sqrt(_LARGEST) / 2))
        places = np.concatenate([top, self.rows_])  # the chosen ones first, the rest to be avoided
        self.labels_ = _labels.label_points(
            self.ax_,
            points[places],
            np.arange(top.size),
            self.row_names[top],
            radii=radii[places],
            strokes=_labels.strokes(self.lines_.values()),
        )
        return self

    def _resolved(self, leverage: Any, residual: Any, cook: Any) -> dict[str, list[Threshold]]:
        asked = {
            "leverage": (leverage, ("2k/n", "3k/n")),
            "resid_studentized_external": (residual, ("t 5%",)),
            "cooks_distance": (cook, ("4/n", "F median")),
        }
        size: dict[str, Any] = {"n": self.leverage.size, "k": self.n_params, "df": self.df_resid}
        return {
            key: resolve(threshold, key, usual=usual, **size)
            for key, (threshold, usual) in asked.items()
        }

    def _draw_lines(self, vertical: list[Threshold], horizontal: list[Threshold]) -> None:
        style = {"color": _style.MUTED, "linewidth": 1.0, "linestyle": (0, (4, 3)), "zorder": 0}
        self.ax_.axhline(0, color=_style.MUTED, linewidth=0.6, zorder=0)
        self.lines_: dict[str, dict[str, list[Any]]] = {"leverage": {}}
        for place, t in enumerate(sorted(vertical, key=lambda t: t.value)):
            self.lines_["leverage"][t.name] = [self.ax_.axvline(t.value, **style)]
            # the lowest is named on the left of its line: the lines may be close
            to_left = place == 0 and len(vertical) > 1
            where = {"ha": "right" if to_left else "left", "va": "bottom"}
            self._name_line((t.value, 1.0), (-1 if to_left else 1, 3), t.text, where)
        pairs = self.lines_.setdefault("resid_studentized_external", {})
        for t in horizontal:
            pairs[t.name] = [self.ax_.axhline(s * t.value, **style) for s in (1, -1)]
            text = f"±{t.text}" if t.text == f"{t.value:.4g}" else t.text
            self._name_line((1.0, t.value), (4, 0), text, {"ha": "left", "va": "center"})

    def _name_line(self, place: Any, offset: Any, text: str, align: dict[str, str]) -> None:
        """Write outside the axes, at the end of a line."""
        is_vertical = align["va"] == "bottom"
        ax = self.ax_
        coordinates = ax.get_xaxis_transform() if is_vertical else ax.get_yaxis_transform()
        ax.annotate(
            text,
            place,
            xycoords=coordinates,
            xytext=offset,
            textcoords="offset points",
            annotation_clip=False,
            fontsize="small",
            color=_style.EDGE,
            **align,
        )

    def _draw_rows(
        self, infinite: Any, top: Any, thresholds: list[Threshold], given: dict[str, Any] | None
    ) -> tuple[Any, Any]:
        """Draw bubbles and stars; return the place of each row and its radius in points."""
        points = np.column_stack([self.leverage, self.residuals])
        points = _style.move_infinite(self.ax_, points)
        finite = np.flatnonzero(~infinite)
        cook = self.cooks_distance[finite]
        kept = _crowd.one_per_cell(points[finite], cook, keep=np.isin(finite, top).nonzero()[0])
        order = kept[np.argsort(-cook[kept], kind="stable")]  # small bubbles on top
        self.rows_ = finite[order]
        self._area = _LARGEST / (cook.max() if cook.size and cook.max() > 0 else 1.0)
        beyond = cook[order] > (thresholds[0].value if thresholds else np.inf)
        style: dict[str, Any] = {
            "s": self._area * cook[order],
            "c": np.where(beyond, _style.BEYOND, _style.ROW),
            "alpha": 0.55,
            "edgecolors": _style.EDGE,
            "linewidths": 0.7,
            "rasterized": finite.size > _crowd.MANY,
        }
        self.bubbles_ = self.ax_.scatter(*points[self.rows_].T, **style | (given or {}))
        # almost no distance is almost no area, but the row is there
        tiny = style["s"] < _DOT
        self.dots_ = self.ax_.scatter(
            *points[self.rows_[tiny]].T,
            s=_DOT,
            c=style["c"][tiny],
            linewidths=0,
            rasterized=style["rasterized"],
        )
        self.infinite_ = None
        if infinite.any():
            self.infinite_ = _style.stars(self.ax_, points[infinite])
        radii = np.full(self.leverage.size, 4.0)
        radii[finite] = np.sqrt(self._area * cook) / 2
        return points, radii

    def _draw_legend(self, thresholds: list[Threshold]) -> None:
        handles = []
        for place, t in enumerate(thresholds):
            above = int((self.cooks_distance > t.value).sum())
            text = f"{t.text} = {t.value:.3g}" if t.text != f"{t.value:.4g}" else t.text
            diameter = np.sqrt(self._area * t.value)
            handles.append(_bubble_key(diameter, place == 0, f"{text} ({above:,} beyond)"))
        if self.infinite_ is not None:
            handles.append(self.infinite_)
        self.ax_.set_xlabel(STATISTICS["leverage"].label)
        self.ax_.set_ylabel(STATISTICS["resid_studentized_external"].label)
        # what the largest key needs beyond a line of text, in units of the text's height
        largest = max([0.0, *(handle.get_markersize() for handle in handles[: len(thresholds)])])
        space = max(0.3, largest / 2 / _TEXT - 0.3)
        named = bool(self.thresholds_["leverage"] or np.isinf(self.leverage).any())
        _labels.legend_above(
            self.ax_,
            self.name or "",
            note=["area: Cook's distance"],
            handles=handles,
            handlelength=max(2.0, largest / _TEXT),
            labelspacing=space,
            borderpad=space,
            borderaxespad=1.5 if named else 0.3,  # the names of the lines stand there
        )


def _bubble_key(diameter: float, filled: bool, label: str) -> Any:
    """A bubble for the legend, or nothing where it would be larger than any in the picture."""
    from matplotlib.lines import Line2D

    fits = diameter <= np.sqrt(_LARGEST)
    return Line2D(
        [],
        [],
        linestyle="",
        marker="o" if fits else "",
        markersize=max(diameter, 1.0) if fits else 0.0,
        markerfacecolor=_style.BEYOND if filled else "none",
        markeredgecolor=_style.EDGE,
        markeredgewidth=0.7,
        alpha=0.55 if filled else 1.0,
        label=label,
    )
