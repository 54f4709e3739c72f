"""Rows as points whose dot products are first-order scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import TransformerMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skinfluence._compat import check_feature_names_in
from skinfluence._output import labelled, row_labels
from skinfluence.explainers.engine_backed import EngineBacked


def _embeds(explainer):
    kind = explainer._engine_ahead()
    if kind is None or kind.embeds:
        return True
    raise AttributeError(
        f"transform embeds gradients, and the deletions of {type(explainer.estimator).__name__} "
        "are exact without any. Use score_influence."
    )


class Embedding(  # type: ignore[call-arg]  # scikit-learn's __init_subclass__ is untyped
    TransformerMixin, EngineBacked, auto_wrap_output_keys=None
):
    """What makes an explainer of models a transformer."""

    # Its engine embeds: embed, train_embedding, embedding_width.
    _engine: Any

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags

    # TransformerMixin has one of its own, which rules transform alone.
    set_output = EngineBacked.set_output

    @available_if(_embeds)
    def transform(self, X: ArrayLike) -> Any:
        """Embed rows so that dot products with ``train_embedding`` are first-order scores.

        ``e(z) = L^-1 g_z`` with H = L L' and g_z the gradient of the prediction: the decision
        function of the chosen (``output=``) or predicted class, or the target where it needs no
        y. Neighbours in this space depend on the same training rows.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Rows.

        Returns
        -------
        embedding : ndarray of shape (n_queries, n_dimensions)
            One dimension a parameter; with more than 2,000 of them, one for each direction that
            the training rows span.

        Raises
        ------
        ValueError
            If the Hessian is not positive, or is not at hand (``solver="cg"``).
        """
        check_is_fitted(self)
        rows = self._model_rows(X)
        index = row_labels(X, rows.shape[0])
        embedding = self._engine.embed(rows)
        return labelled(self, embedding, index=index, columns=self.get_feature_names_out())

    @available_if(_embeds)
    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        """Fit, then embed the same rows.

        Parameters
        ----------
        X : array-like of shape (n_train, n_features)
            Training rows.
        y : array-like of shape (n_train,), default=None
            Targets.
        **fit_params : dict
            Passed to ``fit``.

        Returns
        -------
        embedding : ndarray of shape (n_train, n_dimensions)
            As :meth:`transform` gives it.
        """
        return super().fit_transform(X, y, **fit_params)

    def train_embedding(self, *, out: Any = None) -> Any:
        """Embed the training rows: ``L^-1 gbar_i``, gbar_i being what a deletion takes away.

        Parameters
        ----------
        out : array-like of shape (n_train, n_dimensions), default=None
            Where to write it: an array, a memmap, or anything with slice assignment.

        Returns
        -------
        embedding : ndarray of shape (n_train, n_dimensions)
            ``transform(Z) @ train_embedding().T`` are the first-order scores of the prediction;
            the squared norms are the first-order self influence on the loss, for rows of weight 1
            and an objective that is a sum. `out` itself where it was given.
        """
        check_is_fitted(self)
        if out is not None:
            return self._engine.train_embedding(out)
        embedding = self._engine.train_embedding()
        names = self.get_feature_names_out()
        return labelled(self, embedding, index=self.train_index_, columns=names)

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
        """Name the columns of ``transform``.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Checked against the columns seen by ``fit``; not used otherwise.

        Returns
        -------
        names : ndarray of str of shape (n_dimensions,)
            ``influence0``, ``influence1``, ...
        """
        check_is_fitted(self)
        check_feature_names_in(self, input_features, generate_names=False)
        width = self._engine.embedding_width()
        return np.asarray([f"influence{j}" for j in range(width)], dtype=object)
