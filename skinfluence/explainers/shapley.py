"""Shapley values of the training rows of nearest-neighbour models."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skinfluence._compat import HasMethods, _fit_context
from skinfluence.engines.shapley.engine import ShapleyEngine
from skinfluence.explainers.engine_backed import EngineBacked


class KNNShapley(EngineBacked):
    """Shapley values of training rows for the predictions of their nearest neighbours.

    The value of row i for a query is its mean contribution to ``v(S)`` over all orders in which
    the training rows could have come, S being those that came before it:

    - of a classifier ``v(S)`` is the share of the k votes of S that go to the query's label;
    - of a regressor it is ``-(sum of the targets of the k nearest rows of S / k - y)^2``, summed
      over targets.

    Where the model weights its neighbours, v is their weighted share of votes, or weighted mean,
    as the model predicts from the rows of S. Without rows both predict 0.

    The values of all rows for a query add up to ``v(all rows) - v(no row)``. They follow from the
    order of the rows by distance, without going through the 2^n subsets [1]_, in O(n log n) a
    query; with weights, by integrals at some 130 nodes and O(n k^2) a node, exact to 1e-10.

    A deletion asks what is lost if a row goes and all others stay, which is nothing for most rows
    of a nearest-neighbour model: another neighbour stands in, and copies make each other
    worthless. Shapley values share what copies do together. Use them to value data, and
    ``InfluenceExplainer(KNeighborsClassifier())`` for what deleting one row does.

    Parameters
    ----------
    estimator : estimator
        KNeighborsClassifier or KNeighborsRegressor, or a pipeline or search of one. A function as
        `weights` has to be positive, and one of each distance alone. Fitted: explained as it is.
        Unfitted: a clone is fitted.
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
    method_ : str
        "shapley".
    score_unit_ : {"share of votes", "negative squared error"}
        What the values of all rows add up to.
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
    InfluenceExplainer : What deleting a row does, where all others stay.
    KNNInfluence : Deletions from a nearest-neighbour density.

    Notes
    -----
    Rows at the same distance count in the order of their positions. A positive value is that of a
    proponent, as in all explainers. ``score_influence(X, y, reduce="mean")`` values the rows for
    the mean accuracy on a held-out set, and the sum of a group's values (``score_groups``) is the
    value of the group's rows.

    References
    ----------
    .. [1] R. Jia et al. (2019), Efficient task-specific data valuation for nearest neighbor
       algorithms, PVLDB 12.

    Examples
    --------
    The values add up to the share of the neighbours that have the query's label:

    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from skinfluence import KNNShapley
    >>> X, y = load_iris(return_X_y=True)
    >>> model = KNeighborsClassifier().fit(X[::2], y[::2])
    >>> values = KNNShapley(model).fit(X[::2], y[::2]).score_influence(X[1::2], y[1::2])
    >>> proba = model.predict_proba(X[1::2])[range(75), y[1::2]]
    >>> bool(abs(values.sum(axis=1) - proba).max() < 1e-12)
    True
    """

    _parameter_constraints: dict = {
        **EngineBacked._parameter_constraints,
        "estimator": [None, HasMethods(["fit"])],
    }
    _example = "KNNShapley(KNeighborsClassifier())"

    def __init__(
        self,
        estimator: Any,
        *,
        n_jobs: int | None = None,
        progress: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.estimator = estimator
        self.n_jobs = n_jobs
        self.progress = progress
        self.random_state = random_state

    def _engine_of(self, model):
        return ShapleyEngine

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: ArrayLike, y: Any = None) -> KNNShapley:
        """Fit the estimator, unless it is fitted, and keep its rows and targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_train, n_features)
            Training rows. Behind a pipeline, whatever the pipeline takes.
        y : array-like of shape (n_train,) or (n_train, n_targets)
            Targets.

        Returns
        -------
        self : KNNShapley
            Fitted.

        Raises
        ------
        ValueError
            If y is missing, or these rows are not those of the fitted estimator.
        UnsupportedEstimatorError
            If the model is no nearest-neighbour classifier or regressor.
        """
        return self._fit(X, y)
