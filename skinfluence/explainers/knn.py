"""Influence of training rows on a k-nearest-neighbour density estimate."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.neighbors import NearestNeighbors

from skinfluence._compat import Interval, _fit_context, stored_rows
from skinfluence.deletion.knn import KNNDeletion
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.explainers.density import check_training_rows
from skinfluence.explainers.detector import clipped
from skinfluence.explainers.novelty import NoveltyInfluence

DEFAULT_NEIGHBORS = 5


class KNNInfluence(NoveltyInfluence):
    """Exact influence of training rows on a k-nearest-neighbour density estimate.

    With ``p(z) = k / (N V_d R_k(z)^d)``, deleting row i changes the loss ``-log p`` at z by::

        log((N - 1) / N) + d log(R_{k+1}(z) / R_k(z))    if i is one of the k nearest rows of z
        log((N - 1) / N)                                 otherwise

    Use it for large data in few dimensions, where it costs a neighbour query. ``self_influence``
    is highest in groups of exactly k rows: the k-th neighbour is near and the next one far. All k
    neighbours of a query share one score; where the order among proponents matters, use
    :class:`KDEInfluence`.

    Parameters
    ----------
    estimator : estimator, default=None
        A :class:`~sklearn.neighbors.NearestNeighbors`, or a pipeline, search or FrozenEstimator
        around one; it brings metric and algorithm. Fitted: the rows given to ``fit`` must be its
        training rows. Unfitted: a clone is fitted. None stands for ``NearestNeighbors()``.
    n_neighbors : int, default=None
        The number k. None for the estimator's own ``n_neighbors``, which is 5 where no estimator
        is given.
    intrinsic_dim : float, default=None
        The dimension d. None for the number of features; less where the rows lie near a curved
        surface. All scores but their common ``log((N - 1) / N)`` are proportional to it.
    novelty : bool, default=False
        False for labels of the training rows (``fit_predict``), True to judge new rows
        (``predict``, ``decision_function``, ``score_samples``), as in
        :class:`~sklearn.neighbors.LocalOutlierFactor`.
    contamination : "auto", float in (0, 0.5] or None, default="auto"
        Share of outliers among the training rows, which sets ``offset_``. "auto" draws a fence
        at the median score minus six times the distance to the lower quartile. None sets no
        threshold and saves ``fit`` a neighbour query of all rows.
    influence_features : bool, default=False
        Whether to offer ``transform``, one column for each training row.
    n_jobs : int, default=None
        Threads over blocks, in joblib's sense.
    progress : bool, default=False
        Show progress bars (needs tqdm).
    random_state : int, RandomState instance or None, default=None
        Handed to the clone of an unfitted estimator where its own is None.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator that is explained.
    n_neighbors_ : int
        k.
    intrinsic_dim_ : float
        d.
    offset_ : float
        The threshold on the scores, in nats. ``decision_function`` is ``score_samples`` minus it.
    n_samples_fit_ : int
        Number of training rows.
    train_index_ : ndarray of shape (n_train,)
        Labels of the training rows: the index of a frame, else positions.
    score_unit_ : str
        ``"loss"``: scores are changes of ``-log p``, in nats.
    n_features_in_ : int
        Number of columns seen by ``fit``.
    feature_names_in_ : ndarray of str of shape (`n_features_in_`,)
        Names of the columns, where they have any.

    See Also
    --------
    KDEInfluence : The soft version, whose influence falls off smoothly.
    sklearn.neighbors.LocalOutlierFactor : Compares densities of neighbours.

    Notes
    -----
    Copies count as often as they occur. With more than k copies at z the density is infinite
    with and without any row, and the score is ``log((N - 1) / N)``; with exactly k of them it is
    ``+inf`` for these k rows. Sparse rows are supported wherever NearestNeighbors supports them.

    References
    ----------
    .. [1] Z. Kong and K. Chaudhuri, "Understanding Instance-based Interpretability of Variational
       Auto-Encoders", NeurIPS 2021, eq. (1).

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence import KNNInfluence
    >>> X = np.array([[0.0], [1.0], [3.0], [7.0]])
    >>> explainer = KNNInfluence(n_neighbors=2).fit(X)
    >>> scores = explainer.score_influence([[0.0]])[0]  # R_2 = 1, R_3 = 3

    The two neighbours at 0 and 1 hold the density up; without one of them it falls to a quarter
    of itself, up to the factor 4/3 for the smaller sample:

    >>> np.round(np.exp(scores) * 4 / 3, 6)
    array([3., 3., 1., 1.])
    """

    _accept_sparse = "csr"

    _parameter_constraints: dict = {
        **NoveltyInfluence._parameter_constraints,
        "n_neighbors": [None, Interval(Integral, 1, None, closed="left")],
        "intrinsic_dim": [None, Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        estimator: BaseEstimator | None = None,
        *,
        n_neighbors: int | None = None,
        intrinsic_dim: float | None = None,
        novelty: bool = False,
        contamination: float | Literal["auto"] = "auto",
        influence_features: bool = False,
        n_jobs: int | None = None,
        progress: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.estimator = estimator
        self.n_neighbors = n_neighbors
        self.intrinsic_dim = intrinsic_dim
        self.novelty = novelty
        self.contamination = contamination
        self.influence_features = influence_features
        self.n_jobs = n_jobs
        self.progress = progress
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: ArrayLike, y: Any = None) -> KNNInfluence:
        """Fit the estimator, unless it is fitted, and index the training rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_train, n_features)
            Training rows. Behind a pipeline, whatever the pipeline takes.
        y : Ignored
            Present for scikit-learn's conventions.

        Returns
        -------
        self : KNNInfluence
            Fitted.

        Raises
        ------
        ValueError
            If there are not more than k rows, or the rows are not those of a fitted estimator.
        UnsupportedEstimatorError
            If the model is not a NearestNeighbors, or its metric is "precomputed".
        """
        return self._fit(X)

    def _default_estimator(self):
        return NearestNeighbors(n_neighbors=self.n_neighbors or DEFAULT_NEIGHBORS)

    def _check_model(self, model):
        if not isinstance(model, NearestNeighbors):
            raise UnsupportedEstimatorError(
                f"KNNInfluence explains NearestNeighbors, and the model is a "
                f"{type(model).__name__}. Pass NearestNeighbors with the same metric, or use "
                "KDEInfluence for a KernelDensity."
            )
        if model.metric == "precomputed":
            raise UnsupportedEstimatorError(
                'NearestNeighbors has metric="precomputed", and distances between training rows '
                "and later queries cannot be looked up. Pass the rows and a metric on them."
            )

    def _make_deletion(self, model, rows, sample_weight):
        check_training_rows(model, stored_rows(model), rows)
        k = model.n_neighbors if self.n_neighbors is None else self.n_neighbors
        if rows.shape[0] <= k:
            raise ValueError(
                f"Deleting one of n_samples = {rows.shape[0]} rows leaves fewer than "
                f"n_neighbors = {k} neighbours. Use fewer neighbours or more rows."
            )
        self.n_neighbors_ = int(k)
        self.intrinsic_dim_ = float(self.intrinsic_dim or rows.shape[1])
        return KNNDeletion(
            model,
            rows,
            n_neighbors=self.n_neighbors_,
            dim=self.intrinsic_dim_,
            n_jobs=self.n_jobs,
        )

    def _explain(self, model, rows, y, sample_weight):
        self._own = None
        super()._explain(model, rows, y, sample_weight)

    def _training_scores(self):
        # Against the other rows, a training row as if added is a training row deleted.
        self._own = self._self_influence()
        return clipped(-self._own)

    def _self_influence(self):
        return super()._self_influence() if self._own is None else self._own.copy()
