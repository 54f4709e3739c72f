"""Influence by following the training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral, Real
from os import PathLike
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from skinfluence._compat import HasMethods, Interval, StrOptions, _fit_context
from skinfluence.explainers.refusals import refuse_no_estimator
from skinfluence.explainers.tracing import Tracing


class TracInExplainer(  # type: ignore[call-arg]  # scikit-learn's __init_subclass__ is untyped
    Tracing, auto_wrap_output_keys=None
):
    """Influence of the training rows by what their gradients did while the model was trained.

    Every step of training moves the parameters along the gradients of some rows, and each of
    these gradients changes the loss at a query by its product with the query's own gradient. Added
    up over checkpoints c of the training [1]_::

        score(z, i) = sum_c eta_c (w_i n / W) <grad t(z; theta_c), M_c grad l(x_i; theta_c)>

    eta_c is the part of the way from start to end that a checkpoint stands for: the sum of the
    optimiser's learning rates between the middles of the intervals around it, over the number n of
    training rows. t is the `target`, w_i a row's weight and W their sum. M_c is the identity, or
    what Adam multiplies gradients by. So a score is the value at the query without the row's
    steps minus the value as it is: positive for rows that helped, where the target is the loss.
    No Hessian, no minimum and no retraining are needed, and every score is a product of
    gradients, which are multiplied layer by layer and never formed.

    It reads torch modules (which need `loss`), skorch nets, scikit-learn's MLPs, SGDClassifier,
    SGDRegressor and Perceptron, and variational auto-encoders: ``BetaVAE``, or a module with a
    method ``elbo(x, noise)`` (VAE-TracIn [2]_). The loss of these is minus the ELBO, whose
    gradient is a mean over draws of the latents, independent for queries and rows; it needs no
    targets, and the self influence tells rows that the model has to bend for from others, so that
    the explainer is an **outlier detector** then.

    Use it for networks, whose training stops far from a minimum, for generative models, and for
    the question what training did. Use `InfluenceExplainer` for models at a minimum (all linear
    ones), and for what *retraining* without a row would do: the path of training sums up what a
    row's own steps did, and not how later steps would have made up for them. Weight decay is the
    doing of no row and is left out.

    Parameters
    ----------
    estimator : estimator or torch.nn.Module
        A network, or a pipeline, search, FrozenEstimator or TransformedTargetRegressor of one.
        Fitted: explained as it is, with its `checkpoints`. Unfitted (MLPs with ``solver="sgd"`` or
        "adam", SGDClassifier, SGDRegressor, Perceptron, BetaVAE, skorch nets): a clone is fitted
        and recorded, see Notes.
    checkpoints : Checkpoints, CheckpointRecorder, path or sequence, default=None
        States of the model on its way: what a
        :class:`~skinfluence.checkpoints.CheckpointRecorder` has recorded, its directory, files of
        state_dicts, state_dicts, or modules. None for estimators that keep their own
        (``checkpoints_``) or are not fitted yet; of others the last parameters are the only
        checkpoint, and need `learning_rates`.
    learning_rates : float or sequence of float, default=None
        Values of eta_c, for all checkpoints or one for each, taken as they are and not divided by
        n. None takes them from the recording; without one there is an error, and no default: 1.0
        is what [2]_ uses, and says nothing about units.
    target : str or callable, default="loss"
        What a score is a change of. "loss": the query's own loss. "decision_function" or "proba":
        that output; the class is `output`, else the query's y, else the predicted one, so that
        what helps it has *negative* scores. A callable ``f(outputs, y)`` takes tensors and
        returns one value a row.
    output : label or int, default=None
        Class, or output of a regression with several, that "decision_function" and "proba" are
        about.
    loss : str or callable, default=None
        Loss of a torch module, by name, as a loss module or function of torch, or as a function
        of outputs and targets that returns one value a row; "elbo" for modules that have one,
        where it is the default.
    params : {None, "last_layer"} or list of str, default=None
        Parameters whose gradients are multiplied, by name, pattern or the name of the module that
        they are in; None is all. "last_layer" is the fast variant of [1]_.
    preconditioner : {None, "optimizer"}, default=None
        Whether gradients are scaled as the recorded optimiser did, which for Adam is what makes
        the scores changes of the loss.
    n_checkpoints : int, default=None
        How many of the checkpoints to use, evenly spaced, the last among them; they stand for the
        whole way. None uses all, and records 10 for an unfitted estimator. To find outliers, 1 is
        the cheapest, and neither it nor all of them is always ahead: early in training every row
        far from the others pulls, and at the end those that are not learned.
    projection : int or projection, default=None
        Number of random dimensions a checkpoint that gradients are embedded in, or a projection
        such as ``TwoSided(16)`` of ``skinfluence.torch.influence.projection``. Scores are then
        products of these embeddings, right in the mean over seeds; self influence stays exact.
        None multiplies the gradients themselves.
    n_draws : int or "auto", default=16
        Draws a row of a loss that has draws in it, at every checkpoint. "auto" takes as many as a
        pilot run on a few rows finds necessary for `tol`. Losses without draws have 16 and the
        default `gradient`, and nothing else.
    tol : float, default=0.05
        Relative standard error of the self influence that ``n_draws="auto"`` aims at.
    gradient : {"reparameterized", "score"}, default="reparameterized"
        How the gradient of an ELBO is estimated. "score" is equation (9) of [2]_: the same mean,
        with a far larger variance for the encoder.
    contamination : "auto", float or None, default="auto"
        Of detectors, the share of outliers among the training rows, which `offset_` is set by;
        "auto" is a fence six quartile distances below the median. None sets no threshold, which
        saves a pass over all rows and checkpoints in ``fit``.
    resume : path-like, default=None
        Directory where finished blocks of scores are recorded, so that a run that was stopped goes
        on where it was, with the same result. It needs safetensors.
    n_jobs : int, default=None
        Without effect: torch has threads of its own.
    progress : bool, default=False
        Show a tqdm bar.
    random_state : int, RandomState instance or None, default=None
        Seeds the draws and projections, and the clone of an unfitted estimator where its own
        ``random_state`` is None.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator: the one passed, or the fitted clone.
    checkpoints_ : Checkpoints
        Those in use.
    learning_rates_ : ndarray of shape (n_checkpoints,) or dict of these
        The eta_c; by parameter where they differ.
    n_draws_ : int or None
        Draws a row, where the loss has any.
    score_unit_ : str
        The target where the recorded steps were those of gradient descent, or of Adam with
        ``preconditioner="optimizer"``; "learning rate x gradient product" otherwise.
    method_ : str
        "tracin".
    held_out_ : ndarray of bool of shape (n_train,)
        Rows that the estimator itself kept out of its training.
    offset_ : float
        Of detectors: ``decision_function`` is ``score_samples`` minus this.
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
    skinfluence.checkpoints.CheckpointRecorder : Records a training.
    skinfluence.torch.BetaVAE : A variational auto-encoder that records its own.
    KDEInfluence : Exact influence on a density, of few columns.

    Notes
    -----
    An unfitted estimator ends where its own ``fit`` does. MLPs are fitted epoch by epoch with
    ``partial_fit`` and one stream of draws, which is the same path as that of ``fit`` with the
    same ``random_state``, step by step. For the linear models with stochastic gradients it is
    not, as ``partial_fit`` shuffles anew what ``fit`` shuffles further; they are fitted by
    ``fit``, and again from the same seed with fewer epochs for each checkpoint, so that the path
    is that of ``fit`` (only a class that stops before the others goes on to their end). For more
    checkpoints than one an epoch, call ``CheckpointRecorder(n_rows=...).partial_fit`` on parts of
    the rows.

    The sum of gradient products is the first order of what a step does, so that steps must be
    small for it. Those of small rates are (and a momentum of 0.9 makes a rate ten times as large);
    the first ones of ``learning_rate="optimal"``, the default of SGDClassifier, are not, and
    scores may then be many times the loss: take ``"invscaling"``, or ``"constant"`` with a small
    `eta0`, and scale the columns. Clipped gradients, and batch losses that are sums and not means,
    make steps of other lengths than the learning rates say. Where scores are in units of the loss,
    ``fit`` compares sums with falls at a few training rows, and warns where they are surely more
    than three times apart. :meth:`validate` says how much of what happened to queries the scores
    account for, at the cost of a pass over the rows: ask it before anything else.

    Heads of a pipeline are fitted first and held fixed. A search is fitted as it is, and its best
    model once more.

    References
    ----------
    .. [1] G. Pruthi, F. Liu, S. Kale and M. Sundararajan (2020), Estimating training data
       influence by tracing gradient descent, NeurIPS 33.
    .. [2] Z. Kong and K. Chaudhuri (2021), Understanding instance-based interpretability of
       variational auto-encoders, NeurIPS 34.

    Examples
    --------
    The scores of all rows add up to what training did to a query's loss, which is what makes one
    of them a row's own part in it:

    >>> import numpy as np
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import SGDRegressor
    >>> from skinfluence import TracInExplainer
    >>> X, y = load_diabetes(return_X_y=True)
    >>> X, y = X / X.std(axis=0), (y - y.mean()) / y.std()
    >>> descent = SGDRegressor(learning_rate="constant", eta0=1e-5, alpha=0.0, random_state=0)
    >>> explainer = TracInExplainer(descent).fit(X, y)
    >>> parts = explainer.score_influence(X[:9], y[:9]).sum(axis=1)
    >>> fell = y[:9] ** 2 / 2 - (explainer.estimator_.predict(X[:9]) - y[:9]) ** 2 / 2
    >>> bool(np.abs(parts - fell).max() < 0.005)
    True

    A variational auto-encoder makes it an outlier detector, which needs no targets. It finds a row
    whose columns are usual one by one, and not together:

    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skinfluence.torch import BetaVAE
    >>> t = np.random.default_rng(0).normal(size=(300, 1))
    >>> X = np.vstack([np.hstack([t, t, -t]), [[1.5, -1.5, 1.5]]])
    >>> vae = BetaVAE(1, hidden=(16,), noise_scale=0.3, learning_rate=0.01, random_state=0)
    >>> detector = TracInExplainer(vae, n_checkpoints=1, contamination=0.004, random_state=0)
    >>> np.flatnonzero(make_pipeline(StandardScaler(), detector).fit_predict(X) == -1)
    array([300])
    """

    _parameter_constraints: dict = {
        **Tracing._parameter_constraints,
        "output": "no_validation",
        # A torch module has no fit.
        "estimator": [None, HasMethods(["fit"]), HasMethods(["forward", "state_dict"])],
        "checkpoints": "no_validation",
        "learning_rates": [None, Real, "array-like"],
        "target": [str, callable],
        "loss": [None, str, callable],
        "params": [None, StrOptions({"last_layer"}), list, tuple],
        "preconditioner": [None, StrOptions({"optimizer"})],
        "n_checkpoints": [None, Interval(Integral, 1, None, closed="left")],
        "projection": [
            None,
            Interval(Integral, 1, None, closed="left"),
            HasMethods(["of_block"]),
            callable,
        ],
        "n_draws": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "gradient": [StrOptions({"reparameterized", "score"})],
        "resume": [None, str, PathLike],
    }

    def __init__(
        self,
        estimator: Any,
        *,
        checkpoints: Any = None,
        learning_rates: float | Sequence[float] | None = None,
        target: str | Callable[..., Any] = "loss",
        output: Any = None,
        loss: str | Callable[..., Any] | None = None,
        params: Literal["last_layer"] | Sequence[str] | None = None,
        preconditioner: Literal["optimizer"] | None = None,
        n_checkpoints: int | None = None,
        projection: Any = None,
        n_draws: int | Literal["auto"] = 16,
        tol: float = 0.05,
        gradient: Literal["reparameterized", "score"] = "reparameterized",
        contamination: float | Literal["auto"] | None = "auto",
        resume: str | PathLike[str] | None = None,
        n_jobs: int | None = None,
        progress: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.estimator = estimator
        self.checkpoints = checkpoints
        self.learning_rates = learning_rates
        self.target = target
        self.output = output
        self.loss = loss
        self.params = params
        self.preconditioner = preconditioner
        self.n_checkpoints = n_checkpoints
        self.projection = projection
        self.n_draws = n_draws
        self.tol = tol
        self.gradient = gradient
        self.contamination = contamination
        self.resume = resume
        self.n_jobs = n_jobs
        self.progress = progress
        self.random_state = random_state

    def _validate_params(self):
        refuse_no_estimator(self.estimator)
        super()._validate_params()

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(
        self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None
    ) -> TracInExplainer:
        """Fit and record the estimator, unless it is fitted, and read its checkpoints.

        Of a detector whose ``contamination`` is not None, the self influence of all training rows
        is computed here, and kept.

        Parameters
        ----------
        X : array-like of shape (n_train, n_features)
            Training rows; whatever the estimator takes.
        y : array-like of shape (n_train,) or (n_train, n_outputs), default=None
            Targets, where the loss has any; ignored otherwise.
        sample_weight : array-like of shape (n_train,), default=None
            Non-negative weights; for a fitted estimator, those it was fitted with.

        Returns
        -------
        self : TracInExplainer
            Fitted.

        Raises
        ------
        ValueError
            If y is missing, checkpoints do not fit the estimator, nothing says how long the
            optimiser's steps were, or an option does not exist for this model.
        UnsupportedEstimatorError
            If the estimator's loss is not known, or it is unfitted and its training cannot be
            recorded.

        Warns
        -----
        IncompleteTraceWarning
            If scores in units of the loss surely do not add up to what training did to it.
        """
        return self._fit(X, y, sample_weight)
