"""The questions that InfluenceExplainer answers beside those of every explainer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skinfluence import attribution
from skinfluence._output import labelled
from skinfluence.engines import DeletionEngine, Whole, engine_of
from skinfluence.explainers.engine_backed import EngineBacked
from skinfluence.explainers.refits import rows_to_refit, some_positions
from skinfluence.metrics import Agreement


class Questions(EngineBacked):
    """Public methods of InfluenceExplainer that say what was asked; its engine answers."""

    _engine: DeletionEngine
    _example = "InfluenceExplainer(LogisticRegression())"

    def _engine_of(self, model):
        return engine_of(model)

    # -- influence --------------------------------------------------------------------------------

    def self_influence(self, rows: ArrayLike | None = None) -> Any:
        """Influence of training rows on their own value.

        Parameters
        ----------
        rows : array-like of int, default=None
            Positions of the training rows asked about; None for all.

        Returns
        -------
        scores : ndarray of shape (n_train,) or (n_rows,)
            The target (by default the loss) at each row after deleting it minus before; the
            diagonal of ``score_influence`` of the training rows, computed without that matrix.
            High: the model bends for this row. A Series labelled by ``train_index_`` where
            ``set_output`` asks for one.

        Raises
        ------
        ValueError
            If the target is the parameters, which no row has, or a position lies outside.

        Notes
        -----
        With ``solver="cg"`` or ``"lissa"`` of a network every row is a system of its own to be
        solved, where ``score_influence`` solves one a query. Where that takes too long, ask for
        some `rows`, or use ``curvature="ekfac"`` or one of the solvers that factorise.
        """
        check_is_fitted(self)
        if rows is None:
            return super().self_influence()
        rows = attribution.positions(rows, self.n_samples_fit_, "rows")
        scores = self._self_influence(rows)
        return labelled(self, scores, index=self.train_index_[rows], columns="self_influence")

    def d_params(self) -> Any:
        """Fitted parameters minus those without each row, as statsmodels and R have it.

        Returns
        -------
        d_params : ndarray of shape (n_train, n_params)
            ``theta_hat - theta_{-i}`` by this explainer's method, columns as in `param_names_`.
        """
        check_is_fitted(self)
        out = self._engine.d_params()
        return labelled(self, out, index=self.train_index_, columns=self.param_names_)

    def diagnostics(self) -> Any:
        """Classical diagnostics of the fit: leverage, residuals, Cook's distance, DFBETAS, ...

        They are those of the Newton step at the polished parameters, with the penalty in the
        Hessian, in statsmodels' names; ``hessian="expected"`` gives R's and SAS's numbers.

        Returns
        -------
        diagnostics : Diagnostics, or list of Diagnostics
            See :class:`skinfluence.diagnostics.Diagnostics`; one for each output or one-vs-rest
            class, where the estimator solves several problems.

        Raises
        ------
        UnsupportedEstimatorError
            If the loss is no deviance (support vector machines, Huber, quantiles).

        See Also
        --------
        skinfluence.displays.InfluenceBubbleDisplay : Leverage, residual and distance in a picture.
        """
        check_is_fitted(self)
        found = self._engine.diagnostics(self.train_index_)
        return found[0] if len(found) == 1 else found

    def score_groups(self, X: Any = None, y: Any = None, *, groups: Any) -> Any:
        """Influence of groups of training rows that are deleted together.

        By this explainer's method: the first-order scores of a group's rows are added; the Newton
        step is that of the objective without the whole group (not a sum of single steps), and
        ``method="refit"`` refits without it.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features), default=None
            Queries; None asks what each group does to itself.
        y : array-like of shape (n_queries,), default=None
            Their targets, where the target needs them.
        groups : array-like of shape (n_train,), or list of array-like of int
            A label for each training row, or the positions (or a mask over all rows) of each
            group, which may not hold all rows of a class.

        Returns
        -------
        scores : ndarray of shape (n_queries, n_groups), or (n_groups,) without X
            Columns follow the sorted labels, or the list. Without X, the sum over the group's own
            rows of how their value changes.

        Raises
        ------
        ValueError
            If the labels are not one a training row, a position lies outside the rows, or a group
            leaves no row.

        References
        ----------
        .. [1] P. W. Koh, K.-S. Ang, H. Teo and P. Liang (2019), On the accuracy of influence
           functions for measuring group effects, NeurIPS 32.
        """
        check_is_fitted(self)
        names, members = attribution.group_members(groups, self.n_samples_fit_)
        self._engine.check_groups(names, members)
        if X is None and not self._engine.about_parameters:
            own = self._engine.score_groups(None, names, members, progress=self.progress)
            return labelled(self, own, index=names, columns="influence")
        index, queries = self._labels_and_queries(X, y)
        scores = self._engine.score_groups(queries, names, members, progress=self.progress)
        return labelled(self, scores, index=index, columns=names)

    # -- truth ------------------------------------------------------------------------------------

    def validate(
        self,
        X: ArrayLike | None = None,
        y: ArrayLike | None = None,
        *,
        n_refits: int | None = None,
        whole_pipeline: bool = False,
        retrain: Callable[[np.ndarray], Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> Agreement:
        """Compare scores with real refits.

        Half of the deleted rows are those that move the parameters' losses most, the others are
        drawn at random. Every refit is a real one by the estimator itself, then polished like the
        fit; networks are not polished, and the values before are those of a network trained on
        all rows again.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features), default=None
            Queries; by default the training rows (at most 500 of them, drawn at random).
        y : array-like of shape (n_queries,), default=None
            Their targets.
        n_refits : int, default=None
            Number of rows to delete, at most the number of training rows; None for 20, or all
            of fewer rows.
        whole_pipeline : bool, default=False
            Refit the whole pipeline or search, where the scores hold all but the model fixed:
            measures what that costs.
        retrain : callable, default=None
            ``retrain(positions)`` returns a torch module (or fitted estimator) trained on the
            training rows at these positions, the way the explained one was, its random start
            included. A module needs it, since it cannot fit itself; scikit-learn's MLPs and
            skorch nets are cloned and fitted, from one seed where they have none.
        random_state : int, RandomState instance or None, default=None
            Draws the rows and queries.

        Returns
        -------
        agreement : Agreement
            Pearson and Spearman correlation, slope, errors and the worst row, over all pairs;
            see :class:`skinfluence.metrics.Agreement`.

        Raises
        ------
        ValueError
            If `n_refits` is out of range, `whole_pipeline` is asked of a bare model, or a module
            comes without `retrain`.
        """
        check_is_fitted(self)
        n_refits = min(20, self.n_samples_fit_) if n_refits is None else n_refits
        attribution.check_count("n_refits", n_refits, 1, self.n_samples_fit_)
        if whole_pipeline and self.estimator_ is self._model and not self._engine.searches:
            raise ValueError(
                "whole_pipeline=True needs a pipeline or search around the model, and this "
                "estimator is a bare model. Leave it False: the refits are already complete."
            )
        rng = check_random_state(random_state)
        rows = rows_to_refit(self._engine.leverage(), n_refits, rng)
        if X is None and not self._engine.about_parameters:
            chosen = some_positions(self.n_samples_fit_, rng)
            X, y = self._kind.take(self._raw_rows, self._raw_targets, chosen)
        queries, query_rows = self._queries_and_rows(X, y)
        whole = Whole(self.estimator_, self._raw_rows, self._raw_targets, X)
        return self._engine.agreement(
            queries, query_rows, rows, whole=whole if whole_pipeline else None, retrain=retrain
        )
