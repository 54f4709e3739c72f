"""Influence on supervised models that minimise a smooth objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from os import PathLike
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from skinfluence._compat import HasMethods, Interval, StrOptions, _fit_context
from skinfluence.explainers.augmentation import Augmentation
from skinfluence.explainers.changing import ChangedRows
from skinfluence.explainers.embedding import Embedding
from skinfluence.explainers.flipping import Flipping
from skinfluence.explainers.questions import Questions
from skinfluence.explainers.refusals import refuse_no_estimator

# "auto", "dense" and "cg" are those of linear models too.
_SOLVERS = {"auto", "dense", "cg", "lissa", "arnoldi", "nystroem", "ekfac", "datainf"}


class InfluenceExplainer(  # type: ignore[call-arg]  # scikit-learn's __init_subclass__ is untyped
    Embedding,
    ChangedRows,
    Augmentation,
    Flipping,
    Questions,
    auto_wrap_output_keys=None,
):
    """Influence of the training rows on a fitted model: what deleting each would change.

    The model minimised ``F = sum_i w_i l_i(theta) + m Omega(theta)``; its gradient and its
    curvature H, penalty included, are read off the fitted estimator. Deleting row i takes away the
    gradient ``gbar_i = w_i g_i + dm_i grad Omega`` and the curvature ``hbar_i``, and moves the
    parameters by

    - ``first_order``: ``H^-1 gbar_i``, and the target along its gradient (the influence function
      of [1]_, as a deletion in units of the loss);
    - ``newton`` [2]_: ``(H - hbar_i)^-1 gbar_i``, and the target *evaluated* at the moved
      parameters: exact for quadratic objectives, within some per cent of the change elsewhere;
    - ``refit``: to the minimum without row i, all rows at once; of a hinge and an
      epsilon-insensitive loss under an l2 penalty, which have no derivatives, along the exact path
      of the minimum [4]_, by default.

    There are three kinds of models. A *linear model* of scikit-learn, or what is made of one, is
    explained at its minimum, to which it is polished privately, with its exact Hessian; by default
    with Newton steps. `hessian` and ``diagnostics`` are about linear models only. A *network* is a
    torch module (which needs `loss`), a skorch net or one of scikit-learn's MLPs. It is explained
    where training left it, with a curvature and a solver of your choice: by default to first
    order, with the generalised Gauss-Newton matrix, factorised, up to 5,000 parameters, and with
    EK-FAC above. `loss`, `weight_decay`, `params`, `curvature`, `damping`, `projection` and
    `resume` are about networks only, and so are most solvers. What the model at hand does not have
    is refused, and never ignored.

    The third kind are models whose deletions are *exact* without derivatives: support vector
    machines with kernels (SVC, NuSVC, SVR, NuSVR, OneClassSVM), whose optimum is followed while a
    row is taken away [4]_, and models that are closed forms of their rows: KernelRidge,
    GaussianProcessRegressor (its kernel held fixed), linear and quadratic discriminant analysis,
    naive Bayes, NearestCentroid, nearest-neighbour classification and regression, and as densities
    PCA, FactorAnalysis and the empirical, shrunk, OAS and Ledoit-Wolf covariances; and the curves
    of a CalibratedClassifierCV, its estimators held fixed. Every score is that of a real refit:
    `method_` is "exact". ``method="refit"`` fits them again without each row, as it is done for
    BayesianRidge, ARDRegression and GaussianProcessClassifier. The loss is the hinge of support
    vector machines (what lies beyond epsilon of a regression), ``-log p(y | x)`` of other
    classifiers, the squared error of other regressors, summed over targets, and ``-log p(x)`` of
    densities. A function as `target` sees the decision function, the log joint density of each
    class (of neighbours and curves the probabilities), the predictions (of a Gaussian process with
    the variances after them), or the log density (of PCA and FactorAnalysis with the error of
    reconstruction after it). They have no `method` beside these, no parameters to ask about, and
    no ``diagnostics`` or ``transform``.

    Use it to find the training rows behind a prediction (``proponents``, ``opponents``) and those
    that it hangs on (``smallest_flip``), rows that are mislabelled or foreign (``self_influence``,
    ``rank_outliers``), and what other values of rows would have changed (``perturbation``,
    ``score_replacement``, ``score_augmentation``). Densities have explainers of their own. The
    first steps of a pipeline are held fixed: only the model is refitted.

    Parameters
    ----------
    estimator : estimator or torch.nn.Module
        A linear model, support vector machine or closed form of scikit-learn, a network, or a
        pipeline, search, FrozenEstimator, threshold wrapper, TransformedTargetRegressor or
        OneVsRestClassifier of one. Fitted: explained as it is. Unfitted: a clone is fitted.
    method : {"auto", "first_order", "newton", "refit"}, default="auto"
        How far the parameters are followed. "auto" is "newton", "first_order" where the Hessian
        is too large to be formed and for networks, and exact for QuantileRegressor and for linear
        models with a hinge or an epsilon-insensitive loss and an l2 penalty, unless `smoothing`,
        `relative` or `solver` asks for derivatives; `method_` says which. For networks "newton" is
        a Gauss-Newton step, and "refit" is left to ``validate(retrain=...)``. Support vector
        machines and closed forms are exact with "auto" (`method_` is "exact", or "refit" where an
        option has no closed form), and take "refit" beside it; of support vector machines
        "first_order" and "newton" approximate the same with a loss that is smoothed
        (`smoothing`), for comparison.
    target : str or callable, default="loss"
        What a score is a change of. "loss": the query's own loss, as the estimator defines it,
        unweighted. "decision_function" or "proba": that output; the class is `output`, else the
        query's y, else the predicted one, so that what helps it has *negative* scores.
        "reconstruction_error": squared distance of a row to what PCA or FactorAnalysis gives back.
        "params", "coef:NAME": the parameters, or those called NAME; scores are then asked with
        X=None. A callable ``f(outputs, y)`` on outputs (n_rows, n_outputs) returns a value a row,
        or a tuple of that and its derivative (n_rows, n_outputs), which is taken numerically
        otherwise; for networks it takes tensors and returns one, which torch differentiates.
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
        Temperature t of losses with kinks: ``t log(1 + exp((1 - s) / t))`` for the hinge. None
        leaves the kinks where deletions are exact, and is 0.01 (times the spread of the targets,
        for a regression, and of the decisions, for a OneClassSVM) for "newton" and
        "first_order".
    solver : {"auto", "dense", "cg", "lissa", "arnoldi", "nystroem", "ekfac", "datainf"} \
            or object, default="auto"
        Factorise the curvature, or invert it by conjugate gradients with products by the rows.
        "auto" factorises a linear model up to 10,000 parameters and a network up to 5,000, takes
        the inverse that "kfac" and "ekfac" have of their own, and conjugate gradients otherwise
        (:func:`skinfluence.torch.choose_solver` can be asked before fitting). The
        others, and objects with a method ``invert`` such as ``ConjugateGradients(rank=100)`` of
        ``skinfluence.torch``, are for networks.
    loss : str or callable, default=None
        Loss of a torch module, by name, as a loss module or function of torch, or as a function
        of outputs and targets that returns one value a row. Estimators know their own, which a
        skorch net may be told otherwise.
    weight_decay : float or dict of str to float, default=None
        Penalty of a torch module, as its optimiser means it: ``weight_decay / 2 * |theta|^2``
        beside the mean loss, of all parameters or of those named. Estimators know their own; what
        is passed overrules that of a skorch net's optimiser, and is refused beside an MLP.
    params : {None, "last_layer"} or list of str, default=None
        Parameters of a torch module that may move, by name, pattern or the name of the module
        that they are in; None is all.
    curvature : {None, "hessian", "ggn", "fisher", "kfac", "ekfac"} or callable, default=None
        Curvature of a network; None is the generalised Gauss-Newton matrix "ggn" up to 5,000
        parameters, for ``method="newton"`` and where a solver is asked for, and "ekfac" for larger
        networks: an approximation that costs a few passes over the rows, where "ggn" with
        conjugate gradients takes tens to hundreds a query and is exact. A class of
        ``skinfluence.torch``, or a function from an objective to one of them, brings the
        options that a name leaves out: ``functools.partial(Ekfac, basis="kfac")``. A linear model
        has its Hessian.
    damping : float, default=None
        Number added to the eigenvalues of a network's curvature, in units of the mean loss. None
        adds none while the curvature is definite, and a tenth of its mean eigenvalue otherwise;
        `damping_` says how much that is. A matrix that is factorised is definite if its condition
        number is below 1e10 (1e6 in float32), directions apart that cannot change the loss, as
        the last biases of a softmax moved together. Where no matrix is formed, it is what the
        smallest weight decay of an explained parameter falls short of a tenth of the mean
        eigenvalue (of a Hessian that tenth).
    tol : float, default=None
        Relative residual at which iterative solvers stop; None is each one's own.
    max_iter : int, default=None
        Iterations of iterative solvers at most; None is each one's own.
    projection : int or projection, default=None
        Number of random dimensions in which ``transform`` embeds a network's gradients, or a
        projection of ``skinfluence.torch.influence.projection``, such as ``TwoSided(16)``, which
        takes the empirical Fisher matrix of its projections for the curvature; None is one a
        parameter.
    resume : path-like, default=None
        Directory where the sums over rows of "kfac" and "ekfac" are recorded, so that a fit that
        was stopped goes on where it was. It needs safetensors.
    n_jobs : int, default=None
        Threads over blocks of queries, in joblib's sense. Networks use torch's own threads.
    progress : bool, default=False
        Show a tqdm bar.
    random_state : int, RandomState instance or None, default=None
        Handed to the clone of an unfitted estimator where its own is None.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator: the one passed, or the fitted clone.
    method_ : {"first_order", "newton", "refit", "exact"}
        The method in use; "exact" for support vector machines, closed forms, QuantileRegressor's
        linear programme, and linear models with a hinge or an epsilon-insensitive loss.
    stationarity_ : tuple of float
        Relative gradient of the objective at the fitted parameters, and after the private polish
        at which scores are computed: 1e-5 to 1e-2 for standardised columns and default
        tolerances, up to 0.8 for texts and unscaled columns, 0.1 to 1 for other rows. Of a loss
        with kinks, the first is the share of its own objective that is left to win. Networks
        are not polished: both are the same, and 0.01 to 0.2 after ordinary training.
    n_iter_ : int
        Most steps that the polish took, at least 1.
    damping_ : float
        What was added to the eigenvalues of a network's curvature, in units of the mean loss.
    curvature_, solver_, solver_reason_ : str
        Curvature of a network, how it is inverted, and why in this way.
    held_out_ : ndarray of bool of shape (n_train,)
        Rows that a network itself kept out of its training, as a skorch net's ``train_split`` does
        with a fifth of them by default: their scores are 0.
    score_unit_ : str
        What a score is measured in.
    param_names_ : ndarray of str of shape (n_params,)
        Columns of ``d_params``: ``[class:]feature``, the intercept last; of networks
        ``layer.weight[i,j]``, or just the tensors where there are more than 20,000.
    train_index_ : ndarray of shape (n_train,)
        Labels of the training rows: the index of a pandas object, else positions.
    n_samples_fit_ : int
        Number of training rows.
    n_features_in_ : int
        Number of features seen by ``fit``.
    feature_names_in_ : ndarray of str of shape (`n_features_in_`,)
        Their names, where the training rows had names.
    model_feature_names_ : ndarray of str of shape (n_model_features,)
        Names of the features of the model itself, behind the first steps of a pipeline: those
        that the steps or the rows give, else "x0", "x1", ... Only where rows have columns.

    See Also
    --------
    KDEInfluence : Exact deletion from a kernel density.
    GMMInfluence : Deletion from a Gaussian mixture.
    KNNInfluence : Exact deletion from a nearest-neighbour density.
    KNNShapley : Values of the rows of nearest-neighbour models, instead of deletions.

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
    .. [4] G. Cauwenberghs and T. Poggio (2001), Incremental and decremental support vector
       machine learning, NIPS 13.

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
        **Embedding._parameter_constraints,
        # A torch module has no fit.
        "estimator": [None, HasMethods(["fit"]), HasMethods(["forward", "state_dict"])],
        "method": [StrOptions({"auto", "first_order", "newton", "refit"})],
        "target": [str, callable],
        "hessian": [StrOptions({"observed", "expected"})],
        "class_weights": [StrOptions({"recompute", "fixed"})],
        "relative": [None, StrOptions({"parameters", "loss"})],
        "smoothing": [None, Interval(Real, 0, None, closed="neither")],
        "solver": [StrOptions(_SOLVERS), HasMethods(["invert"])],
        "loss": [None, str, callable],
        "weight_decay": [None, Interval(Real, 0, None, closed="left"), dict],
        "params": [None, StrOptions({"last_layer"}), list, tuple],
        "curvature": [None, StrOptions({"hessian", "ggn", "fisher", "kfac", "ekfac"}), callable],
        "damping": [None, Interval(Real, 0, None, closed="left")],
        "tol": [None, Interval(Real, 0, None, closed="neither")],
        "max_iter": [None, Interval(Integral, 1, None, closed="left")],
        "projection": [
            None,
            Interval(Integral, 1, None, closed="left"),
            HasMethods(["of_block"]),
            callable,
        ],
        "resume": [None, str, PathLike],
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
        solver: Any = "auto",
        loss: str | Callable[..., Any] | None = None,
        weight_decay: float | Mapping[str, float] | None = None,
        params: Literal["last_layer"] | Sequence[str] | None = None,
        curvature: Literal["hessian", "ggn", "fisher", "kfac", "ekfac"]
        | Callable[..., Any]
        | None = None,
        damping: float | None = None,
        tol: float | None = None,
        max_iter: int | None = None,
        projection: Any = None,
        resume: str | PathLike[str] | None = None,
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
        self.loss = loss
        self.weight_decay = weight_decay
        self.params = params
        self.curvature = curvature
        self.damping = damping
        self.tol = tol
        self.max_iter = max_iter
        self.projection = projection
        self.resume = resume
        self.n_jobs = n_jobs
        self.progress = progress
        self.random_state = random_state

    def _validate_params(self):
        refuse_no_estimator(self.estimator)
        super()._validate_params()

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
