"""Queries with their strongest proponents and opponents, as images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skinfluence.displays import _rows, _style
from skinfluence.displays._images import as_images, check_shape
from skinfluence.displays._units import Reading, unit_of

_GAP, _SECTION_GAP, _CAPTION = 0.14, 0.34, 0.3  # in widths of an image


class ImageGridDisplay:
    """Queries beside their strongest proponents and opponents, for rows that are images.

    One line per query: the query, then the `k` training rows that help it most, then the `k`
    that hurt it most, strongest first, as in figure 6 of [1]_. A frame is red where a row helps
    and blue where it hurts; the score stands below. Rows help by positive scores of a loss and by
    negative ones of an output (``score_unit``): without them the output falls.

    Build it by `from_explainer` or `from_influence`; the constructor only stores.

    Parameters
    ----------
    queries : array-like of shape (n_queries, n_pixels)
        The queries.
    X : array-like of shape (n_train, n_pixels)
        The training rows.
    proponents, opponents : tuple of (scores, indices), each of shape (n_queries, k)
        As the explainers' methods of these names return them, and the other way round for
        "decision_function" and "proba".
    image_shape : tuple of int
        ``(height, width)``, or ``(height, width, channels)`` with 3 or 4 channels.
    query_names : list of str, default=None
        Captions of the queries, e.g. their classes.
    name : str, default=None
        Title.
    score_unit : str, default="nats"
        "nats", or the explainer's ``score_unit_``: which sign is red.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where it was drawn: all images share one axes.
    figure_ : matplotlib Figure
        Its figure.
    images_ : list of list of matplotlib AxesImage
        For each query: the query, its proponents, its opponents.
    frames_ : list of list of matplotlib Rectangle
        The frames around them, in the same order.
    captions_ : list of list of matplotlib Text
        The texts below them, in the same order.

    See Also
    --------
    InfluenceDisplay : Influence on one query over two features.

    References
    ----------
    .. [1] Z. Kong and K. Chaudhuri (2021), Understanding instance-based interpretability of
       variational auto-encoders, NeurIPS 34.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.displays import ImageGridDisplay
    >>> X = np.eye(4)
    >>> display = ImageGridDisplay(
    ...     queries=X[:1],
    ...     X=X,
    ...     proponents=([[0.9]], [[0]]),
    ...     opponents=([[-0.2]], [[3]]),
    ...     image_shape=(2, 2),
    ... )
    >>> print(display.frame()[["role", "row", "score"]].to_string(index=False))
         role  row  score
    proponent    0    0.9
     opponent    3   -0.2
    """

    def __init__(
        self,
        *,
        queries: ArrayLike,
        X: ArrayLike,
        proponents: tuple[ArrayLike, ArrayLike],
        opponents: tuple[ArrayLike, ArrayLike],
        image_shape: tuple[int, ...],
        query_names: Any = None,
        name: str | None = None,
        score_unit: str = "nats",
    ) -> None:
        self.image_shape = check_shape(image_shape)
        self.queries = as_images(queries, "queries", self.image_shape)
        n_queries = self.queries.shape[0]
        self.scores, self.rows = {}, {}
        for role, (scores, indices) in (("proponent", proponents), ("opponent", opponents)):
            self.scores[role] = np.asarray(scores, dtype=np.float64)
            self.rows[role] = np.asarray(indices)
            shape = self.scores[role].shape
            if len(shape) != 2 or shape[0] != n_queries or self.rows[role].shape != shape:
                raise ValueError(
                    f"{role}s have scores of shape {shape} and indices of shape "
                    f"{self.rows[role].shape}, but both must be ({n_queries}, k). "
                    f"Pass what explainer.{role}s(queries, k=k) returns."
                )
        # only the images that are drawn: the training set may be large
        self.images = {
            role: as_images(X, "X", self.image_shape, rows) for role, rows in self.rows.items()
        }
        if query_names is not None and len(query_names) != n_queries:
            raise ValueError(
                f"query_names has {len(query_names)} entries, but there are {n_queries} queries. "
                "Pass one name per query."
            )
        self.query_names = query_names
        self.name = name
        self.score_unit = score_unit

    @classmethod
    def from_explainer(
        cls,
        explainer: Any,
        queries: Any,
        X: Any = None,
        *,
        y: Any = None,
        image_shape: tuple[int, ...],
        k: int = 4,
        query_names: Any = None,
        name: str | None = None,
        ax: Any = None,
        **plot_params: Any,
    ) -> ImageGridDisplay:
        """Compute from a fitted explainer, and draw.

        Parameters
        ----------
        explainer : fitted explainer
            With ``proponents`` and ``opponents``.
        queries : array-like of shape (n_queries, n_features)
            A few queries.
        X : array-like of shape (n_train, n_pixels), default=None
            Images of the training rows; default: the rows that the explainer was fitted on.
        y : array-like of shape (n_queries,), default=None
            Targets of the queries, where the explainer's target needs them (the loss) or asks for
            them (the class); densities ignore them.
        image_shape : tuple of int
            ``(height, width)`` or ``(height, width, channels)``.
        k : int, default=4
            How many proponents and opponents per query.
        query_names : list of str, default=None
            Captions of the queries.
        name : str, default=None
            Title; default: the class of the explainer.
        ax : matplotlib Axes, default=None
            Where to draw; default: a new figure.
        **plot_params : dict
            Further arguments of `plot`.

        Returns
        -------
        display : ImageGridDisplay
            The drawn display.
        """
        X = _rows.training_images(explainer) if X is None else X
        unit = unit_of(explainer)
        ends = explainer.proponents(queries, y, k=k), explainer.opponents(queries, y, k=k)
        proponents, opponents = ends[:: Reading(unit).helps]
        display = cls(
            queries=queries,
            X=X,
            proponents=proponents,
            opponents=opponents,
            image_shape=image_shape,
            query_names=query_names,
            name=type(explainer).__name__ if name is None else name,
            score_unit=unit,
        )
        return display.plot(ax, **plot_params)

    @classmethod
    def from_influence(
        cls,
        influence: ArrayLike,
        queries: Any,
        X: Any,
        *,
        image_shape: tuple[int, ...],
        k: int = 4,
        query_names: Any = None,
        name: str | None = None,
        score_unit: str = "nats",
        ax: Any = None,
        **plot_params: Any,
    ) -> ImageGridDisplay:
        """Draw from a matrix of scores that is already there.

        Parameters
        ----------
        influence : array-like of shape (n_queries, n_train)
            Scores; ties go to the smaller training position.
        queries : array-like of shape (n_queries, n_pixels)
            The queries.
        X : array-like of shape (n_train, n_pixels)
            The training rows.
        image_shape : tuple of int
            ``(height, width)`` or ``(height, width, channels)``.
        k : int, default=4
            How many proponents and opponents per query.
        query_names : list of str, default=None
            Captions of the queries.
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
        display : ImageGridDisplay
            The drawn display.
        """
        scores = np.asarray(influence, dtype=np.float64)
        shape = (np.shape(queries)[0], np.shape(X)[0])
        if scores.shape != shape or not 1 <= k <= shape[1]:
            raise ValueError(
                f"influence has shape {scores.shape} and k is {k}, but the queries and rows make "
                f"{shape} scores and k must lie in 1 .. {shape[1]}. Pass the matrix of these "
                "queries and rows, and a smaller k."
            )
        helps = Reading(score_unit).helps
        display = cls(
            queries=queries,
            X=X,
            proponents=_strongest(scores, k, sign=-helps),
            opponents=_strongest(scores, k, sign=helps),
            image_shape=image_shape,
            query_names=query_names,
            name=name,
            score_unit=score_unit,
        )
        return display.plot(ax, **plot_params)

    def frame(self) -> Any:
        """Return which rows are drawn, with their scores.

        Returns
        -------
        frame : pandas.DataFrame of shape (2 * n_queries * k, 5)
            ``query`` and ``row`` (positions), ``role``, ``rank`` (0 is the strongest) and
            ``score``.
        """
        import pandas as pd

        records = [
            {"query": z, "role": role, "rank": rank, "row": int(row), "score": float(score)}
            for z in range(self.queries.shape[0])
            for role in ("proponent", "opponent")
            for rank, (row, score) in enumerate(
                zip(self.rows[role][z], self.scores[role][z], strict=True)
            )
        ]
        return pd.DataFrame.from_records(records)

    def plot(
        self, ax: Any = None, *, cmap: str = "gray_r", imshow_kwargs: dict[str, Any] | None = None
    ) -> ImageGridDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; default: a new figure of fitting size.
        cmap : str, default="gray_r"
            Colour map of images without channels; all share its limits.
        imshow_kwargs : dict, default=None
            Further arguments of ``Axes.imshow``.

        Returns
        -------
        display : ImageGridDisplay
            This object.
        """
        k = self.scores["proponent"].shape[1], self.scores["opponent"].shape[1]
        height = self.image_shape[0] / self.image_shape[1]  # of an image, whose width is 1
        columns = _columns(*k)
        pitch = height + _CAPTION + 0.1
        n_queries = self.queries.shape[0]
        size = columns[-1] + 1.2, n_queries * pitch + 0.6
        self.ax_ = _style.new_axes(self, ax, (0.95 * size[0], 0.95 * size[1]))
        self.figure_ = self.ax_.figure
        draw = {"cmap": cmap, **self._limits(), **(imshow_kwargs or {})}
        self.images_, self.frames_, self.captions_ = [], [], []
        for z in range(n_queries):
            top = -z * pitch
            cells = self._cells(z)
            drawn = [
                self._draw_cell(cell, left, top, height, draw)
                for cell, left in zip(cells, columns, strict=True)
            ]
            images, frames, captions = map(list, zip(*drawn, strict=True))
            self.images_.append(images)
            self.frames_.append(frames)
            self.captions_.append(captions)
        self._head(columns, k)
        self.ax_.set(
            xlim=(-0.1, columns[-1] + 1.1),
            ylim=(-(n_queries - 1) * pitch - height - _CAPTION, 0.36),
            aspect="equal",
            title=self.name or "",
        )
        self.ax_.set_axis_off()
        return self

    def _cells(self, z: int) -> list[tuple[Any, str, str]]:
        """Image, caption and colour of the frame of each cell of line `z`."""
        caption = "" if self.query_names is None else str(self.query_names[z])
        cells = [(self.queries[z], caption, "black")]
        reading = Reading(self.score_unit)
        for role in ("proponent", "opponent"):
            for image, score in zip(self.images[role][z], self.scores[role][z], strict=True):
                cells.append((image, _caption(score), reading.colour(score)))
        return cells

    def _draw_cell(
        self, cell: tuple[Any, str, str], left: float, top: float, height: float, draw: Any
    ) -> tuple[Any, Any, Any]:
        image, caption, colour = cell
        drawn = self.ax_.imshow(image, extent=(left, left + 1, top - height, top), **draw)
        frame = self.ax_.add_patch(
            import_rectangle()((left, top - height), 1, height, fill=False, lw=2.2, ec=colour)
        )
        text = self.ax_.text(
            left + 0.5, top - height - 0.06, caption, ha="center", va="top", fontsize="small"
        )
        return drawn, frame, text

    def _head(self, columns: list[float], k: tuple[int, int]) -> None:
        """Write what the sections are above the first line."""
        starts = [0, 1, 1 + k[0]]
        ends = [0, k[0], k[0] + k[1]]
        colours = ["black", _style.PROPONENT, _style.OPPONENT]
        for title, start, end, colour in zip(
            ["query", *Reading(self.score_unit).sides], starts, ends, colours, strict=True
        ):
            centre = (columns[start] + columns[end] + 1) / 2
            self.ax_.text(centre, 0.08, title, ha="center", va="bottom", color=colour)

    def _limits(self) -> dict[str, float]:
        """Common limits of the grey values; colours are drawn as they are."""
        if len(self.image_shape) == 3:
            return {}
        shown = [self.queries, *self.images.values()]
        return {
            "vmin": min(float(images.min()) for images in shown),
            "vmax": max(float(images.max()) for images in shown),
        }


def import_rectangle() -> Any:
    """Return matplotlib's Rectangle; `plot` has made sure that it is there."""
    from matplotlib.patches import Rectangle

    return Rectangle


def _columns(n_proponents: int, n_opponents: int) -> list[float]:
    """Left edges of the images of a line, with wider gaps between the three sections."""
    first = 1 + _SECTION_GAP
    second = first + n_proponents * (1 + _GAP) - _GAP + _SECTION_GAP
    return [
        0.0,
        *(first + j * (1 + _GAP) for j in range(n_proponents)),
        *(second + j * (1 + _GAP) for j in range(n_opponents)),
    ]


def _caption(score: float) -> str:
    if np.isinf(score):
        return "+∞" if score > 0 else "\N{MINUS SIGN}∞"
    return f"{score:+.2g}".replace("-", "\N{MINUS SIGN}")


def _strongest(scores: Any, k: int, *, sign: float) -> tuple[Any, Any]:
    order = np.argsort(sign * scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), order
