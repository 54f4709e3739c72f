"""What InfluenceSketch does beside what every explainer of models does: blocks, and two passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from skinfluence._compat import _fit_context
from skinfluence._output import row_labels
from skinfluence._peel import is_fitted, peel
from skinfluence.base import all_or_nothing
from skinfluence.diagnostics import SketchedDiagnostics
from skinfluence.engines.sketch.engine import SketchEngine
from skinfluence.engines.sketch.reading import read, refuse_balanced
from skinfluence.engines.sketch.rows import Given, block_weights, blocks_of, centre_of
from skinfluence.engines.sketch.sources import StreamSource
from skinfluence.explainers.engine_backed import EngineBacked

# What is known when all rows have been seen.
_OF_ALL_ROWS = (
    "cooks_distance_",
    "leverage_",
    "leverage_std_",
    "n_effective_params_",
    "shrinkage_",
    "stationarity_",
    "train_index_",
)
# Options that the sums of the first pass depend on.
_OF_THE_SUMS = (
    "n_components",
    "projection",
    "n_sketches",
    "hessian",
    "features",
    "random_state",
)


def _if_fitted_given(explainer: Any) -> bool:
    if explainer.estimator is not None and is_fitted(explainer.estimator):
        return True
    raise AttributeError(
        "partial_fit takes rows of an estimator that is fitted, and this one is not. Fit it first "
        "(block by block, where it has a partial_fit of its own), or use fit."
    )


class Sketching(EngineBacked):
    """Public methods of InfluenceSketch, and how it takes rows that come in blocks."""

    _engine: SketchEngine
    _kind: type[SketchEngine]
    _example = "InfluenceSketch(LogisticRegression())"

    def _engine_of(self, model):
        return SketchEngine

    def _lacks_y(self, X):
        if self.estimator is not None and not isinstance(self.estimator, type):
            self._check_model(peel(self.estimator)[1])
        return not isinstance(self.estimator, type)  # a class is refused by name

    # -- fitting ----------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the estimator, unless it is fitted, and make both passes over the rows.

        Parameters
        ----------
        X : array-like or CSR of shape (n_train, n_features), or blocks of rows
            Training rows: an array, a memmap, a sparse matrix, or what a pipeline takes. They are
            gone through in blocks and not copied, and `score_influence` goes through them again.
            Or, for a fitted estimator, rows that never are in memory together: a function without
            parameters that yields tuples (X, y) or (X, y, sample_weight), or an iterable of them
            that starts anew each time.
        y : array-like of shape (n_train,) or (n_train, n_outputs)
            Targets; None where X is made of blocks, which have theirs.
        sample_weight : array-like of shape (n_train,), default=None
            Non-negative weights; for a fitted estimator, those it was fitted with.

        Returns
        -------
        self : InfluenceSketch
            Fitted.

        Raises
        ------
        ValueError
            If y is missing, the rows do not fit the estimator, or blocks can be gone through only
            once, differ from pass to pass, or belong to an estimator that is not fitted.
        UnsupportedEstimatorError
            If the estimator's objective is not known, or its loss has no curvature.
        """
        given = blocks_of(X, y)
        if given is None:
            return self._fit(X, y, sample_weight)
        if sample_weight is not None:
            raise ValueError(
                "X is made of blocks, which come with their own weights, and sample_weight was "
                "passed beside it. Let X yield (X, y, sample_weight)."
            )
        with all_or_nothing(self):
            self._fit_blocks(given)
        return self

    def _fit_blocks(self, given: Callable[[], Iterator[Given]]) -> None:
        first = next((one for one in given() if len(block_weights(None, one.X))), None)
        if first is None:
            raise ValueError("X yields no block with a row. Pass at least one.")
        self._begin(first.X, first.y, first.sample_weight)
        engine = self._engine
        engine.go_through(
            StreamSource(
                self._model,
                given,
                partial(self._block_rows, reset=False),
                partial(self._kind.model_targets, self.estimator_),
                engine.slices,
            )
        )
        self._show(engine)
        self.train_index_ = np.arange(engine.n_train)

    def _begin(self, X, y, sample_weight):
        """An engine that has seen no row, from the first block of rows."""
        self._refuse_unfitted()
        self._drop_shown()
        for name in ("_raw_rows", "_fit_X", "_train_y"):  # of an earlier fit to an array
            self.__dict__.pop(name, None)
        self.estimator_ = self.estimator
        self._heads, self._model = peel(self.estimator_)
        self._check_model(self._model)
        if self._heads:
            self._adopt_features()
        self._kind = self._engine_of(self._model)
        rows = self._block_rows(X, reset=True)
        targets = self._kind.model_targets(self.estimator_, y)
        weights = block_weights(sample_weight, X)
        check_consistent_length(weights, targets)
        fit = read(self._model, targets, weights)
        refuse_balanced(self._model, fit)
        centre = centre_of(rows, self.block_size)
        self._engine = self._kind(self._model, fit, self._settings(), centre)

    def _refuse_unfitted(self):
        if self.estimator is None or isinstance(self.estimator, type):
            self._default_estimator()
        if not is_fitted(self.estimator):
            raise ValueError(
                f"{type(self.estimator).__name__} is not fitted, and blocks of rows are never in "
                "memory together to fit it on. Fit it first (block by block, where it has a "
                "partial_fit), and pass the fitted one."
            )

    def _refuse_other_options(self):
        """Sums are of one estimator and one sketch, whatever was set since they were begun."""
        begun = vars(self._engine.settings)
        changed = [name for name in _OF_THE_SUMS if getattr(self, name) is not begun[name]]
        changed = [name for name in changed if getattr(self, name) != begun[name]]
        if self.estimator is not self.estimator_:
            changed = ["estimator", *changed]
        if changed:
            raise ValueError(
                f"{' and '.join(changed)} changed since the first rows were added, and the sums "
                "belong to what it was. Add the rows to a new sketch (sklearn.base.clone makes "
                "one), or use fit, which starts anew."
            )

    def _block_rows(self, X, *, reset):
        rows = self._kind.model_rows(self, self._heads, X, reset=reset)
        if hasattr(self, "_engine") and not reset:
            self._engine.check_columns(rows)
        return rows

    def _show(self, engine):
        self._drop_shown()
        self.n_samples_fit_ = engine.n_train
        for name, value in engine.attributes().items():
            setattr(self, name, value)

    def _drop_shown(self):
        for name in _OF_ALL_ROWS:
            self.__dict__.pop(name, None)

    @available_if(_if_fitted_given)
    @_fit_context(prefer_skip_nested_validation=False)
    def partial_fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Add rows to the first pass, for a fitted estimator whose rows come block by block.

        When all rows have been added, ask :meth:`diagnostics` for them, block by block again.

        Parameters
        ----------
        X : array-like or CSR of shape (n_rows, n_features)
            Some of the training rows, in any order; each once.
        y : array-like of shape (n_rows,) or (n_rows, n_outputs)
            Their targets.
        sample_weight : array-like of shape (n_rows,), default=None
            Their weights.

        Returns
        -------
        self : InfluenceSketch
            With these rows in its sums, and none of its rows in memory.

        Raises
        ------
        ValueError
            If the rows do not fit the estimator, it weights classes by how many rows they have, or
            it or an option has changed since the first rows were added.
        """
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None. Pass "
                "the targets of these rows."
            )
        with all_or_nothing(self):
            if not hasattr(self, "_engine"):
                self._begin(X, y, sample_weight)
            self._refuse_other_options()
            rows = self._block_rows(X, reset=False)
            targets = self._kind.model_targets(self.estimator_, y)
            self._engine.add_given(rows, targets, block_weights(sample_weight, X))
            self._show(self._engine)
        return self

    # -- answers ----------------------------------------------------------------------------------

    def diagnostics(
        self, X: Any = None, y: Any = None, sample_weight: ArrayLike | None = None
    ) -> SketchedDiagnostics | list[SketchedDiagnostics]:
        """Leverages, residuals and distances of training rows.

        Parameters
        ----------
        X : array-like or CSR of shape (n_rows, n_features), default=None
            Some of the training rows, as after :meth:`partial_fit`; None for all that ``fit`` saw.
        y : array-like of shape (n_rows,), default=None
            Their targets.
        sample_weight : array-like of shape (n_rows,), default=None
            Their weights.

        Returns
        -------
        diagnostics : SketchedDiagnostics, or list of SketchedDiagnostics
            One for each output or one-vs-rest class, where the estimator solves several problems.

        Raises
        ------
        ValueError
            If X is None after `partial_fit`, which keeps no rows; y is missing; or a row was not
            among those of the first pass.
        """
        check_is_fitted(self)
        engine = self._engine
        if X is None:
            engine.rows_of("diagnostics")
            found = engine.diagnostics(self.train_index_)
        elif y is None:
            raise ValueError("y is None, and residuals need targets. Pass those of these rows.")
        else:
            rows = self._model_rows(X)
            targets = self._kind.model_targets(self.estimator_, y)
            measured = engine.measure_given(rows, targets, block_weights(sample_weight, X))
            found = engine.diagnostics(row_labels(X, rows.shape[0]), measured)
        return found[0] if len(found) == 1 else found

    def rank_outliers(self, n: int | None = None) -> np.ndarray:
        """Rank the training rows by position, most influential first.

        Parameters
        ----------
        n : int, default=None
            How many rows to return; None for all.

        Returns
        -------
        positions : ndarray of int of shape (n,)
            By descending `self_influence`; ties go to the smaller position.
        """
        return super().rank_outliers(n)

    def self_influence(self) -> Any:
        r"""Generalised Cook's distances of the training rows.

        Returns
        -------
        scores : ndarray of shape (n_train,)
            :math:`c_i = r_i^2 h_i / (1 - h_i)`, with r the residual over its standard deviation
            and h the leverage in the sketch; added up over the problems of a model with several.
            Infinite where a row alone determines a direction. Not in the unit of
            ``score_influence``. A Series labelled by ``train_index_`` where ``set_output`` asks
            for one.
        """
        return super().self_influence()
