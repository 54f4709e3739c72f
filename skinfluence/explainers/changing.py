"""What if training rows had other values: the questions that deletion does not answer."""

from __future__ import annotations

import difflib
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skinfluence import _loops, attribution
from skinfluence._output import few, labelled, labelled_pairs
from skinfluence.engines import DeletionEngine
from skinfluence.explainers.engine_backed import EngineBacked


class ChangedRows(EngineBacked):
    """Public methods of InfluenceExplainer about other values of training rows."""

    _engine: DeletionEngine

    def _explain(self, model, rows, y, sample_weight):
        self.__dict__.pop(
            "model_feature_names_", None
        )  # the rows of another fit may have had some
        super()._explain(model, rows, y, sample_weight)
        if self._feature_columns is not None:
            self.model_feature_names_ = np.asarray(self._feature_columns, dtype=object)

    def perturbation(
        self,
        X: Any,
        y: Any = None,
        *,
        rows: ArrayLike | None = None,
        features: Any = None,
    ) -> Any:
        """Derivative of each query's value in the inputs of training rows.

        ``d value(z) / d x_i``, the model fitted again included: where to push row i so that the
        loss at query z rises (Koh and Liang [1]_, equation 5), and which of its features carry
        its influence. For a smooth loss it is
        ``-w_i d/dx_i <H^-1 g_z, g_i>``, the exact derivative of a refit: `method` is no part of
        it, nor is `relative`, as it is the derivative of a value and not of a deletion score. Of a
        network it is as good as its curvature and solver are.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features), or None
            Queries; None where the target is the parameters.
        y : array-like of shape (n_queries,), default=None
            Their targets, where the target needs them.
        rows : array-like of int, default=None
            Positions of the training rows; None for all.
        features : str, int or array-like of these, default=None
            Names (of `model_feature_names_`) or positions of the columns in which derivatives are
            taken, or a mask over them; None for all. They are those of the rows as the model sees
            them: the first steps of a pipeline are held fixed, and behind a scaler a derivative
            is one a standard deviation.

        Returns
        -------
        slopes : ndarray of shape (n_queries, n_rows, n_features)
            In units of the target a unit of the feature; positive: to raise the feature in this
            row raises the value at this query. Inputs that are no flat rows keep their shape. A
            frame of shape (n_queries * n_rows, n_features) where ``set_output`` asks for one,
            labelled by query, row and feature.

        Raises
        ------
        UnsupportedEstimatorError
            If what the model answers has no derivative in its rows.
        ValueError
            If a feature or a position is unknown, rows have no columns to choose from, or the
            result does not fit scikit-learn's ``working_memory`` and `rows` is None.

        See Also
        --------
        score_replacement : A finite change of a row.

        References
        ----------
        .. [1] P. W. Koh and P. Liang (2017), Understanding black-box predictions via influence
           functions, ICML 34.
        """
        check_is_fitted(self)
        index, queries = self._labels_and_queries(X, y)
        chosen = self._chosen_features(features)
        if rows is None:
            self._check_size(queries.shape[0], chosen)
        at = np.arange(self.n_samples_fit_) if rows is None else self._checked_rows(rows)
        asked = {} if chosen is None else {"features": chosen}
        slopes = self._engine.perturbation(queries, at, **asked)
        if slopes.ndim != 3 or not hasattr(self, "model_feature_names_"):
            return slopes
        names = self.model_feature_names_
        names = names if chosen is None else names[chosen]
        return labelled_pairs(
            self, slopes, queries=index, rows=self.train_index_[at], columns=names
        )

    def score_replacement(
        self, X_new: Any = None, y_new: Any = None, *, rows: ArrayLike, queries: Any
    ) -> Any:
        """Change of each query's value when training rows take other values, one at a time.

        What another label, or other inputs, of a row would have done. By this explainer's method:
        ``first_order`` is ``-w_i <g_z, H^-1 (g(new row) - g_i)>``; ``newton`` moves the parameters
        by ``-(H + w_i (h(new row) - h_i))^-1 w_i (g(new row) - g_i)`` and *evaluates* the target
        there; ``refit``, and models whose deletions are exact, give what a fit to the changed rows
        would. The row keeps its sample weight, and takes the class weight of its new label.
        `relative` is no part of it.

        Parameters
        ----------
        X_new : array-like of shape (n_rows, n_features), default=None
            Row j takes the place, and the weight, of the training row at ``rows[j]``; in the
            columns of the training rows as they were passed, before the first steps of a
            pipeline, which are held fixed. None for the inputs that these rows have, under other
            targets.
        y_new : array-like of shape (n_rows,), or one target, default=None
            Targets of the new rows; None for those that the rows at `rows` have.
        rows : array-like of int of shape (n_rows,)
            Positions of training rows; one may come several times.
        queries : tuple of (X, y), or X
            The queries, and their targets or None; a Dataset or DataLoader holds its own. None
            where the target is the parameters.

        Returns
        -------
        scores : ndarray of shape (n_queries, n_rows)
            Value of the target after the replacement minus before, in the unit of
            ``score_unit_``: of a loss, positive where the new row hurts the query. A frame where
            ``set_output`` asks for one, labelled by query and replaced row.

        Raises
        ------
        ValueError
            If nothing is replaced, there is not one position a new row, one lies outside, or a
            label is not one of the training's.

        See Also
        --------
        perturbation : The derivative, for small changes.
        score_influence : The row deleted instead.
        """
        check_is_fitted(self)
        X, y = as_pair(queries)
        index, asked = self._labels_and_queries(X, y)
        at = self._checked_rows(rows)
        if X_new is None and y_new is None:
            raise ValueError(
                "X_new and y_new are both None, so that nothing is replaced. Pass other inputs, "
                "other targets, or both."
            )
        self._check_is_rows(X_new)
        new = self._model_rows(self._inputs_at(at) if X_new is None else X_new)
        _check_as_many(new.shape[0], at, "rows")
        if y_new is not None:
            y_new = np.full(len(at), y_new) if np.ndim(y_new) == 0 else y_new
            _check_as_many(len(y_new), at, "targets")
            y_new = self._kind.model_targets(self.estimator_, y_new)
        scores = self._engine.score_replacement(asked, at, new, y_new)
        return labelled(self, scores, index=index, columns=self.train_index_[at])

    # -- what is asked about ----------------------------------------------------------------------

    def _checked_rows(self, rows):
        return attribution.positions(np.atleast_1d(rows), self.n_samples_fit_, "rows")

    def _check_is_rows(self, X_new):
        """Refuse one row that is no table, before a scaler or an encoder stumbles over it."""
        if X_new is not None and len(getattr(self._raw_rows, "shape", ())) == 2 > np.ndim(X_new):
            raise ValueError(
                f"X_new has {np.ndim(X_new)} dimensions, and new rows are a table like the "
                "training rows. Pass one row as frame.iloc[[i]], or as row.reshape(1, -1)."
            )

    def _inputs_at(self, at):
        """The inputs that some training rows have, as the user passed them."""
        inputs = self._kind.take(self._raw_rows, None, at)[0]
        if not hasattr(inputs, "shape") and not isinstance(inputs, tuple | dict | list):
            raise ValueError(
                f"X_new is None, which keeps the inputs, and the training rows are held in a "
                f"{type(self._raw_rows).__name__} together with their targets. Pass the "
                "inputs of these rows as arrays."
            )
        return inputs

    def _check_size(self, n_queries, chosen):
        """Refuse derivatives in all rows that do not fit the memory."""
        shape = self._fit_X.shape[1:] if chosen is None else (len(chosen),)
        numbers = float(n_queries) * self.n_samples_fit_ * np.prod(shape, dtype=float)
        if 8.0 * numbers > _loops.memory_budget():
            raise ValueError(
                f"The derivatives of {n_queries} queries in {np.prod(shape, dtype=int)} features "
                f"of all {self.n_samples_fit_} rows do not fit working_memory. Pass rows=, the "
                "positions of those in question, fewer features=, or fewer queries."
            )

    def _chosen_features(self, features):
        """Positions of columns in model space, by name, position or mask; None for all."""
        if features is None:
            return None
        names = getattr(self, "model_feature_names_", None)
        if names is None:
            raise ValueError(
                f"features={features!r} chooses columns, and the input of a row has none here: "
                "it is no flat row of numbers. Leave features=None, and take from the result what "
                "you want."
            )
        if isinstance(features, str) or np.ndim(features) == 0:
            features = [features]
        features = np.asarray(features, dtype=object)
        if features.shape == names.shape and all(isinstance(f, bool | np.bool_) for f in features):
            return np.flatnonzero(features)
        found = [_position(feature, names) for feature in features]
        return np.asarray(found, dtype=np.intp)


