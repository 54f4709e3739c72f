"""The questions that RepresenterExplainer answers beside those of every explainer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skinfluence import _loops, attribution
from skinfluence._output import labelled
from skinfluence.engines.representers import (
    Reconstruction,
    RepresenterEngine,
    representer_engine_of,
)
from skinfluence.explainers.engine_backed import EngineBacked


@dataclass(frozen=True)
class _Asked:
    """Targets of queries and the class that is asked about, on their way through the template."""

    y: Any
    target_class: Any = None


class Representing(EngineBacked):
    """Public methods of RepresenterExplainer that say what was asked; its engine answers."""

    _engine: RepresenterEngine
    _example = "RepresenterExplainer(LogisticRegression())"

    def _engine_of(self, model):
        return representer_engine_of(model)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if self.mode == "pretrained":
            tags.target_tags.required = False
        return tags

    def _queries(self, X, y=None):
        check_is_fitted(self)
        asked = y if isinstance(y, _Asked) else _Asked(y)
        rows = None if X is None else self._model_rows(X)
        targets = asked.y
        if targets is not None:
            targets = self._kind.model_targets(self.estimator_, targets)
        return self._engine.queries(rows, targets, asked.target_class)

    def _suspicion(self):
        return self._engine.suspicion()

    # -- values -----------------------------------------------------------------------------------

    def score_influence(
        self,
        X: ArrayLike,
        y: Any = None,
        *,
        target_class: Any = None,
        out: Any = None,
        reduce: Literal["mean", "sum"] | None = None,
        return_report: bool = False,
    ) -> Any:
        """Representer value of every training row at each query.

        ``scores[z, i]`` is what training row i adds to the output of the layer at query z, for
        the class that is asked about: positive for rows that *excite* it, negative for those that
        *inhibit* it. A row of scores and ``intercept_`` add up to that output; two classes share
        one output, and for the first both count with a minus (scores less ``intercept_``). They
        are no deletion scores.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Queries, in the same columns as the training rows.
        y : array-like of shape (n_queries,), default=None
            Labels of the queries, where the values are to be about these; regressions ignore it.
        target_class : label or int, or array-like of shape (n_queries,), default=None
            Class, or number of an output, that the values are about; one for each query or for
            all. None for ``output``, else for `y`, else for the predicted class.
        out : array-like of shape (n_queries, n_train), default=None
            Where to write the scores: an array, a memmap, or anything with slice assignment.
        reduce : {None, "mean", "sum"}, default=None
            Mean or sum over the queries, computed without the matrix.
        return_report : bool, default=False
            Also return how the scores were reached.

        Returns
        -------
        scores : ndarray of shape (n_queries, n_train), or (n_train,) with `reduce`
            In units of the output. `out` itself where it was given, else a frame labelled by
            ``train_index_`` where ``set_output`` asks for one.
        report : dict
            Only with `return_report`.

        Raises
        ------
        ValueError
            If the class is none of the model's, a regression has several outputs and none is
            named, the columns differ from the training rows', or `out` does not fit.
        """
        return super().score_influence(
            X, _Asked(y, target_class), out=out, reduce=reduce, return_report=return_report
        )

    def proponents(
        self,
        X: ArrayLike,
        y: Any = None,
        *,
        k: int = 10,
        target_class: Any = None,
        return_scores: bool = True,
    ) -> Any:
        """Training rows that excite each query most.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Queries.
        y : array-like of shape (n_queries,), default=None
            As for :meth:`score_influence`.
        k : int, default=10
            Rows a query, at most the number of training rows.
        target_class : label or int, or array-like of shape (n_queries,), default=None
            As for :meth:`score_influence`.
        return_scores : bool, default=True
            Whether to return the scores beside the positions.

        Returns
        -------
        scores : ndarray of shape (n_queries, k)
            The k largest values of each query, largest first. Only with `return_scores`.
        indices : ndarray of int of shape (n_queries, k)
            Positions of these training rows; ties go to the smaller position.

        Raises
        ------
        ValueError
            If `k` is not between 1 and the number of training rows.
        """
        return super().proponents(X, _Asked(y, target_class), k=k, return_scores=return_scores)

    def opponents(
        self,
        X: ArrayLike,
        y: Any = None,
        *,
        k: int = 10,
        target_class: Any = None,
        return_scores: bool = True,
    ) -> Any:
        """Training rows that inhibit each query most.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Queries.
        y : array-like of shape (n_queries,), default=None
            As for :meth:`score_influence`.
        k : int, default=10
            Rows a query, at most the number of training rows.
        target_class : label or int, or array-like of shape (n_queries,), default=None
            As for :meth:`score_influence`.
        return_scores : bool, default=True
            Whether to return the scores beside the positions.

        Returns
        -------
        scores : ndarray of shape (n_queries, k)
            The k smallest values of each query, smallest first. Only with `return_scores`.
        indices : ndarray of int of shape (n_queries, k)
            Positions of these training rows; ties go to the smaller position.

        Raises
        ------
        ValueError
            If `k` is not between 1 and the number of training rows.
        """
        return super().opponents(X, _Asked(y, target_class), k=k, return_scores=return_scores)

    def score_groups(
        self, X: ArrayLike, y: Any = None, *, groups: Any, target_class: Any = None
    ) -> Any:
        """Sum of the representer values over groups of training rows.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Queries.
        y : array-like of shape (n_queries,), default=None
            As for :meth:`score_influence`.
        groups : array-like of shape (n_train,), or list of array-like of int
            A label for each training row, or the positions of the rows of each group.
        target_class : label or int, or array-like of shape (n_queries,), default=None
            As for :meth:`score_influence`.

        Returns
        -------
        scores : ndarray of shape (n_queries, n_groups)
            What each group adds to the output. Columns follow the sorted labels, or the list.

        Raises
        ------
        ValueError
            If the labels are not one a training row, or a position lies outside the rows.
        """
        return super().score_groups(X, _Asked(y, target_class), groups=groups)

    # -- training rows ----------------------------------------------------------------------------

    def self_influence(self) -> Any:
        """Representer value of every training row at itself, for its own class.

        Returns
        -------
        scores : ndarray of shape (n_train,)
            ``alpha_i f_i'f_i`` of the class that the row has (of a model explained without
            targets, the predicted one; of a regression, its ``output``). A Series labelled by
            ``train_index_`` where ``set_output`` asks for one.

        Raises
        ------
        ValueError
            If a regression has several outputs and ``output`` names none.

        See Also
        --------
        rank_outliers : Which rows the layer does not fit.
        """
        return super().self_influence()

    def rank_outliers(self, n: int | None = None) -> np.ndarray:
        """Rank the training rows by how strongly the layer is pulled by their own target.

        In mode "trained" that is their label, and wrong labels come first. In mode "pretrained"
        it is the model's own output: rows come first whose outputs the refitted layer misses
        most, whatever their labels, and a network that has learned a wrong label by heart hides
        it. Look for wrong labels by mode="trained", which takes an `l2` for most networks.

        Parameters
        ----------
        n : int, default=None
            How many rows to return; None for all.

        Returns
        -------
        positions : ndarray of int of shape (n,)
            By descending size of alpha for the row's own class (of a regression, of its length
            over the outputs), which is large for rows that the layer does not fit. Ties go to the
            smaller position.

        Raises
        ------
        ValueError
            If `n` is negative or larger than the number of training rows.
        """
        return super().rank_outliers(n)

    def global_importance(self, target_class: Any = None) -> Any:
        """How strongly each training row is used, whatever the query.

        Parameters
        ----------
        target_class : label or int, default=None
            Class or number of an output; None for all of them.

        Returns
        -------
        importance : ndarray of shape (n_train,)
            Length of a row's alpha over the outputs; with `target_class`, its signed alpha: rows
            above 0 excite queries like them, rows below inhibit them.

        Raises
        ------
        ValueError
            If the class is none of the model's.
        """
        check_is_fitted(self)
        importance = self._engine.global_importance(target_class)
        return labelled(self, importance, index=self.train_index_, columns="importance")

    # -- derivatives ------------------------------------------------------------------------------

    def sensitivity(
        self,
        X: ArrayLike,
        y: Any = None,
        *,
        target_class: Any = None,
        rows: ArrayLike | None = None,
        n_samples: int = 0,
        noise: float = 0.1,
        random_state: int | np.random.RandomState | None = None,
    ) -> np.ndarray:
        """Derivative of representer values in the inputs of the queries.

        ``alpha_i d(f_i'f_z)/dz``: which parts of a query make it like training row i. Their sum
        over all rows is the derivative of the layer's output (Yeh et al. 2018, section 4.4).

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Queries.
        y : array-like of shape (n_queries,), default=None
            As for :meth:`score_influence`.
        target_class : label or int, or array-like of shape (n_queries,), default=None
            As for :meth:`score_influence`.
        rows : array-like of int, default=None
            Positions of the training rows; None for all.
        n_samples : int, default=0
            Draws of SmoothGrad: the derivatives are averages over that many noisy copies of each
            query. 0 for the derivatives at the queries.
        noise : float, default=0.1
            Standard deviation of the noise, in units of the range of a query's inputs.
        random_state : int, RandomState instance or None, default=None
            Draws the noise.

        Returns
        -------
        slopes : ndarray of shape (n_queries, n_rows, n_features)
            Or with whatever shape the input of one row has. Behind the transformers of a
            pipeline, in the inputs of the model.

        Raises
        ------
        ValueError
            If a position lies outside, `n_samples` is no integer, or the result does not fit
            scikit-learn's ``working_memory`` and `rows` is None.

        Notes
        -----
        For a linear model the kernel is linear, and the derivative is the training row itself
        times its alpha, whatever the query.
        """
        queries = self._queries(X, _Asked(y, target_class))
        if n_samples != int(n_samples) or n_samples < 0 or noise < 0:
            raise ValueError(
                f"n_samples={n_samples!r} and noise={noise!r} must not be negative, and the "
                "number of draws an integer. Pass n_samples=0 for no noise."
            )
        size = self._engine.input_size(queries) * self.n_samples_fit_
        if rows is None and 8.0 * queries.shape[0] * size > _loops.memory_budget():
            raise ValueError(
                f"The derivatives of {queries.shape[0]} queries for all {self.n_samples_fit_} "
                "rows do not fit working_memory. Pass rows=, such as those of proponents()."
            )
        at = np.arange(self.n_samples_fit_) if rows is None else rows
        at = attribution.positions(at, self.n_samples_fit_, "rows")
        return self._engine.sensitivity(
            queries, at, n_samples=int(n_samples), noise=noise, random_state=random_state
        )

    # -- truth ------------------------------------------------------------------------------------

    def validate(self, X: ArrayLike | None = None) -> Reconstruction:
        """Compare the layer that is explained with the model, and sums of values with its outputs.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features), default=None
            Queries; None for the training rows, whose comparison is ``reconstruction_``.

        Returns
        -------
        reconstruction : Reconstruction
            ``pearson`` and ``worst_error`` of the outputs, ``activated_pearson`` and
            ``activated_worst_error`` of probabilities, and the ``decomposition_error`` of the
            sums of values.
        """
        check_is_fitted(self)
        if X is None:
            return self._engine.reconstruction
        return self._engine.compared(self._engine.features_of(self._model_rows(X)))
