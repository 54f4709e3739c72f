"""Influence on supervised models that minimise a smooth objective."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skinfluence import _loops, attribution
from skinfluence._compat import Interval, StrOptions, _fit_context
from skinfluence._output import labelled
from skinfluence.deletion.linear.queries import known
from skinfluence.explainers.linear_embedding import LinearEmbedding
from skinfluence.explainers.linear_refits import linear_agreement
from skinfluence.explainers.refits import rows_to_refit, some_positions
from skinfluence.metrics import Agreement
from skinfluence.metrics._rows import take_rows
from skinfluence.objectives.search import CHOSEN


class InfluenceExplainer(  # type: ignore[call-arg]  # scikit-learn's __init_subclass__ is untyped
    LinearEmbedding, auto_wrap_output_keys=None
):
    """Influence of the training rows on a fitted linear model: what deleting each would change.

    The model minimised ``F = sum_i w_i l_i(theta) + m Omega(theta)``; its gradient and its exact
    Hessian H, penalty included, are read off the fitted estimator. Deleting row i takes away the
    gradient ``gbar_i = w_i g_i + dm_i grad Omega`` and the Hessian ``hbar_i``, and moves the
    parameters by

    - ``first_order``: ``H^-1 gbar_i``, and the target along its gradient (the influence function
      of [1]_, as a deletion in units of the loss);
    - ``newton`` [2]_: ``(H - hbar_i)^-1 gbar_i``, and the target *evaluated* at the moved
      parameters: exact for quadratic objectives, within some per cent of the change elsewhere;
    - ``refit``: to the minimum without row i, all rows at once.

    Use it to find the training rows behind a prediction (``proponents``, ``opponents``), rows that
    are mislabelled or foreign (``self_influence``, ``rank_outliers``), and the classical
    diagnostics of regression (``diagnostics``). Densities have explainers of their own. The first
    steps of a pipeline are held fixed: only the model is refitted.

    Parameters
    ----------
    estimator : estimator
        A linear model of scikit-learn, or a pipeline, search, FrozenEstimator, threshold wrapper,
        TransformedTargetRegressor or OneVsRestClassifier of one. Fitted: explained as it is.
        Unfitted: a clone is fitted.
    method : {"auto", "first_order", "newton", "refit"}, default="auto"
        How far the parameters are followed. "auto" is "newton", "first_order" where the Hessian
        is too large to be formed, and the exact linear programme for QuantileRegressor;
        `method_` says which.
    target : str or callable, default="loss"
        What a score is a change of. "loss": the query's own loss, as the estimator defines it,
        unweighted. "decision_function" or "proba": that output; the class is `output`, else the
        query's y, else the predicted one, so that what helps it has *negative* scores.
        "params", "coef:NAME": the parameters, or those called NAME; scores are then asked with
        X=None. A callable ``f(outputs, y)`` on outputs (n_rows, n_outputs) returns a value a row,
        or a tuple of that and its derivative (n_rows, n_outputs), which is taken numerically
        otherwise.
    output : label or int, default=None
        Class, or output of a regression with several, that "decision_function" and "proba" are
        about.
    hessian : {"observed", "expected"}, default="observed"
        Curvature of generalised linear models whose link is not the canonical one. "expected" is
        what R and SAS use; "observed" is nearer to a refit.
    class_weights : {"recompute", "fixed"}, default="recompute"
        Whether ``class_weight="balanced"`` follows the deletion, as a refit would have it.
    relative : {None, "parameters", "loss"}, default=None
        RelatIF [3]_: divide the scores of row i by ``|H^-1 gbar_i|`` (in the estimator's
        parameters) or by ``sqrt(gbar_i'H^-1 gbar_i)``, so that rows which move everything do not
        come first everywhere.
    smoothing : float, default=None
        Temperature t of losses with kinks: ``t log(1 + exp((1 - s) / t))`` for the hinge. None is
        0.01 (times the spread of the targets, for a regression), and for QuantileRegressor no
        smoothing: its deletions are exact.
    solver : {"auto", "dense", "cg"}, default="auto"
        Factorise the Hessian, or invert it by conjugate gradients with products by the rows.
        "auto" factorises up to 10,000 parameters.
    n_jobs : int, default=None
        Threads over blocks of queries, in joblib's sense.
    progress : bool, default=False
        Show a tqdm bar.
    random_state : int, RandomState instance or None, default=None
        Handed to the clone of an unfitted estimator where its own is None.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator: the one passed, or the fitted clone.
    method_ : {"first_order", "newton", "refit", "exact"}
        The method in use.
    stationarity_ : tuple of float
        Relative gradient of the objective at the fitted parameters, and after the private polish
        at which scores are computed: 1e-5 to 1e-2 for standardised columns and default
        tolerances, up to 0.8 for texts and unscaled columns, 0.1 to 1 for other rows. Of a loss
        that is smoothed, the first is the share of its own objective that is left to win.
    score_unit_ : str
        What a score is measured in.
    param_names_ : ndarray of str of shape (n_params,)
        Columns of ``d_params``: ``[class:]feature``, the intercept last.
    train_index_ : ndarray of shape (n_train,)
        Labels of the training rows: the index of a pandas object, else positions.
    n_samples_fit_ : int
        Number of training rows.
    n_features_in_ : int
        Number of features seen by ``fit``.
    feature_names_in_ : ndarray of str of shape (`n_features_in_`,)
        Their names, where the training rows had names.

    See Also
    --------
    KDEInfluence : Exact deletion from a kernel density.
    GMMInfluence : Deletion from a Gaussian mixture.
    KNNInfluence : Exact deletion from a nearest-neighbour density.

    Notes
    -----
    Transformers of a pipeline, the parameters that a search chose, and a penalty chosen by
    cross-validation are held fixed; ``validate(whole_pipeline=True)`` measures what that costs.

    References
    ----------
    .. [1] P. W. Koh and P. Liang (2017), Understanding black-box predictions via influence
       functions, ICML 34.
    .. [2] D. Pregibon (1981), Logistic regression diagnostics, Annals of Statistics 9.
    .. [3] E. Barshan, M.-E. Brunet and G. K. Dziugaite (2020), RelatIF: identifying explanatory
       training examples via relative influence, AISTATS 23.

    Examples
    --------
    The Newton step is exact for ridge regression:

    >>> import numpy as np
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> from skinfluence import InfluenceExplainer
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = Ridge().fit(X, y)
    >>> explainer = InfluenceExplainer(model).fit(X, y)
    >>> score = explainer.score_influence(X[:1], y[:1])[0, 7]
    >>> kept = np.arange(len(X)) != 7
    >>> refitted = Ridge().fit(X[kept], y[kept])
    >>> losses = [(y[0] - m.predict(X[:1])[0]) ** 2 for m in (refitted, model)]
    >>> bool(np.isclose(score, losses[0] - losses[1], rtol=1e-9))
    True
    """

    _parameter_constraints: dict = {
        **LinearEmbedding._parameter_constraints,
        "method": [StrOptions({"auto", "first_order", "newton", "refit"})],
        "target": [str, callable],
        "hessian": [StrOptions({"observed", "expected"})],
        "class_weights": [StrOptions({"recompute", "fixed"})],
        "relative": [None, StrOptions({"parameters", "loss"})],
        "smoothing": [None, Interval(Real, 0, None, closed="neither")],
        "solver": [StrOptions({"auto", "dense", "cg"})],
    }

    def __init__(
        self,
        estimator: Any,
        *,
        method: Literal["auto", "first_order", "newton", "refit"] = "auto",
        target: str | Callable[..., Any] = "loss",
        output: Any = None,
        hessian: Literal["observed", "expected"] = "observed",
        class_weights: Literal["recompute", "fixed"] = "recompute",
        relative: Literal["parameters", "loss"] | None = None,
        smoothing: float | None = None,
        solver: Literal["auto", "dense", "cg"] = "auto",
        n_jobs: int | None = None,
        progress: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.estimator = estimator
        self.method = method
        self.target = target
        self.output = output
        self.hessian = hessian
        self.class_weights = class_weights
        self.relative = relative
        self.smoothing = smoothing
        self.solver = solver
        self.n_jobs = n_jobs
        self.progress = progress
        self.random_state = random_state

    # -- fitting ----------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(
        self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None
    ) -> InfluenceExplainer:
        """Fit the estimator, unless it is fitted, and take its objective's derivatives.

        Parameters
        ----------
        X : array-like of shape (n_train, n_features)
            Training rows; whatever the estimator takes, sparse rows and tables included.
        y : array-like of shape (n_train,) or (n_train, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_train,), default=None
            Non-negative weights; for a fitted estimator, those it was fitted with.

        Returns
        -------
        self : InfluenceExplainer
            Fitted.

        Raises
        ------
        ValueError
            If y is missing or holds labels the estimator does not know, the rows do not fit the
            estimator, or an option does not exist for this model.
        UnsupportedEstimatorError
            If the estimator's objective is not known, or has no derivative.
        """
        return self._fit(X, y, sample_weight)

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
        out = np.empty((self.n_samples_fit_, len(self.param_names_)))
        for rows in _loops.slices(self.n_samples_fit_, self._deletion.move_block):
            moved = self._deletion.change(self._coefficients, self._deletion.delete(rows))
            out[rows] = -moved.T
        self._warn_of_rows()
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
        found = [self._diagnostics_of(part) for part in self._parts]
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
        self._check_groups(names, members)
        if X is None and self._target is not None:
            own = [self._deletion.group_self_change(rows) for rows in members]
            self._warn_of_groups(names, members)
            return labelled(self, np.array(own), index=names, columns="influence")
        index, queries = self._labels_and_queries(X, y)
        bar = _loops.progress_bar(
            members, total=len(members), enabled=self.progress, desc="score_groups"
        )
        scores = np.stack([self._deletion.group_change(queries, rows) for rows in bar], axis=1)
        attribution.check_no_nan(scores)
        self._warn_of_groups(names, members)
        return labelled(self, scores, index=index, columns=names)

    # -- truth ------------------------------------------------------------------------------------

    def validate(
        self,
        X: ArrayLike | None = None,
        y: ArrayLike | None = None,
        *,
        n_refits: int | None = None,
        whole_pipeline: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ) -> Agreement:
        """Compare scores with real refits.

        Half of the deleted rows are those that move the parameters' losses most, the others are
        drawn at random. Every refit is a real one by the estimator itself, then polished like the
        fit.

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
            If `n_refits` is out of range, or `whole_pipeline` is asked of a bare model.
        """
        check_is_fitted(self)
        n_refits = min(20, self.n_samples_fit_) if n_refits is None else n_refits
        attribution.check_count("n_refits", n_refits, 1, self.n_samples_fit_)
        bare = self.estimator_ is self._model and not isinstance(self._model, tuple(CHOSEN))
        if whole_pipeline and bare:
            raise ValueError(
                "whole_pipeline=True needs a pipeline or search around the model, and this "
                "estimator is a bare model. Leave it False: the refits are already complete."
            )
        rng = check_random_state(random_state)
        rows = rows_to_refit(self._deletion.leverage(), n_refits, rng)
        if X is None and self._target is not None:
            positions = some_positions(self.n_samples_fit_, rng)
            X, y = take_rows(self._raw_rows, positions), known(self._raw_targets)[positions]
        return linear_agreement(self, X, y, rows, whole_pipeline=whole_pipeline)
