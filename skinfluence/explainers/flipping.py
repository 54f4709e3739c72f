"""Which training rows a predicted label hangs on."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skinfluence import _loops, attribution
from skinfluence._peel import decides_by_a_threshold
from skinfluence.engines import DeletionEngine
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.explainers.engine_backed import EngineBacked
from skinfluence.whatif import Flip
from skinfluence.whatif._answers import flips


class Flipping(EngineBacked):
    """The public method of InfluenceExplainer about sets of rows that decide a prediction."""

    _engine: DeletionEngine

    def smallest_flip(
        self,
        X: ArrayLike,
        *,
        max_rows: int | None = None,
        n_random: int = 10,
        minimal: bool = True,
        retrain: Callable[[np.ndarray], Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> list[Flip]:
        """A smallest set found of training rows whose deletion changes each predicted label.

        Rows are ordered by what their deletion does to the margin of the predicted class over
        another, by this explainer's `method`; the shortest prefix of the order that changes the
        label is found by bisection over refits ([1]_, [2]_), its last rows are exchanged for
        fewer by the margins of a refit without the others, and every row is put back once. Every
        label is that of a real refit: of a linear model the minimum without these rows, which the
        estimator's own ``fit``, polished, has to confirm.

        Where the order of a linear model by derivatives finds none, that of all refits is taken,
        up to 5,000 rows. `n_jobs` and `relative` play no part.

        The set is small, and not proven to be the smallest [3]_, except for nearest neighbours,
        where the nearest rows of the predicted class are. Every class keeps a row: without one,
        no label is left to predict.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Queries.
        max_rows : int, default=None
            Sets of more rows count as none; None allows any.
        n_random : int, default=10
            Random orders of all rows, to compare with: how many rows have to go in each, and how
            many sets of as many rows as were found change the label.
        minimal : bool, default=True
            Put rows back one at a time, so that none of them is idle. It takes about a refit a
            row of the set, and is what takes longest where the set is large.
        retrain : callable, default=None
            ``retrain(positions)`` returns a network trained on the training rows at these
            positions, as for ``validate``; a torch module needs it. Networks are trained again
            for every set that is tried, so that ``n_random=0`` and ``minimal=False`` save most of
            the time, and they are ordered once, by the fitted network.
        random_state : int, RandomState instance or None, default=None
            Draws the random orders.

        Returns
        -------
        flips : list of Flip
            One a query: the rows, how many there are, the labels before and after, and what
            random sets need; see :class:`skinfluence.whatif.Flip`.

        Raises
        ------
        UnsupportedEstimatorError
            If the model predicts no label (regressions, densities), or a wrapper decides by a
            threshold of its own.
        ValueError
            If `max_rows` or `n_random` is out of range, or a module comes without `retrain`.

        See Also
        --------
        score_groups : What a set that you name does to the loss.
        proponents : Rows whose deletion alone does most.

        References
        ----------
        .. [1] J. Yang, S. Jain and B. C. Wallace (2023), How many and which training points
           would need to be removed to flip this prediction?, EACL.
        .. [2] T. Broderick, R. Giordano and R. Meager (2020), An automatic finite-sample
           robustness metric: when can dropping a little data make a big difference?, arXiv
           2011.14999.
        .. [3] A. Ilyas, S. M. Park, L. Engstrom, G. Leclerc and A. Madry (2022), Datamodels:
           predicting predictions from training data, ICML 39.
        """
        check_is_fitted(self)
        self._check_flips(max_rows, n_random)
        labels = self._engine.labels(self._model_rows(X), retrain)
        queries = range(labels.n_queries)
        bar = _loops.progress_bar(
            queries, total=len(queries), enabled=self.progress, desc="smallest_flip"
        )
        found = flips(
            labels,
            bar,
            max_rows=max_rows,
            n_random=int(n_random),
            minimal=minimal,
            rng=check_random_state(random_state),
            train_index=self.train_index_,
        )
        return list(found)

    def _check_flips(self, max_rows, n_random):
        if max_rows is not None:
            attribution.check_count("max_rows", max_rows, 1, self.n_samples_fit_)
        if isinstance(n_random, bool) or not isinstance(n_random, Integral) or n_random < 0:
            raise ValueError(
                f"n_random is the number of random orders of the rows. Got {n_random!r}. Pass 0 "
                "for none, or 10 to compare with."
            )
        if decides_by_a_threshold(self.estimator_):
            raise UnsupportedEstimatorError(
                f"{type(self.estimator_).__name__} decides by a threshold of its own, which is "
                "held fixed, and not by the margin of its classes. Explain the classifier inside."
            )
