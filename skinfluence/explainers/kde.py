"""Influence of training rows on a kernel density estimate."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.neighbors import KernelDensity
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping

from skinfluence._compat import _fit_context, check_weights, routing_enabled
from skinfluence.deletion.kde import KDEDeletion
from skinfluence.deletion.kernels import FALLING
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.explainers.density import check_training_rows
from skinfluence.explainers.detector import clipped
from skinfluence.explainers.novelty import NoveltyInfluence

# Trees beat a pass over all rows only in low dimension.
TREE_DIMENSIONS = 15


class KDEInfluence(NoveltyInfluence):
    """Exact influence of training rows on a kernel density estimate.

    Deleting row i changes the loss ``-log p`` at a query z by::

        log((W - w_i) / W) - log(1 - q_i(z)),    q_i(z) = w_i K(z - x_i) / sum_j w_j K(z - x_j)

    with W the sum of the weights. All six kernels, every metric and sample weights; the bandwidth
    is held at the fitted ``bandwidth_``. Use it when rows are judged by their surroundings:
    ``self_influence`` is high for rows that few others support, and the strongest proponents of
    a query are its nearest rows. It costs one pass over all pairs of rows at ``fit`` (for the
    threshold) and one over (queries x rows) at every score.

    Parameters
    ----------
    estimator : estimator, default=None
        A :class:`~sklearn.neighbors.KernelDensity`, or a pipeline, search or FrozenEstimator
        around one. Fitted: explained as it is, and the rows given to ``fit`` must be its training
        rows. Unfitted: a clone is fitted. None stands for ``KernelDensity()``.
    novelty : bool, default=False
        False for labels of the training rows, each judged against the others (``fit_predict``),
        True to judge new rows (``predict``, ``decision_function``, ``score_samples``), as in
        :class:`~sklearn.neighbors.LocalOutlierFactor`.
    contamination : "auto", float in (0, 0.5] or None, default="auto"
        Share of outliers among the training rows, which sets ``offset_``. "auto" draws a fence
        at the median score minus six times the distance to the lower quartile. None sets no
        threshold and saves ``fit`` the pass over all pairs of rows, which ``self_influence`` then
        makes at every call.
    influence_features : bool, default=False
        Whether to offer ``transform``, one column for each training row as given; so with it,
        alone, integer weights are not repeated rows.
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
    offset_ : float
        ``decision_function`` is ``score_samples`` minus this, in nats.
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
    KNNInfluence : Cheaper, and adapts to the local density.
    GMMInfluence : For a parametric density.

    Notes
    -----
    :meth:`sklearn.neighbors.KernelDensity.score_samples` is not used: its tree is inexact in the
    tail, which is where outliers live. A score can be infinite: with a kernel of compact support a
    query may be covered by a single row.

    References
    ----------
    .. [1] Z. Kong and K. Chaudhuri, "Understanding Instance-based Interpretability of Variational
       Auto-Encoders", NeurIPS 2021, eq. (2).

    Examples
    --------
    The score of a row is exactly what a refit without it does to the loss:

    >>> import numpy as np
    >>> from sklearn.neighbors import KernelDensity
    >>> from skinfluence import KDEInfluence
    >>> X = np.array([[0.0], [0.5], [1.0], [6.0]])
    >>> explainer = KDEInfluence(KernelDensity(bandwidth=0.7)).fit(X)
    >>> score = explainer.score_influence([[0.2]])[0, 1]
    >>> before = KernelDensity(bandwidth=0.7).fit(X).score([[0.2]])
    >>> after = KernelDensity(bandwidth=0.7).fit(X[[0, 2, 3]]).score([[0.2]])
    >>> bool(np.isclose(score, before - after))
    True
    >>> explainer.rank_outliers(1)
    array([3])
    """

    _parameter_constraints: dict = {**NoveltyInfluence._parameter_constraints}

    def __init__(
        self,
        estimator: BaseEstimator | None = None,
        *,
        novelty: bool = False,
        contamination: float | Literal["auto"] = "auto",
        influence_features: bool = False,
        n_jobs: int | None = None,
        progress: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.estimator = estimator
        self.novelty = novelty
        self.contamination = contamination
        self.influence_features = influence_features
        self.n_jobs = n_jobs
        self.progress = progress
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(
        self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None
    ) -> KDEInfluence:
        """Fit the estimator, unless it is fitted, and sum the kernels over all pairs of rows.

        Parameters
        ----------
        X : array-like of shape (n_train, n_features)
            Training rows. Behind a pipeline, whatever the pipeline takes.
        y : Ignored
            Present for scikit-learn's conventions.
        sample_weight : array-like of shape (n_train,), default=None
            Non-negative weights. For a fitted estimator: None, or the weights it was fitted with.

        Returns
        -------
        self : KDEInfluence
            Fitted.

        Raises
        ------
        ValueError
            If the rows or weights are not those of a fitted estimator, the weights are negative,
            or fewer than two rows have a positive weight.
        UnsupportedEstimatorError
            If the model is not a KernelDensity.
        """
        return self._fit(X, sample_weight=sample_weight)

    def get_metadata_routing(self) -> MetadataRouter:
        """Route ``sample_weight`` to this explainer and to its estimator.

        Returns
        -------
        routing : MetadataRouter
            Routing of ``fit``.
        """
        estimator = self._default_estimator() if self.estimator is None else self.estimator
        mapping = MethodMapping().add(caller="fit", callee="fit")
        router = MetadataRouter(owner=self).add_self_request(self)
        return router.add(estimator=estimator, method_mapping=mapping)

    def _default_estimator(self):
        density = KernelDensity()
        return density.set_fit_request(sample_weight=True) if routing_enabled() else density

    def _check_model(self, model):
        if not isinstance(model, KernelDensity):
            raise UnsupportedEstimatorError(
                f"KDEInfluence explains KernelDensity, and the model is a {type(model).__name__}. "
                "Use GMMInfluence for a GaussianMixture, KNNInfluence for NearestNeighbors; "
                "and InfluenceExplainer for other models: it says which it reads."
            )

    def _make_deletion(self, model, rows, sample_weight):
        check_training_rows(model, np.asarray(model.tree_.data), rows)
        asked = check_weights(sample_weight, rows)
        # The tree knows the weights that the density was really fitted with.
        weights = model.tree_.sample_weight
        weights = None if weights is None else np.array(weights)
        if asked is not None and self.estimator_ is self.estimator:
            _check_fitted_weights(asked, weights)
        return KDEDeletion(model, rows, weights, n_jobs=self.n_jobs, progress=self.progress)

    def _training_scores(self):
        self._deletion.keep_leave_one_out()
        return clipped(-self._deletion.training_addition())

    def _top_k(self, queries, k, return_scores, *, largest):
        if not (largest and self._nearest_is_strongest()):
            return super()._top_k(queries, k, return_scores, largest=largest)
        distances, indices = self._deletion.nearest(queries, k)
        if not return_scores:
            return None, indices
        log_sums = self._in_blocks(self._deletion.log_sums, queries)
        scores = self._deletion.change_at(log_sums, distances)
        # One row that holds most of a query's density, or no row at all.
        for query in np.flatnonzero(np.isnan(scores).any(axis=1)):
            every = self._deletion.change(
                queries[query : query + 1], slice(0, self.n_samples_fit_)
            )
            scores[query] = every[0, indices[query]]
        return scores, indices

    def _nearest_is_strongest(self):
        weights = self._deletion.weights
        equal = weights is None or np.all(weights == weights[0])
        low_dimension = self._deletion.n_features <= TREE_DIMENSIONS
        return equal and low_dimension and self._model.kernel in FALLING


def _check_fitted_weights(asked, fitted):
    if np.array_equal(asked, np.ones(len(asked)) if fitted is None else fitted):
        return
    raise ValueError(
        "The KernelDensity is already fitted, with other weights than sample_weight. "
        "Leave sample_weight out to use the weights it was fitted with, or pass it unfitted."
    )
