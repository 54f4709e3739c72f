"""What engines of deletions are asked beyond them: other values of rows, labels without rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence import _loops
from skinfluence.engines.labels import Array, Labels, Positions
from skinfluence.exceptions import UnsupportedEstimatorError


class ChangedRows:
    """What other training rows would do; by default, refused.

    Attributes
    ----------
    model : object
        As in :class:`~skinfluence.engines.base.Engine`, of which this is a part.
    """

    model: Any

    # -- other values of training rows ------------------------------------------------------------

    def perturbation(
        self, queries: Any, rows: Positions, features: Positions | None = None
    ) -> Array:
        """Derivative of the queries' values in the inputs of some training rows.

        (n_queries, n_rows, \\*shape of a row's input), or of some columns of it,
        (n_queries, n_rows, n_features); by default, refused.
        """
        raise self._without("perturbation")

    def score_replacement(self, queries: Any, rows: Positions, new: Any, new_y: Any) -> Array:
        """Change at each query when training rows take other values, (n_queries, n_rows).

        One at a time: row j of `new` and `new_y`, in model space, takes the place of the row at
        ``rows[j]``; `new_y` is None where the targets stay. By default, refused.
        """
        raise self._without("score_replacement")

    def mean_replacement(self, queries: Any, rows: Positions, news: Iterable[Any]) -> list[Array]:
        """Mean over the queries of :meth:`score_replacement`, (n_rows,), for each of `news`.

        `news` are rows in model space, one set after the other, which keep the targets of the
        training rows at `rows`.
        """
        size = max(1, int(_loops.memory_budget() / (8.0 * max(1, queries.shape[0]))))

        def mean(new):
            found = [np.zeros(0)]
            for part in _loops.slices(len(rows), size):
                scores = self.score_replacement(queries, rows[part], new[part], None)
                found.append(scores.mean(axis=0))
            return np.concatenate(found)

        return [mean(new) for new in news]

    def _without(self, question: str) -> UnsupportedEstimatorError:
        name = type(self.model).__name__
        return UnsupportedEstimatorError(
            f"{question} asks for other values of training rows, and what these do to {name} is "
            "not known. Fit it to the changed rows, or ask what deleting them does: "
            "score_influence."
        )

    # -- labels -----------------------------------------------------------------------------------

    def labels(self, rows: Any, retrain: Callable[[Positions], Any] | None) -> Labels:
        """Labels predicted at `rows`, with and without training rows; by default, refused.

        Parameters
        ----------
        rows : object
            Queries in model space.
        retrain : callable or None
            As for :meth:`agreement`.
        """
        raise self.no_labels()

    def labels_without(
        self,
        rows: Any,
        removed: Positions,
        retrain: Callable[[Positions], Any] | None = None,
    ) -> NDArray[Any]:
        """Labels that a refit without the rows `removed` predicts at `rows`, (n_queries,)."""
        found = self.labels(rows, retrain)
        return found.classes[found.without(removed)]

    def no_labels(self) -> UnsupportedEstimatorError:
        """The refusal of models that predict no labels."""
        return UnsupportedEstimatorError(
            "smallest_flip deletes rows until the predicted label changes, and "
            f"{type(self.model).__name__} predicts no label of a set of classes. Ask "
            "score_influence or score_groups how far deletions move what it answers, or explain "
            "a classifier of what lies above your threshold."
        )

    def _refuse_retrain(self, retrain: Any) -> None:
        if retrain is not None:
            raise ValueError(
                "retrain= trains a network that cannot fit itself, and "
                f"{type(self.model).__name__} is refitted as it is. Leave retrain=None."
            )
