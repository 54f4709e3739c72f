"""What transformed copies of training rows would do in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skinfluence import attribution
from skinfluence._output import labelled
from skinfluence.engines import DeletionEngine
from skinfluence.explainers.changing import as_pair
from skinfluence.explainers.engine_backed import EngineBacked

Transform = Callable[[Any], Any]


class Augmentation(EngineBacked):
    """The question which transformation of a row it would be better to train on."""

    _engine: DeletionEngine

    def score_augmentation(
        self,
        transform: Transform | Mapping[Any, Transform] | Sequence[Transform],
        *,
        queries: Any,
        rows: ArrayLike | None = None,
    ) -> Any:
        """Mean change at the queries when a training row is replaced by its transform.

        What it would do to the value of the target, averaged over queries (the loss on a
        validation set, say), to train on ``transform(x_i)`` instead of x_i, one row at a time,
        its label and weight kept: Lee et al. (2020) [1]_, equations 16 to 18. It is the mean of
        ``score_replacement`` over the queries, by this explainer's method, and costs far less to
        first order: one system is solved for all queries, rows and transformations. `relative`
        plays no part.

        *Negative is good* where the target is a loss. The change is that of one row with all
        others as they are; what several rows do together is only near the sum.

        Parameters
        ----------
        transform : callable, or dict or list of callable
            From training rows to as many rows, in the same order: it is called once, with the rows
            asked about as they were passed to ``fit`` (an array, frame or tensor; a Dataset or
            DataLoader of those rows alone), before the transformers of a pipeline. Several are
            scored one after the other, as candidates of which to choose.
        queries : tuple of (X, y), or X
            The queries, and their targets or None; a Dataset or DataLoader holds its own.
        rows : array-like of int, default=None
            Positions of the training rows; None for all. One may come several times, which scores
            several draws of a random transformation at once.

        Returns
        -------
        scores : ndarray of shape (n_rows,), or (n_transforms, n_rows) of a dict or list
            Mean over the queries of the target's value after the replacement minus before. A
            Series or frame labelled by ``train_index_``, and by the names of the transformations
            (their positions in a list), where ``set_output`` asks for one.

        Raises
        ------
        TypeError
            If `transform` is neither a callable nor a dict or list of them.
        ValueError
            If there is no transformation, one does not return a row for each that it
            was given, a position lies outside, or the target is the parameters.

        See Also
        --------
        score_replacement : Any other values of rows, at each query.
        perturbation : The derivative, for small changes.

        Notes
        -----
        Choose on queries that are not those on which the result is judged: the transformation of
        smallest score fits the queries that it was chosen by.

        References
        ----------
        .. [1] D. Lee, H. Park, T. Pham and C. D. Yoo (2020), Learning augmentation network via
           influence functions, CVPR.

        Examples
        --------
        Which shift of each digit to train on, judged by 600 other digits:

        >>> import numpy as np
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.linear_model import LogisticRegression
        >>> from sklearn.metrics import log_loss
        >>> from skinfluence import InfluenceExplainer
        >>> X, y = load_digits(return_X_y=True)
        >>> X, y, Z, z_y = X[:100] / 16, y[:100], X[100:] / 16, y[100:]
        >>> def shifted(*step):
        ...     return lambda X: np.roll(X.reshape(-1, 8, 8), step, axis=(1, 2)).reshape(-1, 64)
        >>> shifts = {"left": shifted(0, -1), "right": shifted(0, 1), "up": shifted(-1, 0)}
        >>> shifts |= {"down": shifted(1, 0), "none": shifted(0, 0)}
        >>> model = LogisticRegression(C=0.1).fit(X, y)
        >>> explainer = InfluenceExplainer(model, method="first_order").fit(X, y)
        >>> scores = explainer.score_augmentation(shifts, queries=(Z[:600], z_y[:600]))
        >>> scores.shape
        (5, 100)

        The choice is the smallest score of each row. Trained on the chosen copies too, the model
        errs less on the digits that are left than with copies that were shifted at random:

        >>> best, draw = scores.argmin(axis=0), np.random.default_rng(0).integers(0, 5, 100)
        >>> copies, losses = np.stack([shift(X) for shift in shifts.values()]), []
        >>> for choice in (best, draw):
        ...     rows = np.vstack([X, copies[choice, np.arange(100)]])
        ...     model = model.fit(rows, np.tile(y, 2))
        ...     losses.append(log_loss(z_y[600:], model.predict_proba(Z[600:])))
        >>> bool(losses[0] < losses[1] - 0.05)
        True
        """
        check_is_fitted(self)
        several = not callable(transform)
        candidates = _by_name(transform)
        if self._engine.about_parameters:
            raise ValueError(
                f"target={self.target!r} is about the fitted parameters, whose mean says nothing. "
                "Fit with target='loss', or ask score_replacement for each parameter."
            )
        asked = self._queries(*as_pair(queries))
        at = attribution.positions(
            np.arange(self.n_samples_fit_) if rows is None else rows, self.n_samples_fit_, "rows"
        )
        found = self._engine.mean_replacement(asked, at, self._transformed(candidates, at))
        index = self.train_index_[at]
        if not several:
            return labelled(self, found[0], index=index, columns="influence")
        scores = np.reshape(found, (len(candidates), len(at)))
        return labelled(self, scores, index=list(candidates), columns=index)

    def _transformed(self, candidates: Mapping[Any, Transform], at: np.ndarray) -> Iterator[Any]:
        """Rows of model space, for one transformation after the other."""
        for name, transform in candidates.items():
            # Taken anew, so that a transformation in place does not meet the next one.
            made = transform(self._kind.take(self._raw_rows, None, at)[0])
            new = self._model_rows(made)
            if new.shape[0] != len(at):
                raise ValueError(
                    f"Transformation {name!r} made {new.shape[0]} rows of {len(at)}, and each row "
                    "is replaced by one. Return as many rows, in the same order; score several "
                    "draws by naming a row several times in rows=."
                )
            yield new


def _by_name(transform):
    """Transformations by name: positions, of a list; checked."""
    if isinstance(transform, Mapping):
        found = dict(transform)
    elif callable(transform):
        return {getattr(transform, "__name__", type(transform).__name__): transform}
    else:
        found = dict(enumerate(transform)) if isinstance(transform, Sequence) else {}
    wrong = [name for name, one in found.items() if not callable(one)]
    if wrong or not (found or isinstance(transform, Mapping | Sequence)):
        seen = (
            f"{wrong[0]!r} of transform is {type(found[wrong[0]]).__name__}"
            if wrong
            else (f"transform is {type(transform).__name__}")
        )
        raise TypeError(
            f"{seen}, and transformations are functions from rows to rows. Pass a callable, or a "
            "dict or list of them; of a scikit-learn transformer its transform method."
        )
    if not found:
        raise ValueError("transform is empty, so that nothing is replaced. Pass one or more.")
    return found
