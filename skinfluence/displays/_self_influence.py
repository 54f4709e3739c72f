"""Self influence over the rows, and against their likelihood."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skinfluence._output import row_labels
from skinfluence.displays import _labels, _rows, _style
from skinfluence.displays._units import Reading, own_unit_of


class SelfInfluenceDisplay:
    """Self influence of the training rows, over a scatter or against the log density.

    The rows that a model has to bend for stand out by colour over two of their features
    (``kind="scatter"``) or by height over their log density (``kind="density"``), as in figure 8
    of [1]_. For a kernel density the second picture is one falling curve; for k-NN and mixtures
    it is not, and that is what it is for. What bends a model has a high score where the score is
    a loss; of an output (``score_unit``) it has one far from zero, and colours are centred there.

    Build it by `from_explainer` or `from_influence`; the constructor only stores.

    Parameters
    ----------
    self_influence : array-like of shape (n_train,)
        Scores; infinities are allowed.
    X : array-like, sparse array or DataFrame of shape (n_train, n_features), default=None
        The rows. Needed for ``kind="scatter"``.
    log_density : array-like of shape (n_train,), default=None
        Their log density under the model, in nats. Needed for ``kind="density"``.
    feature_names : array-like of str of shape (n_features,), default=None
        Names of the columns; default: those of a DataFrame, else numbers.
    row_names : array-like of shape (n_train,), default=None
        Labels of the rows; default: the index of a DataFrame, else positions.
    name : str, default=None
        Title.
    score_unit : str, default="nats"
        "nats", the explainer's ``score_unit_`` or words of yours (of a sketch "generalised Cook's
        distance"): what the axis says, and which rows are strong.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        Its figure.
    scatter_ : matplotlib PathCollection
        The rows of finite score, the strongest last.
    infinite_ : matplotlib PathCollection or None
        The rows of infinite score or density, drawn as stars.
    colorbar_ : matplotlib Colorbar or None
        Colours of the scores. Arrows show that some lie beyond.
    labels_ : list of matplotlib Annotation
        Names of the top rows.

    See Also
    --------
    InfluenceDisplay : Influence of all rows on one query.
    DetectionCurveDisplay : What self influence finds.

    References
    ----------
    .. [1] Z. Kong and K. Chaudhuri (2021), Understanding instance-based interpretability of
       variational auto-encoders, NeurIPS 34.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.displays import SelfInfluenceDisplay
    >>> X = np.array([[0.0, 0.0], [0.1, 0.0], [0.0, 0.1], [3.0, 3.0]])
    >>> display = SelfInfluenceDisplay(self_influence=[0.1, 0.1, 0.1, 2.0], X=X)
    >>> int(display.frame()["self_influence"].idxmax())
    3
    """

    def __init__(
        self,
        *,
        self_influence: ArrayLike,
        X: Any = None,
        log_density: ArrayLike | None = None,
        feature_names: ArrayLike | None = None,
        row_names: ArrayLike | None = None,
        name: str | None = None,
        score_unit: str = "nats",
    ) -> None:
        self.self_influence = _style.as_scores(self_influence, "self_influence")
        n_rows = self.self_influence.size
        self.X, self.feature_names = None, None
        if X is not None:
            self.X, self.feature_names = _rows.as_table(X, n_rows, feature_names)
        self.log_density = None
        if log_density is not None:
            self.log_density = _style.as_scores(log_density, "log_density")
            _style.one_per_row(self.log_density, "log_density", n_rows)
        labels = row_labels(X, n_rows) if row_names is None else row_names
        self.row_names = _style.one_per_row(labels, "row_names", n_rows)
        self.name = name
        self.score_unit = score_unit

    @classmethod
    def from_explainer(
        cls,
        explainer: Any,
        X: Any = None,
        *,
        kind: str = "scatter",
        row_names: ArrayLike | None = None,
        name: str | None = None,
        ax: Any = None,
        **plot_params: Any,
    ) -> SelfInfluenceDisplay:
        """Compute from a fitted explainer, and draw.

        Parameters
        ----------
        explainer : fitted explainer
            With ``self_influence`` and, for the density, ``log_density``.
        X : array-like or DataFrame of shape (n_train, n_features), default=None
            What to draw over, e.g. two coordinates of an embedding of the training rows, or the
            feature and the target of a regression; default: the rows that the explainer was
            fitted on, behind the transformers of a pipeline if they are no numbers.
        kind : {"scatter", "density"}, default="scatter"
            Which picture; the second needs a density.
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
        display : SelfInfluenceDisplay
            The drawn display.
        """
        rows, names, _ = _rows.training_rows(explainer) if X is None else (X, None, False)
        display = cls(
            self_influence=explainer.self_influence(),
            X=rows,
            log_density=_log_density(explainer),
            feature_names=names,
            row_names=explainer.train_index_ if row_names is None else row_names,
            name=type(explainer).__name__ if name is None else name,
            score_unit=own_unit_of(explainer),
        )
        return display.plot(ax, kind=kind, **plot_params)

    @classmethod
    def from_influence(
        cls,
        self_influence: ArrayLike,
        X: Any = None,
        *,
        log_density: ArrayLike | None = None,
        kind: str | None = None,
        feature_names: ArrayLike | None = None,
        row_names: ArrayLike | None = None,
        name: str | None = None,
        score_unit: str = "nats",
        ax: Any = None,
        **plot_params: Any,
    ) -> SelfInfluenceDisplay:
        """Draw scores that are already there.

        Parameters
        ----------
        self_influence : array-like of shape (n_train,)
            Scores.
        X : array-like, sparse array or DataFrame of shape (n_train, n_features), default=None
            The training rows.
        log_density : array-like of shape (n_train,), default=None
            Their log density.
        kind : {"scatter", "density"}, default=None
            Which picture; default: "scatter" if there is `X`, else "density".
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
        display : SelfInfluenceDisplay
            The drawn display.
        """
        display = cls(
            self_influence=self_influence,
            X=X,
            log_density=log_density,
            feature_names=feature_names,
            row_names=row_names,
            name=name,
            score_unit=score_unit,
        )
        if kind is None:
            kind = "density" if X is None else "scatter"
        return display.plot(ax, kind=kind, **plot_params)

    def frame(self) -> Any:
        """Return the numbers behind the picture.

        Returns
        -------
        frame : pandas.DataFrame of shape (n_train, n_columns)
            ``self_influence``, ``log_density`` and the features, as far as given, labelled by
            `row_names`.
        """
        import pandas as pd

        columns = {"self_influence": self.self_influence}
        if self.log_density is not None:
            columns["log_density"] = self.log_density
        frame = pd.DataFrame(columns, index=self.row_names)
        if self.X is None or self.feature_names is None:
            return frame
        features = _rows.features_frame(self.X, self.feature_names, self.row_names)
        return pd.concat([frame, features], axis=1)

    def plot(
        self,
        ax: Any = None,
        *,
        kind: str = "scatter",
        features: tuple[Any, Any] = (0, 1),
        n_labels: int = 0,
        colorbar: bool = True,
        scatter_kwargs: dict[str, Any] | None = None,
    ) -> SelfInfluenceDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; default: a new figure.
        kind : {"scatter", "density"}, default="scatter"
            Over two features, or against the log density.
        features : tuple of two int or str, default=(0, 1)
            Columns to draw, for the scatter. Axes get equal scales where their ranges are within
            a factor of three.
        n_labels : int, default=0
            How many of the strongest rows to name. Labels that would overlap are left out.
        colorbar : bool, default=True
            Whether to draw the colour bar (for the scatter coloured by score).
        scatter_kwargs : dict, default=None
            Further arguments of ``Axes.scatter``; ``c``, one entry per row, colours the rows by
            something else.

        Returns
        -------
        display : SelfInfluenceDisplay
            This object.
        """
        reading = Reading(self.score_unit)
        points, names = self._points(kind, features, reading)
        self.ax_ = _style.new_axes(self, ax)
        self.figure_ = self.ax_.figure
        infinite = ~np.isfinite(self.self_influence) | ~np.isfinite(points).all(axis=1)
        points = _style.move_infinite(self.ax_, points)
        self._draw(points, infinite, reading, scatter_kwargs)
        if kind == "scatter" and self.infinite_ is not None:  # elsewhere the rule says it
            self.ax_.legend(frameon=False)
        n_features = self.X.shape[1] if kind == "scatter" and self.X is not None else 0
        title = _style.title(self.name, n_features)
        self.ax_.set(xlabel=names[0], ylabel=names[1], title=title)
        self.colorbar_: Any = None
        own_colours = not {"c", "color"}.isdisjoint(scatter_kwargs or {})
        if kind == "scatter":
            _style.equal_if_comparable(self.ax_, points)
            if colorbar and not own_colours:
                label = reading.label("self influence")
                self.colorbar_ = _style.add_colorbar(
                    self.ax_, self.scatter_, self.self_influence, label
                )
        strength = reading.strength(self.self_influence)
        top = np.argsort(-strength, kind="stable")[:n_labels]
        self.labels_ = _labels.label_points(self.ax_, points, top, self.row_names[top])
        return self

    def _points(
        self, kind: str, features: tuple[Any, Any], reading: Reading
    ) -> tuple[Any, list[str]]:
        if kind == "scatter":
            if self.X is None or self.feature_names is None:
                raise ValueError(
                    "kind='scatter' draws over the rows, but there is no X. Pass the training "
                    "rows as X, or log_density and kind='density'."
                )
            first, second = _style.pick_features(features, self.feature_names)
            names = [self.feature_names[first], self.feature_names[second]]
            return _rows.columns_of(self.X, (first, second)), names
        if kind != "density":
            raise ValueError(
                f"kind is {kind!r}, but it must be 'scatter' (over two features) or 'density' "
                "(against the log density). Pass one of the two."
            )
        if self.log_density is None:
            raise ValueError(
                "kind='density' draws against the log density, but there is none: supervised "
                "models have no density. Pass log_density, or X and kind='scatter'."
            )
        names = ["log density (nats)", reading.label("self influence")]
        return np.column_stack([self.log_density, self.self_influence]), names

    def _draw(
        self, points: Any, infinite: Any, reading: Reading, scatter_kwargs: dict[str, Any] | None
    ) -> None:
        finite = np.flatnonzero(~infinite)
        strength = reading.strength(self.self_influence)
        order = finite[np.argsort(strength[finite], kind="stable")]  # strong on top
        colours = _colours(self.self_influence[order], reading)
        self.scatter_ = _style.scatter_rows(
            self.ax_, points, self.self_influence, order, colours, scatter_kwargs
        )
        self.infinite_ = None
        if infinite.any():
            self.infinite_ = _style.stars(self.ax_, points[infinite])


def _colours(scores: Any, reading: Reading) -> dict[str, Any]:
    """From low to high for a loss, to both sides of zero for all else."""
    if not reading.is_loss:
        limit = _style.robust_limit(scores)
        return {"cmap": reading.diverging, "vmin": -limit, "vmax": limit}
    low = scores.min() if scores.size else 0.0
    limit = _style.robust_limit(scores - low)
    return {"cmap": _style.SEQUENTIAL, "vmin": low, "vmax": low + limit}


def _log_density(explainer: Any) -> Any:
    """Log density of the training rows, where the explainer is one of a density."""
    if not hasattr(explainer, "log_density"):
        return None
    with warnings.catch_warnings():
        # scikit-learn keeps the rows without the names it then misses
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        return explainer.log_density(explainer._raw_rows)
