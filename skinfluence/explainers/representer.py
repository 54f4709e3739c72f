"""Outputs as sums over the training rows: representer points."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from skinfluence._compat import HasMethods, Interval, StrOptions, _fit_context
from skinfluence.explainers.refusals import refuse_no_estimator
from skinfluence.explainers.representing import Representing


class RepresenterExplainer(Representing):
    """Output of a model as a sum over its training rows, by representer points.

    An l2-penalised linear layer over features f, at the minimum of ``sum_i w_i L_i + l2/2 |W|^2``,
    gives outputs that are sums over the training rows [1]_::

        Phi_k(z) = sum_i alpha_ik f_i'f_z + b_k,    alpha_ik = -(w_i / l2) dL_i/dPhi_ik

    The score of training row i at query z is its term for the class that is asked about: how
    like the two are, times how hard the row's own label pulls. Positive: row i *excites* that
    class at z; negative: it *inhibits* it. A free intercept b is in no row's part; one that is
    penalised like a coefficient, as liblinear's, is shared out (the kernel is then f_i'f_z and
    the ratio of the penalties).

    The sum is right at a minimum only, so that the layer is polished to one, privately;
    `reconstruction_` says how far its outputs are from those of the model as it is. Linear
    estimators are decomposed themselves, with their own penalty and labels: features are inputs.
    Of networks the last layer is refitted to the network's own outputs (eq. 4 of [1]_), which it
    comes near to for small l2; all other layers are taken as they are.

    Use it to see, in one product of matrices and without a Hessian, which rows a *prediction* is
    made of: why a class was chosen, which rows speak against it, and, by `rank_outliers` in mode
    "trained", which labels the layer does not believe. Do not read the values as what deletion of
    a row would do: they are **no deletion scores**, in units of the output and not of a loss; a
    row that the others would make up for has a large value and a small influence, and rows that
    are fitted perfectly have none. For what *retraining without a row* would do use
    `InfluenceExplainer`, and for what *training* did, through all layers, `TracInExplainer`.

    Parameters
    ----------
    estimator : estimator or torch.nn.Module
        An l2-penalised linear estimator (LogisticRegression, Ridge, RidgeClassifier, LinearSVC,
        LinearSVR, Huber, GLMs, SGD*, one-vs-rest of these), a network, or a pipeline, search,
        FrozenEstimator or TransformedTargetRegressor of one. Fitted: explained as it is;
        unfitted: a clone is fitted.
    l2 : float, default=None
        Strength of the penalty ``l2/2 |W|^2`` beside the *sum* of the losses (1/C; twice Ridge's
        alpha), for a layer that is refitted. None: linear estimators have their own; of a layer
        refitted to outputs, the largest of a ladder that reproduces them with a correlation of
        .999, or if none does, as where probabilities are nearly 0 and 1, reproduces those.
    layer : str, default=None
        Name of a linear layer of a network, whose outputs are explained; None for the last one.
    mode : {"auto", "trained", "pretrained"}, default="auto"
        "trained": the layer minimises the loss of the labels, with `l2`. "pretrained": it
        minimises the distance to the model's own outputs, which needs no labels and is there for
        every linear estimator too, penalised or not. "auto": "trained" for linear estimators,
        "pretrained" for networks.
    loss : str or callable, default=None
        Loss of a torch module, which says what follows its last layer; as for
        :class:`InfluenceExplainer`.
    output : label or int, default=None
        Class, or number of an output, that values are about where a call names none.
    max_iter : int, default=100
        Newton steps of a polish.
    tol : float, default=1e-10
        Largest error of the decomposition at which a polish ends, in units of the largest output.
    n_jobs : int, default=None
        Without effect: the products share the threads of BLAS.
    progress : bool, default=False
        Show a tqdm bar.
    random_state : int, RandomState instance or None, default=None
        Seeds the clone of an unfitted estimator where its own ``random_state`` is None.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator: the one passed, or the fitted clone.
    alpha_ : ndarray of shape (n_train, n_outputs)
        Weights of the training rows. Two classes may share one output, which is that of the
        second.
    intercept_ : ndarray of shape (n_outputs,)
        What is in no row's part.
    l2_ : float or ndarray of shape (n_outputs,)
        Strength of the penalty, beside the sum of the losses.
    mode_ : str
        "trained" or "pretrained".
    reconstruction_ : Reconstruction
        The layer beside the model over the training rows: ``pearson``, ``worst_error`` and
        ``decomposition_error``, see :meth:`validate`.
    stationarity_ : tuple of float
        Relative gradient at the model's own parameters (in mode "pretrained", where the polish
        started), and after the polish.
    n_iter_ : int
        Most Newton steps that a polish took.
    classes_ : ndarray of shape (n_classes,)
        Labels; classifiers only.
    method_ : str
        "representer".
    score_unit_ : str
        "representer value".
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
    InfluenceExplainer : What retraining without a row would do.
    TracInExplainer : What a row did while a network was trained.

    Notes
    -----
    The penalty has to be that of an l2 norm, the same for all features: models without any, with
    an l1 penalty or with bounds are refused in mode "trained". Losses with kinks (hinge,
    epsilon-insensitive) are smoothed, as for :class:`InfluenceExplainer`, so that the alphas of
    rows on the margin are those of the smooth loss.

    Softmax does not see a shift common to all classes. Outputs are compared less their mean over
    the classes, and the alphas of a row add up to 0 over them.

    References
    ----------
    .. [1] C.-K. Yeh, J. S. Kim, I. E. H. Yen and P. Ravikumar (2018), Representer point selection
       for explaining deep neural networks, NeurIPS 31.

    Examples
    --------
    The values of all rows and the intercept add up to the output:

    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skinfluence import RepresenterExplainer
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogisticRegression(tol=1e-10, max_iter=10_000).fit(X, y)
    >>> explainer = RepresenterExplainer(model).fit(X, y)
    >>> values = explainer.score_influence(X[:5], target_class=2)
    >>> sums = values.sum(axis=1) + explainer.intercept_[2]
    >>> bool(np.abs(sums - model.decision_function(X[:5])[:, 2]).max() < 1e-4)
    True

    Rows of the class excite it, and rows of others inhibit it:

    >>> proponents = explainer.proponents(X[:5], target_class=2, k=3, return_scores=False)
    >>> opponents = explainer.opponents(X[:5], target_class=2, k=3, return_scores=False)
    >>> np.unique(y[proponents]), np.unique(y[opponents])
    (array([2]), array([1]))
    """

    _parameter_constraints: dict = {
        **Representing._parameter_constraints,
        # A torch module has no fit.
        "estimator": [None, HasMethods(["fit"]), HasMethods(["forward", "state_dict"])],
        "l2": [None, Interval(Real, 0, None, closed="neither")],
        "layer": [None, str],
        "mode": [StrOptions({"auto", "trained", "pretrained"})],
        "loss": [None, str, callable],
        "output": "no_validation",
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        l2: float | None = None,
        layer: str | None = None,
        mode: Literal["auto", "trained", "pretrained"] = "auto",
        loss: str | Callable[..., Any] | None = None,
        output: Any = None,
        max_iter: int = 100,
        tol: float = 1e-10,
        n_jobs: int | None = None,
        progress: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.estimator = estimator
        self.l2 = l2
        self.layer = layer
        self.mode = mode
        self.loss = loss
        self.output = output
        self.max_iter = max_iter
        self.tol = tol
        self.n_jobs = n_jobs
        self.progress = progress
        self.random_state = random_state

    def _validate_params(self):
        refuse_no_estimator(self.estimator)
        super()._validate_params()

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(
        self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None
    ) -> RepresenterExplainer:
        """Fit the estimator, unless it is fitted, and bring its last layer to a minimum.

        Parameters
        ----------
        X : array-like of shape (n_train, n_features)
            Training rows; whatever the estimator takes.
        y : array-like of shape (n_train,) or (n_train, n_outputs), default=None
            Targets; not needed in mode "pretrained" of a fitted estimator.
        sample_weight : array-like of shape (n_train,), default=None
            Non-negative weights; for a fitted estimator, those it was fitted with.

        Returns
        -------
        self : RepresenterExplainer
            Fitted.

        Raises
        ------
        ValueError
            If y is missing, or an option does not exist for this model.
        UnsupportedEstimatorError
            If the estimator's objective is not known, or its outputs are no sums over rows: no
            l2 penalty, an l1 penalty, bounds.
        """
        return self._fit(X, y, sample_weight)
