"""Detection curves of one or several scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skinfluence.base import BaseInfluence
from skinfluence.displays import _style
from skinfluence.displays._units import Reading, unit_of
from skinfluence.metrics import detection_auc, detection_curve

# Okabe and Ito's palette, safe under colour blindness; dashes tell the curves apart in grey too.
_COLOURS = ["#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]
_DASHES: list[Any] = [
    "-",
    (0, (5, 1.5)),
    (0, (3, 1, 1, 1)),
    (0, (1.5, 1)),
    (0, (7, 2, 1, 2, 1, 2)),
]


class DetectionCurveDisplay:
    """Fraction of planted rows found against fraction of rows checked, for several scores.

    How much checking a score saves, as in figure 17 of [1]_: the higher the curve the fewer rows
    have to be looked at. Always draw the trivial baselines beside it (likelihood, distance,
    random); the diagonal and the ideal curve are there anyway.

    Build it by `from_explainer` or `from_influence`; the constructor only stores.

    Parameters
    ----------
    is_bad : array-like of shape (n_train,)
        Booleans: the rows to be found.
    scores : mapping of str to array-like of shape (n_train,)
        Name and score of each curve, high means suspicious; the first is drawn heaviest.

    Attributes
    ----------
    auc : dict of str to float
        Area under each detection curve (:func:`skinfluence.metrics.detection_auc`, which is not
        the area under the ROC curve).
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        Its figure.
    lines_ : list of matplotlib Line2D
        One per score, in order.
    chance_ : matplotlib Line2D
        The diagonal: rows checked in random order.
    ideal_ : matplotlib Line2D
        All planted rows first.

    See Also
    --------
    skinfluence.metrics.detection_curve : The numbers.
    SelfInfluenceDisplay : The score that is usually judged.

    References
    ----------
    .. [1] Z. Kong and K. Chaudhuri (2021), Understanding instance-based interpretability of
       variational auto-encoders, NeurIPS 34.

    Examples
    --------
    >>> from skinfluence.displays import DetectionCurveDisplay
    >>> is_bad = [True, False, False, False]
    >>> display = DetectionCurveDisplay(is_bad=is_bad, scores={"perfect": [4, 3, 2, 1]})
    >>> display.auc  # 1 - p / 2 with p = 1/4 is the best there is
    {'perfect': 0.875}
    """

    def __init__(self, *, is_bad: ArrayLike, scores: Mapping[str, ArrayLike]) -> None:
        if not isinstance(scores, Mapping) or not scores:
            raise ValueError(
                f"scores is {type(scores).__name__}, but it must map the name of each curve to "
                "its scores. Pass e.g. {'self influence': scores}."
            )
        self.curves = {str(name): detection_curve(is_bad, s) for name, s in scores.items()}
        self.auc = {str(name): detection_auc(is_bad, s) for name, s in scores.items()}
        self.fraction_bad = float(np.mean(np.asarray(is_bad, dtype=bool)))

    @classmethod
    def from_explainer(
        cls,
        explainer: Any,
        is_bad: ArrayLike,
        *,
        baselines: Mapping[str, ArrayLike] | None = None,
        name: str | None = None,
        ax: Any = None,
        **plot_params: Any,
    ) -> DetectionCurveDisplay:
        """Compute what a fitted explainer ranks rows by, and draw beside the baselines.

        The curve is that of the order of ``rank_outliers``: self influence, or its size where the
        score is no loss but an output; of RepresenterExplainer the size of alpha.

        Parameters
        ----------
        explainer : fitted explainer
            With ``self_influence`` and ``rank_outliers``.
        is_bad : array-like of shape (n_train,)
            Booleans: the training rows to be found.
        baselines : mapping of str to array-like of shape (n_train,), default=None
            Other scores, high means suspicious, e.g.
            ``{"negative log density": -explainer.log_density(X)}``, or the loss of each row.
        name : str, default=None
            Name of the explainer's curve; default: its class.
        ax : matplotlib Axes, default=None
            Where to draw; default: a new figure.
        **plot_params : dict
            Further arguments of `plot`.

        Returns
        -------
        display : DetectionCurveDisplay
            The drawn display.
        """
        name = type(explainer).__name__ if name is None else name
        if isinstance(explainer, BaseInfluence):
            check_is_fitted(explainer)
            score = explainer._suspicion()
        else:
            score = Reading(unit_of(explainer)).strength(explainer.self_influence())
        scores = {name: score, **(baselines or {})}
        return cls(is_bad=is_bad, scores=scores).plot(ax, **plot_params)

    @classmethod
    def from_influence(
        cls,
        is_bad: ArrayLike,
        scores: Mapping[str, ArrayLike] | ArrayLike,
        *,
        name: str = "self influence",
        ax: Any = None,
        **plot_params: Any,
    ) -> DetectionCurveDisplay:
        """Draw scores that are already there.

        Parameters
        ----------
        is_bad : array-like of shape (n_train,)
            Booleans: the rows to be found.
        scores : array-like of shape (n_train,), or mapping of str to such
            One score, or several by name.
        name : str, default="self influence"
            Name of the curve where there is one.
        ax : matplotlib Axes, default=None
            Where to draw; default: a new figure.
        **plot_params : dict
            Further arguments of `plot`.

        Returns
        -------
        display : DetectionCurveDisplay
            The drawn display.
        """
        by_name = scores if isinstance(scores, Mapping) else {name: scores}
        return cls(is_bad=is_bad, scores=by_name).plot(ax, **plot_params)

    def frame(self) -> Any:
        """Return the points of all curves.

        Returns
        -------
        frame : pandas.DataFrame of shape (n_points, 3)
            ``name``, ``fraction_checked`` and ``fraction_found``.
        """
        import pandas as pd

        parts = [
            pd.DataFrame({"name": name, "fraction_checked": checked, "fraction_found": found})
            for name, (checked, found) in self.curves.items()
        ]
        return pd.concat(parts, ignore_index=True)

    def plot(
        self,
        ax: Any = None,
        *,
        title: str | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> DetectionCurveDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; default: a new figure.
        title : str, default=None
            Title.
        line_kwargs : dict, default=None
            Further arguments of ``Axes.plot`` for all curves.

        Returns
        -------
        display : DetectionCurveDisplay
            This object.
        """
        place = self._legend_place()
        width = 7.6 if "bbox_to_anchor" in place else 5.4
        self.ax_ = _style.new_axes(self, ax, (width, 5.0))
        self.figure_ = self.ax_.figure
        self._draw_curves(line_kwargs or {})
        self._draw_references()
        self.ax_.set(
            xlabel="fraction of rows checked",
            ylabel="fraction of planted rows found",
            xlim=(-0.01, 1.01),
            ylim=(-0.01, 1.02),
            aspect="equal",
            title=title or "",
        )
        self.ax_.legend(
            title="area under the detection curve",
            fontsize="small",
            title_fontsize="small",
            alignment="left",
            frameon=False,
            **place,
        )
        return self

    def _draw_curves(self, line_kwargs: dict[str, Any]) -> None:
        self.lines_ = []
        for place, (name, (checked, found)) in enumerate(self.curves.items()):
            style = {
                "color": _COLOURS[place % len(_COLOURS)],
                "linestyle": _DASHES[place % len(_DASHES)],
                "linewidth": 2.8 if place == 0 else 1.8,
                "zorder": 3 + 0.1 * place,  # thin over heavy: equal curves are both seen
                "label": f"{name} ({self.auc[name]:.3f})",
            }
            self.lines_ += self.ax_.plot(checked, found, **style | line_kwargs)

    def _draw_references(self) -> None:
        p = self.fraction_bad
        style = {"color": _style.MUTED, "linewidth": 1.2, "zorder": 1}
        (self.ideal_,) = self.ax_.plot(
            [0, p, 1], [0, 1, 1], linestyle="--", label=f"ideal ({1 - p / 2:.3f})", **style
        )
        (self.chance_,) = self.ax_.plot(
            [0, 1], [0, 1], linestyle=":", label="random (0.500)", **style
        )

    def _legend_place(self) -> dict[str, Any]:
        """Below the diagonal where no curve goes there, else beside the axes."""
        grid = np.linspace(0.4, 1.0, 50)  # the corner that six entries need
        sinks = any(
            (np.interp(grid, checked, found) < 0.38).any()
            for checked, found in self.curves.values()
        )
        if sinks or len(self.curves) > 4:
            return {"loc": "upper left", "bbox_to_anchor": (1.02, 1.0)}
        return {"loc": "lower right"}
