"""What acting on a score is worth: remove or relabel its top rows, train again, test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import check_scoring, get_scorer
from sklearn.utils import check_random_state, indexable

from skinfluence.metrics._curve import RetrainingCurve, retraining_curve
from skinfluence.metrics._training import Positions, Trainer

Array = NDArray[np.float64]
FRACTIONS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)


def removal_curve(
    estimator: Any,
    X: Any,
    y: Any,
    scores: ArrayLike | Mapping[str, ArrayLike],
    *,
    X_test: Any,
    y_test: Any = None,
    fractions: Sequence[float] = FRACTIONS,
    scoring: str | Callable[..., float] | None = None,
    sample_weight: ArrayLike | None = None,
    n_random: int = 10,
    random_state: int | np.random.RandomState | None = None,
    n_jobs: int | None = None,
) -> RetrainingCurve:
    """Test score after removing the rows of highest score and training again.

    Remove suspicious rows (scores high for bad rows) and the curve should stay above that of
    random removal; remove helpful rows (e.g. ``score_influence(X_test, y_test).mean(axis=0)``)
    and it should fall below. Scores are not computed anew after a removal.

    Parameters
    ----------
    estimator : estimator or callable
        Any scikit-learn estimator; it is cloned and never changed. Or a function
        ``retrain(positions)`` that returns a model trained on these training rows, such as a
        torch module; it needs `scoring`.
    X : array-like or sparse matrix of shape (n_train, n_features)
        Training rows.
    y : array-like of shape (n_train,) or (n_train, n_outputs), or None
        Targets.
    scores : array-like of shape (n_train,), or mapping of names to such
        Highest is removed first; ties from the smaller position. Put the trivial rankings (loss,
        distance) into the mapping too. A DataFrame of columns works.
    X_test, y_test : array-like
        Rows that judge the models, and that no score has seen.
    fractions : sequence of float
        Shares of the training rows to remove, each in [0, 1), rounded to whole rows.
    scoring : str or callable, default=None
        As in `sklearn.model_selection.cross_val_score`, a name or ``scoring(model, X_test,
        y_test) -> float``; None for the estimator's ``score``.
    sample_weight : array-like of shape (n_train,), default=None
        Weights of the training rows.
    n_random : int, default=10
        Number of random orders.
    random_state : int, RandomState or None, default=None
        Draws them. The estimator's own is left as it is.
    n_jobs : int, default=None
        Number of joblib workers over the models.

    Returns
    -------
    curve : RetrainingCurve
        Test scores of every ranking and every random order.

    Raises
    ------
    ValueError
        If shapes differ, scores are NaN, a name is "random", or a fraction is out of range.

    Warns
    -----
    sklearn.exceptions.UndefinedMetricWarning
        If a removal leaves one class only: the curve is NaN there.

    See Also
    --------
    relabel_curve : Corrects labels instead.
    detection_table : Compares rankings without training anything.

    References
    ----------
    .. [1] A. Ghorbani and J. Zou (2019), Data Shapley: equitable valuation of data for machine
       learning, ICML.

    Examples
    --------
    Removing the one wrong label of a nearest-neighbour classifier repairs its neighbourhood:

    >>> import numpy as np
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from skinfluence.metrics import removal_curve
    >>> X, y = np.arange(10.0)[:, None], np.arange(10) >= 5
    >>> wrong = np.arange(10) == 1
    >>> curve = removal_curve(
    ...     KNeighborsClassifier(1), X, y ^ wrong, wrong, X_test=X, y_test=y,
    ...     fractions=[0, 0.1], n_random=0)
    >>> curve.values
    array([[0.9, 1. ]])
    """
    trainer = Trainer.of(estimator, X, y, sample_weight)

    def without(chosen: Positions) -> Any:
        return trainer.fit(np.delete(np.arange(trainer.n_rows), chosen))

    shares = _fractions(fractions, trainer.n_rows, below_one=True)
    judge = _judge(estimator, scoring, X_test, y_test)
    rng = check_random_state(random_state)
    return retraining_curve(without, judge, trainer.n_rows, scores, shares, n_random, rng, n_jobs)


def relabel_curve(
    estimator: Any,
    X: Any,
    y: Any,
    scores: ArrayLike | Mapping[str, ArrayLike],
    *,
    y_true: Any,
    X_test: Any,
    y_test: Any,
    fractions: Sequence[float] = FRACTIONS,
    scoring: str | Callable[..., float] | None = None,
    sample_weight: ArrayLike | None = None,
    n_random: int = 10,
    random_state: int | np.random.RandomState | None = None,
    n_jobs: int | None = None,
) -> RetrainingCurve:
    """Test score after checking the labels of the rows of highest score, and training again.

    Someone looks at the first rows of a ranking and corrects the labels that are wrong; rows
    whose label was right stay as they are (figure 6 of [1]_). At fraction 1 everything has been
    corrected, so all curves end at the same model.

    Parameters
    ----------
    estimator : estimator or callable
        Any scikit-learn estimator; it is cloned and never changed. Or a function
        ``retrain(positions, labels)`` that returns a model trained on these training rows under
        these labels, such as a torch module; it needs `scoring`.
    X : array-like or sparse matrix of shape (n_train, n_features)
        Training rows.
    y : array-like of shape (n_train,)
        Labels as they are, some of them wrong.
    scores : array-like of shape (n_train,), or mapping of names to such
        Highest is checked first; ties from the smaller position. Put the trivial rankings (loss,
        distance) into the mapping too. A DataFrame of columns works.
    y_true : array-like of shape (n_train,)
        The right labels.
    X_test, y_test : array-like
        Rows that judge the models, with right labels, and that no score has seen.
    fractions : sequence of float
        Shares of the training rows to check, each in [0, 1], rounded to whole rows.
    scoring : str or callable, default=None
        As in `sklearn.model_selection.cross_val_score`, a name or ``scoring(model, X_test,
        y_test) -> float``; None for the estimator's ``score``.
    sample_weight : array-like of shape (n_train,), default=None
        Weights of the training rows.
    n_random : int, default=10
        Number of random orders.
    random_state : int, RandomState or None, default=None
        Draws them. The estimator's own is left as it is.
    n_jobs : int, default=None
        Number of joblib workers over the models.

    Returns
    -------
    curve : RetrainingCurve
        Test scores of every ranking and every random order.

    Raises
    ------
    ValueError
        If shapes differ, scores are NaN, a name is "random", or a fraction is out of range.

    Warns
    -----
    sklearn.exceptions.UndefinedMetricWarning
        If the labels are of one class: the curve is NaN there.

    See Also
    --------
    removal_curve : Where nobody knows the right labels.
    detection_table : The share of wrong labels found (the left half of the figure).
    skinfluence.datasets.plant_mislabels : Makes wrong labels and keeps the right ones.

    References
    ----------
    .. [1] P. W. Koh and P. Liang (2017), Understanding black-box predictions via influence
       functions, ICML, section 5.4 and figure 6.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from skinfluence.metrics import relabel_curve
    >>> X, y_true = np.arange(10.0)[:, None], np.arange(10) >= 5
    >>> wrong = np.isin(np.arange(10), [1, 8])
    >>> curve = relabel_curve(
    ...     KNeighborsClassifier(1), X, y_true ^ wrong, wrong, y_true=y_true, X_test=X,
    ...     y_test=y_true, fractions=[0, 0.1, 0.2], n_random=0)
    >>> curve.values
    array([[0.8, 0.9, 1. ]])
    """
    X, y, y_true = indexable(X, y, y_true)
    trainer = Trainer.of(estimator, X, y, sample_weight)
    everything = np.arange(trainer.n_rows)
    wrong, right = np.asarray(y), np.asarray(y_true)

    def corrected(chosen: Positions) -> Any:
        # Not assigned into a copy: a right label may be longer than the wrong ones' dtype.
        labels = np.where(np.isin(everything, chosen), right, wrong)
        return trainer.with_labels(labels).fit(everything)

    shares = _fractions(fractions, trainer.n_rows, below_one=False)
    judge = _judge(estimator, scoring, X_test, y_test)
    rng = check_random_state(random_state)
    return retraining_curve(
        corrected, judge, trainer.n_rows, scores, shares, n_random, rng, n_jobs
    )


def _judge(estimator: Any, scoring: Any, X_test: Any, y_test: Any) -> Callable[[Any], float]:
    scorer = _scorer(estimator, scoring)

    def judge(model: Any) -> float:
        return float(scorer(model, X_test) if y_test is None else scorer(model, X_test, y_test))

    return judge


def _scorer(estimator: Any, scoring: Any) -> Callable[..., float]:
    if hasattr(estimator, "fit"):
        found: Callable[..., float] = check_scoring(estimator, scoring=scoring)
        return found
    if scoring is None:
        raise ValueError(
            "scoring is None, which stands for the estimator's own score, and here a function "
            "trains the models. Pass scoring=, a function of (model, X_test, y_test) that returns "
            "a number, e.g. the share of right labels."
        )
    return get_scorer(scoring)


def _fractions(fractions: Sequence[float], n_rows: int, *, below_one: bool) -> Array:
    values = np.atleast_1d(np.asarray(fractions, dtype=np.float64))
    most = n_rows - 1 if below_one else n_rows
    if values.ndim != 1 or not ((values >= 0) & (np.rint(values * n_rows) <= most)).all():
        raise ValueError(
            f"fractions are {fractions!r}, but each must be a share of the {n_rows} rows"
            f"{' that leaves one' if below_one else ''}. Pass e.g. (0, 0.1, 0.2)."
        )
    return values