def _position(feature, names):
    """Position of one feature, by its name or by itself."""
    if isinstance(feature, str):
        found = np.flatnonzero(names == feature)
        if len(found) == 1:
            return found[0]
        if len(found):
            raise ValueError(
                f"features holds {feature!r}, the name of {len(found)} columns. Pass positions: "
                f"{few([str(k) for k in found])}."
            )
        # A ColumnTransformer puts its own name before that of the column.
        near = [name for name in names if str(name).endswith(f"__{feature}")]
        near = near or difflib.get_close_matches(feature, list(names), n=3) or list(names)
        raise ValueError(
            f"features holds {feature!r}, and the model has no feature of this name. The nearest "
            f"are {few([repr(name) for name in near])}; model_feature_names_ has all."
        )
    if isinstance(feature, bool | np.bool_) or not isinstance(feature, int | np.integer):
        raise ValueError(
            f"features holds {feature!r}, which is neither a name nor a position. Pass names from "
            f"model_feature_names_, integers, or a mask of all {len(names)} features."
        )
    if not 0 <= feature < len(names):
        raise ValueError(
            f"features holds the position {feature}, and the model has {len(names)} features. "
            f"Pass positions from 0 to {len(names) - 1}, or names."
        )
    return int(feature)


def _check_as_many(count, at, what):
    if count != len(at):
        raise ValueError(
            f"There are {count} new {what} and {len(at)} positions of rows that they replace. "
            f"Pass one position a new row; a position may come several times."
        )


def as_pair(queries):
    """Queries and their targets, of a pair or of queries alone."""
    if not isinstance(queries, tuple) and not (isinstance(queries, list) and len(queries) == 2):
        return queries, None
    if len(queries) != 2:
        raise ValueError(
            f"queries has {len(queries)} entries, and (X, y) is needed. Pass (X, None) where the "
            "target needs no y, and several inputs as ((X1, X2), y)."
        )
    return queries
