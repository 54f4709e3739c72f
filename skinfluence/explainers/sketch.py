"""Influence of rows on regressions with more features than a Hessian can have."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, Literal

import numpy as np

from skinfluence._compat import HasMethods, Interval, StrOptions
from skinfluence.explainers.sketching import Sketching


class InfluenceSketch(Sketching):
    r"""Generalised Cook's distance of the training rows, in a random subspace of the features.

    What a row does to a linear model depends on its leverage, and leverages on the inverse of a
    p x p matrix. Influence sketching [1]_ projects the rows to a few random components, where the
    matrix is small. With V the working weights (of the log-loss p (1 - p), of squares 1) and r the
    residuals over their standard deviations,

    .. math::

        Z = V^{1/2} X \Omega, \quad
        h_i = z_i' (Z'Z + \lambda \Omega'\Omega)^{-1} z_i, \quad
        c_i = \frac{r_i^2 h_i}{1 - h_i},

    in two passes over blocks of rows, which may be sparse and need not be in memory. The
    intercept is a column of its own beside the projected ones, and :math:`\lambda` is the
    estimator's l2 penalty, without which leverages would be too large.

    **A sketch shrinks leverages.** It is the fit restricted to a subspace, so that no leverage
    comes out above its true value, and together they are `n_components` where they should be the
    number of features: `shrinkage_` is that factor. Where features are many times the components
    the differences between rows shrink further than the mean, and what is left of c is mostly the
    residual: compare with the ranking by squared residuals alone before trusting the ranking.

    Use it for linear models of tens of thousands of features and more, or of rows that do not fit
    into memory. Up to a few thousand features ``InfluenceExplainer(...).diagnostics()`` is exact,
    and with `n_components` of at least the number of features it is what this computes, given the
    same `hessian` (whose default there is "observed") and, of an l1 penalty, "active" `features`.
    Features count as they are, and so should be on one scale.

    Parameters
    ----------
    estimator : estimator
        A linear model with a loss that has curvature, or a pipeline, search or FrozenEstimator of
        one: LogisticRegression, Poisson-, Gamma- and TweedieRegressor, LinearRegression, Ridge,
        RidgeClassifier, Lasso, ElasticNet, the SGD estimators, LinearSVC, LinearSVR,
        HuberRegressor. Not hinges, absolute errors and quantiles. It is explained as it is and
        never polished: `stationarity_` says how far it is from its minimum.
    n_components : int, default=100
        Columns k of the projection. Memory is O(k^2 + k p) and a block of rows.
    projection : {"sparse", "gaussian", "countsketch"}, default="sparse"
        "sparse": signs in a share 1 / sqrt(p) of the places [2]_. "gaussian": dense, a little
        more accurate, and takes k p numbers. "countsketch": every feature in one component, the
        cheapest; features that collide do so for good. Of sparse rows with tens of thousands of
        features "sparse" costs about as little as "countsketch" and a tenth of "gaussian"; the
        Gram matrices that follow cost the same for all.
    n_sketches : int, default=1
        Independent sketches. Leverages are their mean, and from two on `leverage_std_` is its
        standard error.
    hessian : {"expected", "observed"}, default="expected"
        Working weights V: as in iteratively reweighted least squares, or the second derivative of
        the loss. They differ for Gamma and Tweedie regression.
    features : {"all", "active"}, default="all"
        Whether features with coefficients of zero count; an l1 penalty holds them there, so that
        "active" is the curvature of the fit and "all" that of what it chose from. A projection
        is of the features that any class of a softmax uses.
    correct_shrinkage : bool or float, default=False
        Multiply the odds h / (1 - h) of all leverages by one factor, so that they add up to the
        effective parameters of the fit. That keeps their order, multiplies c, and brings
        `leverage_` and `cooks_distance_` to the scale of the exact ones; it makes no row's
        leverage truer beside another's. True takes `n_effective_params_`: right without a
        penalty, unless columns follow from others; under one an upper bound, of which a warning
        tells, and where the penalty is strong and columns are alike it makes leverages further
        too large than they were too small. A number is that of the effective parameters, where
        you know it: ``diagnostics().n_effective_params`` of InfluenceExplainer, as of a fit to a
        tenth of the rows, many more than columns, under a tenth of the penalty. It then is
        `n_effective_params_`, and has to lie between what the sketch has and the bound.
    block_size : int, default=None
        Rows of a block; None takes as many as fit the cache. It changes nothing else.
    n_jobs : int, default=None
        Threads for blocks of rows that are in memory.
    progress : bool, default=False
        Show a tqdm bar.
    random_state : int, RandomState instance or None, default=None
        Draws the projections, and seeds the clone of an unfitted estimator.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator: the one passed, or the fitted clone.
    n_components_ : int
        Components in use: `n_components`, or the features where there are no more than those.
    leverage_ : ndarray of shape (n_train,)
        h, the mean over the sketches, added up over one-vs-rest problems; corrected where that
        was asked for.
    leverage_std_ : ndarray of shape (n_train,)
        Its standard error, of two sketches and more: the spread between sketches, which does not
        know that all of them shrink.
    cooks_distance_ : ndarray of shape (n_train,)
        :math:`r^2 h / ((1 - h)^2 k \phi)` with the dispersion :math:`\phi` and, under a penalty,
        the data's share of the quadratic form; what ``diagnostics().cooks_distance`` of
        InfluenceExplainer is without a sketch. Not for losses that are no deviance; NaN where
        `n_effective_params_` leaves no degrees of freedom to estimate :math:`\phi` by, as under a
        penalty with more features than rows, where it is that bound and not the truth.
    shrinkage_ : float
        Sum of the sketched leverages over `n_effective_params_`, before any correction.
    n_effective_params_ : float
        Sum of the leverages of the whole fit. Without a penalty the number of features that vary,
        and the intercept; with one an upper bound, exact where features do not overlap. The
        number passed as `correct_shrinkage`, where there is one.
    stationarity_ : float
        Gradient g of the objective at the fitted parameters over what the slopes of the rows add
        up to by chance, along all parameters by their curvature H:
        :math:`\sqrt{\sum_j g_j^2 / H_{jj} \big/ \sum_{ij} (w_i l'_i x_{ij})^2 / H_{jj}}`, the
        largest of any problem. 0 at the minimum, 1e-3 to 1e-2 at usual tolerances, about 1 and
        more for a fit stopped early or to other rows; above 0.1 a warning tells. Unlike
        ``report()["stationarity"]`` of InfluenceExplainer, no single rare column sets it.
    score_unit_ : str
        "loss", of ``score_influence``.
    method_ : str
        "sketch".
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
    InfluenceExplainer : Exact, and with deletions of all kinds, for fewer features.
    skinfluence.diagnostics.Diagnostics : The exact leverages and distances.
    RepresenterExplainer : What training rows add to a prediction.

    Notes
    -----
    `self_influence` is c, :math:`k \phi D_i (1 - h_i)` of Cook's distance D without a penalty (SAS
    calls it CBAR), and ``score_influence`` is the first-order change of a query's loss in the
    sketch, in the unit of the loss: it shrinks like the leverage. It is much rougher
    than leverages are: with an eighth as many components as features its correlation with the
    exact first order is 0.42 to 0.55 in the guide, theirs 0.83 to 0.95; with half as many 0.78
    to 0.93 and 0.98 to 0.99. Ask it of sketches of at least half the features.

    Where weights V die out (a saturated probability) r grows as they fall: c is computed as
    :math:`(w_i l'_i)^2 z_i'W z_i / (1 - h_i)` over unweighted rows z, which does not divide by
    them. A row of leverage 1 alone determines a direction, and its c is infinite. A softmax of K
    classes has K x K blocks: its leverage is their trace, and c the same quadratic form; k K
    parameters may be 4,000 at most.

    Weights of rows are what they are: that ``class_weight="balanced"`` would follow the loss of a
    row, as InfluenceExplainer has it, is in no score.

    ``partial_fit`` and ``diagnostics(X, y)`` are the two passes in the hands of the user. They
    keep no row, so that ``self_influence`` and ``score_influence`` have none to ask about.

    References
    ----------
    .. [1] M. Wojnowicz, B. Cruz, X. Zhao, B. Wallace, M. Wolff, J. Luan and C. Crable (2016),
       "Influence sketching": finding influential samples in large-scale regressions, IEEE Big
       Data.
    .. [2] P. Li, T. Hastie and K. Church (2006), Very sparse random projections, KDD.
    .. [3] D. Pregibon (1981), Logistic regression diagnostics, Annals of Statistics 9, 705-724.

    Examples
    --------
    Rows that never are in memory together, of which one in a hundred has the wrong label:

    >>> import numpy as np
    >>> from scipy import sparse
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skinfluence import InfluenceSketch
    >>> n, rng = 4000, np.random.default_rng(0)
    >>> X = rng.normal(size=(n, 200)) * (rng.uniform(size=(n, 200)) < 0.1)
    >>> wrong = np.arange(n) % 100 == 7
    >>> y = (X @ rng.normal(size=200) > 0) ^ wrong
    >>> X = sparse.csr_array(X)
    >>> model = LogisticRegression(tol=1e-8, max_iter=1000).fit(X, y)
    >>> blocks = [(X[i : i + 1000], y[i : i + 1000]) for i in range(0, n, 1000)]
    >>> sketch = InfluenceSketch(model, n_components=50, random_state=0).fit(blocks)
    >>> bool(wrong[sketch.rank_outliers(20)].mean() > 0.8)
    True

    Leverages of 50 of 200 features are about a quarter of the true ones:

    >>> round(float(sketch.shrinkage_), 2)
    0.25
    """

    _parameter_constraints: dict = {
        **Sketching._parameter_constraints,
        "estimator": [None, HasMethods(["fit"])],
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "projection": [StrOptions({"sparse", "gaussian", "countsketch"})],
        "n_sketches": [Interval(Integral, 1, None, closed="left")],
        "hessian": [StrOptions({"observed", "expected"})],
        "features": [StrOptions({"all", "active"})],
        "correct_shrinkage": ["boolean", Interval(Real, 0, None, closed="neither")],
        "block_size": [None, Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        n_components: int = 100,
        projection: Literal["sparse", "gaussian", "countsketch"] = "sparse",
        n_sketches: int = 1,
        hessian: Literal["observed", "expected"] = "expected",
        features: Literal["all", "active"] = "all",
        correct_shrinkage: bool | float = False,
        block_size: int | None = None,
        n_jobs: int | None = None,
        progress: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.estimator = estimator
        self.n_components = n_components
        self.projection = projection
        self.n_sketches = n_sketches
        self.hessian = hessian
        self.features = features
        self.correct_shrinkage = correct_shrinkage
        self.block_size = block_size
        self.n_jobs = n_jobs
        self.progress = progress
        self.random_state = random_state
