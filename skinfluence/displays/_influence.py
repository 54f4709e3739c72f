"""Influence of all training rows on one query."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skinfluence._output import row_labels
from skinfluence.displays import _labels, _rows, _style
from skinfluence.displays._units import Reading, unit_of


class InfluenceDisplay:
    """Influence of the training rows on one query, over a scatter or against distance.

    Proponents (their deletion raises the query's loss, or lowers the output of the model) are
    red, opponents blue, as in figure 9 of [1]_: over two of the features with the query marked
    (``kind="scatter"``), or against the distance to the query (``kind="distance"``). Colours are
    centred at zero. Of parameters and functions of your own, red are the rows without which the
    value rises.

    Build it by `from_explainer` or `from_influence`; the constructor only stores.

    Parameters
    ----------
    influence : array-like of shape (n_train,)
        Scores of one query; infinities are allowed.
    X : array-like, sparse array or DataFrame of shape (n_train, n_features)
        The training rows.
    query : array-like of shape (n_features,) or (1, n_features), or None
        The query; None where there is none, as for a parameter.
    distance : array-like of shape (n_train,), default=None
        Distance of each row to the query; default: Euclidean in the columns of `X`.
    feature_names : array-like of str of shape (n_features,), default=None
        Names of the columns; default: those of a DataFrame, else numbers.
    row_names : array-like of shape (n_train,), default=None
        Labels of the rows; default: the index of a DataFrame, else positions.
    name : str, default=None
        Title.
    score_unit : str, default="nats"
        "nats", or the explainer's ``score_unit_``: what the axis says, and which sign helps.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        Its figure.
    scatter_ : matplotlib PathCollection
        The rows of finite score, in increasing order of absolute score.
    infinite_ : list of matplotlib PathCollection
        The rows of infinite score, drawn as triangles: upwards for ``+inf``, downwards for
        ``-inf``; one artist per sign that occurs.
    query_ : matplotlib PathCollection or None
        Cross hairs around the query in the scatter.
    colorbar_ : matplotlib Colorbar or None
        Colours of the scores. Arrows show that some lie beyond.
    labels_ : list of matplotlib Annotation
        Names of the rows of largest absolute score.

    See Also
    --------
    SelfInfluenceDisplay : Influence of each row on itself.
    ImageGridDisplay : Proponents and opponents as images.

    References
    ----------
    .. [1] Z. Kong and K. Chaudhuri (2021), Understanding instance-based interpretability of
       variational auto-encoders, NeurIPS 34.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.displays import InfluenceDisplay
    >>> X = np.array([[0.0, 0.0], [3.0, 4.0]])
    >>> display = InfluenceDisplay(influence=[0.4, -0.1], X=X, query=[0.0, 0.0])
    >>> print(display.frame()["distance"].tolist())
    [0.0, 5.0]
    """

    def __init__(
        self,
        *,
        influence: ArrayLike,
        X: Any,
        query: Any,
        distance: ArrayLike | None = None,
        feature_names: ArrayLike | None = None,
        row_names: ArrayLike | None = None,
        name: str | None = None,
        score_unit: str = "nats",
    ) -> None:
        self.influence = _style.as_scores(influence, "influence")
        n_rows = self.influence.size
        self.X, self.feature_names = _rows.as_table(X, n_rows, feature_names)
        self.query: Any = None if query is None else _rows.flat_query(query, self.X.shape[1])
        if distance is None and self.query is not None:
            distance = _rows.distances(self.X, self.query)
        self.distance: Any = None if distance is None else _style.as_scores(distance, "distance")
        if self.distance is not None:
            _style.one_per_row(self.distance, "distance", n_rows)
        self._distance_name = "distance to the query"
        labels = row_labels(X, n_rows) if row_names is None else row_names
        self.row_names = _style.one_per_row(labels, "row_names", n_rows)
        self.name = name
        self.score_unit = score_unit

    @classmethod
    def from_explainer(
        cls,
        explainer: Any,
        query: Any,
        X: Any = None,
        *,
        y: Any = None,
        kind: str = "scatter",
        distance: ArrayLike | None = None,
        row_names: ArrayLike | None = None,
        name: str | None = None,
        ax: Any = None,
        **plot_params: Any,
    ) -> InfluenceDisplay:
        """Compute from a fitted explainer, and draw.

        Parameters
        ----------
        explainer : fitted explainer
            With ``score_influence``.
        query : array-like, Series or DataFrame of shape (n_features,) or (1, n_features)
            One query; None where the target is a parameter.
        X : array-like or DataFrame of shape (n_train, n_features), default=None
            The training rows, e.g. with other column names; default: those that the explainer
            was fitted on, behind the transformers of a pipeline if they are no numbers.
        y : scalar or array-like of shape (1,) or (n_outputs,), default=None
            Target of the query, where the explainer's target needs it (the loss) or asks for it
            (the class); densities ignore it.
        kind : {"scatter", "distance"}, default="scatter"
            Which picture.
        distance : array-like of shape (n_train,), default=None
            Distance of each row to the query; default: Euclidean where the model sees them,
            behind the transformers of a pipeline. Pass your own for another metric.
        row_names : array-like of shape (n_train,), default=None
            Labels of the rows; default: those the explainer saw in fit.
        name : str, default=None
            Title; default: the class of the explainer.
        ax : matplotlib Axes, default=None
            Where to draw; default: a new figure.
        **plot_params : dict
            Further arguments of `plot`.

        Returns
        -------
        display : InfluenceDisplay
            The drawn display.
        """
        rows, names, of_model = _rows.training_rows(explainer) if X is None else (X, None, False)
        one = _rows.one_query(explainer, query)
        scores = np.asarray(explainer.score_influence(one, _rows.one_target(explainer, y)))
        seen: Any = None
        if query is not None:
            seen = _rows.flat(_rows.rows_of_model(explainer, explainer._model_rows(one)))
        in_model_space = distance is None and query is not None and hasattr(explainer, "_fit_X")
        if in_model_space:
            placed = _rows.flat(_rows.rows_of_model(explainer))
            distance = _rows.distances(placed, _rows.flat_query(seen, placed.shape[1]))
        display = cls(
            influence=_rows.only_row(scores),
            X=rows,
            query=seen if of_model else _rows.on_cpu(query),
            distance=distance,
            feature_names=names,
            row_names=explainer.train_index_ if row_names is None else row_names,
            name=type(explainer).__name__ if name is None else name,
            score_unit=unit_of(explainer),
        )
        if in_model_space and explainer._heads:
            display._distance_name += ", after the transformers"
        return display.plot(ax, kind=kind, **plot_params)

    @classmethod
    def from_influence(
        cls,
        influence: ArrayLike,
        X: Any,
        query: Any,
        *,
        kind: str = "scatter",
        distance: ArrayLike | None = None,
        feature_names: ArrayLike | None = None,
        row_names: ArrayLike | None = None,
        name: str | None = None,
        score_unit: str = "nats",
        ax: Any = None,
        **plot_params: Any,
    ) -> InfluenceDisplay:
        """Draw scores that are already there.

        Parameters
        ----------
        influence : array-like of shape (n_train,)
            Scores of one query.
        X : array-like, sparse array or DataFrame of shape (n_train, n_features)
            The training rows.
        query : array-like of shape (n_features,) or (1, n_features), or None
            The query.
        kind : {"scatter", "distance"}, default="scatter"
            Which picture.
        distance : array-like of shape (n_train,), default=None
            Distance of each row to the query; default: Euclidean.
        feature_names : array-like of str of shape (n_features,), default=None
            Names of the columns.
        row_names : array-like of shape (n_train,), default=None
            Labels of the rows.
        name : str, default=None
            Title.
        score_unit : str, default="nats"
            "nats", or the explainer's ``score_unit_``.
        ax : matplotlib Axes, default=None
            Where to draw; default: a new figure.
        **plot_params : dict
            Further arguments of `plot`.

        Returns
        -------
        display : InfluenceDisplay
            The drawn display.
        """
        display = cls(
            influence=influence,
            X=X,
            query=query,
            distance=distance,
            feature_names=feature_names,
            row_names=row_names,
            name=name,
            score_unit=score_unit,
        )
        return display.plot(ax, kind=kind, **plot_params)

    def frame(self) -> Any:
        """Return the numbers behind the picture.

        Returns
        -------
        frame : pandas.DataFrame of shape (n_train, 2 + n_features)
            ``influence``, ``distance`` (if there is one) and the features, labelled by
            `row_names`.
        """
        import pandas as pd

        scores = pd.DataFrame({"influence": self.influence}, index=self.row_names)
        if self.distance is not None:
            scores["distance"] = self.distance
        features = _rows.features_frame(self.X, self.feature_names, self.row_names)
        return pd.concat([scores, features], axis=1)

    def plot(
        self,
        ax: Any = None,
        *,
        kind: str = "scatter",
        features: tuple[Any, Any] = (0, 1),
        n_labels: int = 0,
        colorbar: bool = True,
        legend: bool = True,
        scatter_kwargs: dict[str, Any] | None = None,
    ) -> InfluenceDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; default: a new figure.
        kind : {"scatter", "distance"}, default="scatter"
            Over two features, or against the distance to the query.
        features : tuple of two int or str, default=(0, 1)
            Columns to draw, for the scatter. Axes get equal scales where their ranges are within
            a factor of three.
        n_labels : int, default=0
            How many rows of largest absolute score to name. Labels that would overlap are left
            out.
        colorbar : bool, default=True
            Whether to draw the colour bar (for the scatter coloured by score).
        legend : bool, default=True
            Whether to draw the legend.
        scatter_kwargs : dict, default=None
            Further arguments of ``Axes.scatter``; ``c``, one entry per row, colours the rows by
            something else.

        Returns
        -------
        display : InfluenceDisplay
            This object.
        """
        reading = Reading(self.score_unit)
        points, names = self._points(kind, features, reading)
        self.ax_ = _style.new_axes(self, ax)
        self.figure_ = self.ax_.figure
        points = _style.move_infinite(self.ax_, points)
        if kind == "distance":
            self.ax_.axhline(0.0, color=_style.MUTED, linewidth=0.8, zorder=0)
        self._draw(points, reading, scatter_kwargs)
        self._draw_infinite(points, reading)
        title = _style.title(self.name, self.X.shape[1] if kind == "scatter" else 0)
        self.ax_.set(xlabel=names[0], ylabel=names[1])
        self.ax_.set_title(title, pad=24 if legend else None)  # the legend lies in between
        self.query_ = None
        self.colorbar_: Any = None
        own_colours = not {"c", "color"}.isdisjoint(scatter_kwargs or {})
        if kind == "scatter":
            if self.query is not None:
                place = _style.pick_features(features, self.feature_names)
                self._mark_query(self.query[list(place)])
            _style.equal_if_comparable(self.ax_, points)
            if colorbar and not own_colours:
                self.colorbar_ = _style.add_colorbar(
                    self.ax_, self.scatter_, self.influence, self._score_label(reading)
                )
        if legend:
            self._add_legend(kind, reading)
        top = np.argsort(-np.abs(self.influence), kind="stable")[:n_labels]
        self.labels_ = _labels.label_points(self.ax_, points, top, self.row_names[top])
        return self

    def _score_label(self, reading: Reading) -> str:
        return reading.label("influence" if self.query is None else "influence on the query")

    def _points(
        self, kind: str, features: tuple[Any, Any], reading: Reading
    ) -> tuple[Any, list[str]]:
        if kind == "scatter":
            first, second = _style.pick_features(features, self.feature_names)
            names = [self.feature_names[first], self.feature_names[second]]
            return _rows.columns_of(self.X, (first, second)), names
        if kind == "distance":
            if self.distance is None:
                raise ValueError(
                    "kind='distance' draws against the distance to the query, but there is no "
                    "query. Pass one, or a distance, or kind='scatter'."
                )
            names = [self._distance_name, self._score_label(reading)]
            return np.column_stack([self.distance, self.influence]), names
        raise ValueError(
            f"kind is {kind!r}, but it must be 'scatter' (over two features) or 'distance' "
            "(against the distance to the query). Pass one of the two."
        )

    def _draw(self, points: Any, reading: Reading, scatter_kwargs: dict[str, Any] | None) -> None:
        finite = np.flatnonzero(np.isfinite(self.influence))
        order = finite[np.argsort(np.abs(self.influence[finite]), kind="stable")]  # strong on top
        scores = self.influence[order]
        limit = _style.robust_limit(scores)
        colours = {"cmap": reading.diverging, "vmin": -limit, "vmax": limit}
        self.scatter_ = _style.scatter_rows(
            self.ax_, points, self.influence, order, colours, scatter_kwargs
        )

    def _draw_infinite(self, points: Any, reading: Reading) -> None:
        self.infinite_ = []
        for sign, marker in ((1, "^"), (-1, "v")):
            rows = self.influence == sign * np.inf
            if rows.any():
                triangles = self.ax_.scatter(
                    *points[rows].T,
                    marker=marker,
                    s=90,
                    color=reading.colour(sign),
                    edgecolors="black",
                    linewidths=1.0,
                    zorder=3,
                    label="+infinite" if sign > 0 else "\N{MINUS SIGN}infinite",
                )
                self.infinite_.append(triangles)

    def _mark_query(self, place: Any) -> None:
        # open in the middle: the rows at the query are the ones that matter most
        style = {"marker": _style.cross_hairs(), "s": 240, "facecolors": "none", "zorder": 4}
        self.ax_.scatter(*place, edgecolors="white", linewidths=2.6, **style)
        self.query_ = self.ax_.scatter(
            *place, edgecolors="black", linewidths=1.3, label="query", **style
        )

    def _add_legend(self, kind: str, reading: Reading) -> None:
        handles, _ = self.ax_.get_legend_handles_labels()
        handles = [] if kind == "distance" else handles  # there infinities have their rule
        if kind == "distance" or not reading.says_red_is_positive:
            handles += [
                self.ax_.scatter([], [], color=colour, s=40, label=label)
                for colour, label in zip(
                    (_style.PROPONENT, _style.OPPONENT), reading.sides, strict=True
                )
            ]
        self.ax_.legend(  # above the axes: inside, its mark would look like another query
            handles=handles,
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=len(handles),
            frameon=False,
            borderaxespad=0.2,
            handletextpad=0.3,
        )
