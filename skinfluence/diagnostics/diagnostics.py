"""Classical diagnostics of a fitted model, in closed form."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.special import fdtrc

from skinfluence.diagnostics import measures
from skinfluence.diagnostics.deletions import moves
from skinfluence.diagnostics.likelihood import likelihood_of
from skinfluence.diagnostics.outliers import OutlierTest
from skinfluence.diagnostics.thresholds import thresholds
from skinfluence.diagnostics.working import working
from skinfluence.objectives import Objective

Array = NDArray[np.float64]

# Correlation of a parameter with a direction below which it has no part in it.
NO_PART = 1e-8


class Diagnostics:
    r"""Leverage, residuals and deletion diagnostics of all training rows of a fitted model.

    Everything follows from one Newton step per deleted row,
    :math:`\Delta_i = (H - w_i c_i x_i x_i')^{-1} w_i l'_i x_i`, with l half the deviance of a
    row, c its curvature and H the curvature of the objective: least squares with working weights
    w c and residuals -l' / c. For least squares, weighted or penalised, the step is the refit.
    With :math:`A = \sum_i w_i c_i x_i x_i'` the curvature of the data alone, h the leverage and
    r the Pearson residual,

    .. math::

        h_i = w_i c_i x_i'H^{-1}x_i, \quad k = \sum_i h_i, \quad
        D_i = \frac{\Delta_i'A\Delta_i}{k \phi}, \quad
        t_i = \frac{r_i}{\sqrt{\phi_{(i)} (1 - h_i)}}, \quad
        \mathrm{COVRATIO}_i = \frac{(\phi_{(i)} / \phi)^k}{1 - h_i},

    DFFITS is minus :math:`x_i'\Delta_i` over its standard error, and DFBETAS minus
    :math:`\Delta_i` over its own. Without a penalty these are the textbook's formulas and
    statsmodels' numbers; under a penalty k, the effective number of parameters, stands where the
    number of parameters did and :math:`\phi H^{-1}` where their covariance did.

    Use it to see which rows of a regression deserve a second look. It says what deleting *one*
    row does to *this* model's fit: groups of rows can hide one another, and the influence on a
    query's loss is what the explainers score.

    Parameters
    ----------
    objective : Objective
        What the model minimised, with one output or the softmax of several.
    theta : ndarray of shape (P, K)
        Its minimum, in the coordinates of `objective`.
    expected : bool, default=False
        Use the curvature that is expected under the model, as R, SAS and statsmodels'
        ``get_influence(observed=False)`` do. It differs from the observed one for links that are
        not canonical (Gamma and Tweedie regression), and deletes less accurately.
    param_names : array-like of str of shape (p,) or None, default=None
        Names of the coefficients and, last, the intercept; or of all K p parameters.
    row_labels : array-like of shape (n,) or None, default=None
        Names of the rows; their positions by default.
    class_names : array-like of shape (K,) or None, default=None
        Names of the classes of a softmax; parameters are then called ``class:name``.

    Attributes
    ----------
    leverage : ndarray of shape (n,)
        h; for K classes the trace of the row's K x K block. Sums to `n_effective_params`.
    resid : ndarray of shape (n,) or (n, K)
        Target minus fitted mean.
    resid_pearson : ndarray of shape (n,)
        Residual over its standard deviation at dispersion 1, weights included. For K classes the
        root of the row's part of Pearson's statistic, which has no sign.
    resid_studentized_internal, resid_studentized_external : ndarray of shape (n,)
        Pearson residuals over sqrt(phi (1 - h)), and over sqrt(phi_(i) (1 - h)).
    resid_press : ndarray of shape (n,) or (n, K)
        Residual of the row under the model without it.
    cooks_distance : ndarray of shape (n,)
        D. statsmodels' attribute is a pair with the p-values; these are `cooks_pvalue`.
    dffits, dffits_internal : ndarray of shape (n,)
        Change of the row's own output in standard errors, with phi_(i) and with phi; for K
        classes a distance.
    cov_ratio : ndarray of shape (n,)
        Determinant of the parameters' covariance without the row over that with it.
    d_params : ndarray of shape (n, p)
        **Fitted parameters minus those without the row**, statsmodels' sign; for K classes
        (n, K p), class by class. Computed when first asked, as is `dfbetas`.
    dfbetas : ndarray of shape (n, p)
        `d_params` over standard errors; least squares uses phi_(i) in them and other models phi,
        as statsmodels' OLS and GLM do.
    params, bse : ndarray of shape (p,)
        Fitted parameters, and the roots of the diagonal of phi H^-1.
    scale : float
        phi: 1 for logistic and Poisson regression, else Pearson's statistic over `df_resid`.
    n_effective_params : float
        k: the rank, or tr(H^-1 A) under a penalty.
    df_resid : float
        `n_rows` less k.
    n_rows : int
        Rows of positive weight.
    param_names, row_labels : ndarray
        Names.
    expected : bool
        As given.

    See Also
    --------
    OutlierTest : What `outlier_test` returns.
    skinfluence.InfluenceExplainer : Its ``diagnostics`` makes these of a fitted estimator.

    Notes
    -----
    Sample weights are inverse variances (statsmodels' WLS and ``var_weights``, R's ``weights``),
    not counts. Rows of weight zero have leverage and influence 0 and are no degrees of freedom.
    Deleting a row lowers the penalty of estimators that minimise a *mean* loss, as a refit does.
    Class weights are held, also "balanced" ones. Parameters held at zero (Lasso) or at a bound
    stay there.

    phi_(i) is the dispersion of the refit for least squares, penalised or not, and
    ``(chi2 - r^2 / (1 - h)) / (df_resid - 1)`` for other models, 1 where it is known.

    A row of leverage 1 alone determines a direction: its studentised residuals, distances and the
    parameters that it determines are infinite. Without degrees of freedom `scale`, and what is
    divided by it, is NaN. Where a fit is perfect up to rounding, scaled statistics are 0.

    Time is that of a weighted Gram matrix and a product of the rows with a p x p matrix; memory
    is O(n) until `d_params` or `dfbetas` are asked for. Ill-conditioned rows cost a blockwise QR.

    References
    ----------
    .. [1] D. A. Belsley, E. Kuh and R. E. Welsch (1980), Regression diagnostics, Wiley.
    .. [2] R. D. Cook and S. Weisberg (1982), Residuals and influence in regression, Chapman &
       Hall.
    .. [3] D. Pregibon (1981), Logistic regression diagnostics, Annals of Statistics 9, 705-724.

    Examples
    --------
    Cook's distance is how far a refit without the row moves the fitted values:

    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from skinfluence.diagnostics import Diagnostics
    >>> from skinfluence.objectives import Rows, build, reader_of
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0], [9.0]])
    >>> y = np.array([0.1, 0.9, 2.2, 2.8, 5.0])
    >>> model = LinearRegression().fit(X, y)
    >>> fit = reader_of(model).read(model, Rows(X, y, np.ones(5)))
    >>> diagnostics = Diagnostics(*build(fit.problems[0], X))
    >>> without = LinearRegression().fit(X[:4], y[:4])
    >>> moved = np.sum((model.predict(X) - without.predict(X)) ** 2)
    >>> print(round(moved / (2 * diagnostics.scale), 6), round(diagnostics.cooks_distance[4], 6))
    15.952532 15.952532
    """

    def __init__(
        self,
        objective: Objective,
        theta: Array,
        *,
        expected: bool = False,
        param_names: ArrayLike | None = None,
        row_labels: ArrayLike | None = None,
        class_names: ArrayLike | None = None,
    ):
        likelihood = likelihood_of(objective.loss)
        self.expected = expected
        self._working = working(objective, theta, likelihood, expected=expected)
        self._name(theta, param_names, row_labels, class_names)
        self._measure()

    def _name(self, theta, param_names, row_labels, class_names):
        objective = self._working.objective
        parameters = objective.coordinates.to_user(theta)
        n_params, n_outputs = parameters.shape
        self.params = parameters.T.ravel()
        names = _default_names(objective, n_params) if param_names is None else param_names
        names = [str(name) for name in np.asarray(names).tolist()]
        if n_outputs > 1 and len(names) == n_params:
            classes = range(n_outputs) if class_names is None else np.asarray(class_names).tolist()
            names = [f"{label}:{name}" for label in classes for name in names]
        n = objective.n_train
        self.row_labels = np.arange(n) if row_labels is None else np.asarray(row_labels)
        self.param_names = np.array(names)
        _check_length(self.param_names, len(self.params), "param_names and class_names name")
        _check_length(self.row_labels, n, "row_labels names")

    def _measure(self):
        working = self._working
        steps = measures.delete_all(working)
        self._undetermined = steps.undetermined
        self.leverage = steps.leverage
        self.resid = measures.response_residuals(working)
        self.resid_pearson = measures.pearson_residuals(working)
        scale = measures.scales(working, steps, self.resid_pearson)
        self.scale, self.df_resid, self.n_rows = scale.whole, scale.df_resid, scale.n_rows
        self._scale_without = scale.without
        self.n_effective_params = working.basis.n_effective
        whole = np.full_like(scale.without, scale.whole)
        pearson = self.resid_pearson
        self.resid_studentized_internal = measures.studentised(working, steps, pearson, whole)
        self.resid_studentized_external = measures.studentised(
            working, steps, pearson, scale.without
        )
        press = measures.response_residuals(working, steps.own)
        press[self._undetermined] = np.copysign(np.inf, self.resid[self._undetermined])
        self.resid_press = press
        self.cooks_distance = measures.cooks(working, steps, scale.whole)
        self.dffits_internal = measures.fit_changes(working, steps, whole)
        self.dffits = measures.fit_changes(working, steps, scale.without)
        self.cov_ratio = measures.covariance_ratios(working, steps, scale)

    @property
    def hat_matrix_diag(self) -> Array:
        """`leverage`, under statsmodels' name."""
        return self.leverage

    @property
    def resid_studentized(self) -> Array:
        """`resid_studentized_internal`, under statsmodels' name."""
        return self.resid_studentized_internal

    @property
    def dfbeta(self) -> Array:
        """`d_params`, under statsmodels' name."""
        return self.d_params

    @property
    def cooks_pvalue(self) -> Array:
        """P-values of Cook's distance in F(k, df_resid), as statsmodels gives them, (n,)."""
        return fdtrc(self.n_effective_params, self.df_resid, self.cooks_distance)

    @cached_property
    def _user_basis(self) -> Array:
        """The basis in the user's parameters, (K p, r)."""
        working = self._working
        n_outputs = working.objective.n_outputs
        vectors = working.basis.vectors.reshape(-1, n_outputs, working.basis.vectors.shape[1])
        lifted = [working.objective.coordinates.to_user(vectors[:, k]) for k in range(n_outputs)]
        return np.vstack(lifted)

    @cached_property
    def bse(self) -> Array:
        """Standard errors of the parameters, the roots of phi H^-1's diagonal, (p,)."""
        return np.sqrt(self.scale) * self._unscaled_errors

    @cached_property
    def _unscaled_errors(self) -> Array:
        return np.sqrt(np.square(self._user_basis).sum(axis=1))

    @cached_property
    def d_params(self) -> Array:
        """Fitted parameters minus those without each row, (n, p); computed when first asked."""
        changes = np.empty((self._working.objective.n_train, len(self.params)))
        for block in self._working.blocks():
            changes[block] = self._changes(block)
        return changes

    def _changes(self, rows):
        """`d_params` of some rows, by slice or positions."""
        changes = moves(self._working, rows) @ -self._user_basis.T
        for place in np.flatnonzero(self._undetermined[rows]):
            changes[place] = self._only_from(np.arange(len(self._undetermined))[rows][place])
        return changes

    def _only_from(self, row):
        """Infinite for the parameters that `row` alone determines; it does not move the others."""
        rows = self._working.rows(slice(row, row + 1))[0]
        directions = self._user_basis @ np.atleast_2d(rows).T
        part = np.abs(directions).max(axis=1)
        size = self._unscaled_errors * np.sqrt(np.square(rows).sum())
        sign = np.sign(directions[:, 0]) * measures.residual_sign(self._working)[row]
        return np.where(part > NO_PART * size, np.copysign(np.inf, sign), 0.0)

    @cached_property
    def dfbetas(self) -> Array:
        """`d_params` over standard errors, (n, p); computed when first asked."""
        changes = self.d_params
        if self.scale == 0.0:  # a perfect fit, whose changes are rounding
            return np.where(np.isinf(changes), changes, 0.0)
        quadratic = self._working.likelihood.gaussian
        scale = self._scale_without if quadratic else np.full(len(changes), self.scale)
        # A parameter that is held (a zero of the lasso) has no error and does not move.
        errors = np.where(self._unscaled_errors > 0, self._unscaled_errors, 1.0)
        scaled = changes / errors
        with np.errstate(divide="ignore", invalid="ignore"):
            scaled /= np.sqrt(scale)[:, None]
        perfect = np.flatnonzero(scale == 0.0)  # without such a row: every move is an infinite one
        scaled[perfect] = np.where(changes[perfect] == 0.0, 0.0, scaled[perfect])
        return scaled

    def params_without(self, rows: ArrayLike) -> Array:
        """Return the parameters of the fits without single rows.

        Parameters
        ----------
        rows : int or array-like of int of shape (b,)
            Positions of training rows.

        Returns
        -------
        params : ndarray of shape (p,) or (b, p)
            Exact for quadratic losses, one Newton step for others.
        """
        rows = np.asarray(rows)
        return (self.params - self._changes(rows.ravel())).reshape(*rows.shape, -1)

    def outlier_test(self, method: str = "bonferroni") -> OutlierTest:
        """Test the largest residuals.

        Parameters
        ----------
        method : {"bonferroni", "holm", "fdr_bh"}, default="bonferroni"
            Correction for the number of rows.

        Returns
        -------
        test : OutlierTest
            Of externally studentised residuals: t with one degree of freedom less than
            `df_resid`, normal where the dispersion is known, and chi with K - 1 degrees of
            freedom for K classes.
        """
        size = np.abs(self.resid_studentized_external)
        if not self._working.likelihood.estimated:
            degrees = max(self._working.objective.n_outputs - 1, 1)
            p = stats.chi2.sf(size**2, degrees)
        elif self.df_resid > 1:
            p = 2.0 * stats.t.sf(size, self.df_resid - 1)
        else:
            p = np.full_like(size, np.nan)
        return OutlierTest.of(
            self.resid_studentized_external, p, method=method, row_labels=self.row_labels
        )

    def thresholds(self) -> dict[str, dict[str, float]]:
        """Return the usual thresholds by name.

        Returns
        -------
        thresholds : dict of dict of float
            ``thresholds()["cooks_distance"]["4/n"]``; NaN where one does not exist.
        """
        return thresholds(self.n_effective_params, self.n_rows, self.df_resid)

    def summary_frame(self) -> Any:
        """Return statsmodels' table: one row a training row, its columns in their order.

        Returns
        -------
        frame : pandas.DataFrame
            ``dfb_<name>`` for each parameter, ``cooks_d``, ``standard_resid``, ``hat_diag``,
            ``dffits_internal``; for quadratic losses also ``student_resid`` and ``dffits``.
        """
        import pandas as pd

        columns = {f"dfb_{name}": self.dfbetas[:, j] for j, name in enumerate(self.param_names)}
        columns |= {
            "cooks_d": self.cooks_distance,
            "standard_resid": self.resid_studentized_internal,
            "hat_diag": self.leverage,
            "dffits_internal": self.dffits_internal,
        }
        if self._working.likelihood.gaussian:
            columns["student_resid"] = self.resid_studentized_external
            columns["dffits"] = self.dffits
        return pd.DataFrame(columns, index=self.row_labels)


def _default_names(objective, n_params):
    p = n_params - objective.coordinates.intercept
    names = [f"x{j}" for j in range(p)]
    return [*names, "intercept"] if objective.coordinates.intercept else names


def _check_length(names, expected, what):
    if len(names) != expected:
        raise ValueError(
            f"{what} {len(names)}, but there are {expected}. Name each of them, in their order "
            "(coefficients first, then the intercept), or none."
        )
