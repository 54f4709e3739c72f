"""Fitting an estimator once more, with its training recorded."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import clone, is_classifier
from sklearn.linear_model import Perceptron, SGDClassifier, SGDRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils import check_consistent_length, check_random_state, shuffle
from sklearn.utils.multiclass import unique_labels

from skinfluence._compat import has_stopped
from skinfluence._seen import is_skorch_net, is_vae
from skinfluence.checkpoints import models
from skinfluence.checkpoints.checkpoint import Checkpoint
from skinfluence.checkpoints.rates import EpochRates, info
from skinfluence.checkpoints.recorder import CheckpointRecorder
from skinfluence.checkpoints.sequence import Checkpoints
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.metrics._rows import take_rows

# Checkpoints of a training that nobody has asked for a number of.
N_CHECKPOINTS = 10
# scikit-learn wants rates above 0; this one moves nothing.
NO_RATE = np.finfo(np.float64).tiny
_MLP = (MLPClassifier, MLPRegressor)
_SGD = (SGDClassifier, SGDRegressor, Perceptron)


def check_recordable(model: Any) -> None:
    """Refuse a model whose training cannot be recorded, before it is trained.

    Raises
    ------
    UnsupportedEstimatorError
    """
    name = type(model).__name__
    if not isinstance(model, (*_MLP, *_SGD)) and not is_skorch_net(model) and not is_vae(model):
        raise UnsupportedEstimatorError(
            f"{name} is not fitted, and there is no way to record its training from here: those "
            "of MLPClassifier, MLPRegressor, SGDClassifier, SGDRegressor, Perceptron, BetaVAE and "
            "skorch nets are recorded. Train it with a CheckpointRecorder, and pass it fitted "
            "with checkpoints=; where no gradient steps trained it, InfluenceExplainer asks what "
            "deletions do."
        )
    if isinstance(model, _MLP) and model.solver == "lbfgs":
        raise UnsupportedEstimatorError(
            f"{name} has solver='lbfgs', which takes a few long steps with all rows at once and "
            "has no learning rate, so that there is no path to trace. Use solver='sgd' or 'adam', "
            "or InfluenceExplainer, which asks for a minimum and not for a path."
        )
    if isinstance(model, (*_MLP, *_SGD)) and model.early_stopping:
        raise UnsupportedEstimatorError(
            f"{name} has early_stopping=True: it holds rows out, chosen at random, which no step "
            "is made of, and goes back to an earlier state. Use early_stopping=False; "
            "n_iter_no_change and tol stop it as well."
        )
    if isinstance(model, _SGD) and model.average:
        raise UnsupportedEstimatorError(
            f"{name} has average={model.average!r}: its coefficients are a mean over the path, "
            "which no step led to. Use average=False."
        )
    if isinstance(model, _SGD) and model.learning_rate == "adaptive":
        raise UnsupportedEstimatorError(
            f"{name} has learning_rate='adaptive', and does not say when it lowered its rate, so "
            "that the steps have no known length. Use 'constant', 'invscaling' or 'optimal'."
        )


def fit_recorded(
    model: Any, X: Any, y: Any, sample_weight: Any = None, *, n_checkpoints: int | None = None
) -> Checkpoints:
    """Fit a model in place, and return its checkpoints.

    Parameters
    ----------
    model : estimator
        Unfitted, and nobody else's: what ``fit`` would leave is left.
    X, y : object
        Its training rows and their targets.
    sample_weight : array-like of shape (n_train,), default=None
    n_checkpoints : int or None, default=None
        How many, where there are as many; None is 10, or what the model says itself.

    Returns
    -------
    checkpoints : Checkpoints
        Evenly spaced, the states before the first epoch and after the last among them.

    Raises
    ------
    UnsupportedEstimatorError
        If the training of such a model cannot be recorded.
    """
    check_recordable(model)
    X, y = _with_positions(X), None if y is None else np.asarray(y)
    check_consistent_length(X, y, sample_weight)
    given = {} if sample_weight is None else {"sample_weight": sample_weight}
    if isinstance(model, _MLP):
        return _fit_mlp(model, X, y, given, n_checkpoints or N_CHECKPOINTS)
    if isinstance(model, _SGD):
        return _fit_sgd(model, X, y, given, n_checkpoints or N_CHECKPOINTS)
    if is_skorch_net(model):
        return _fit_skorch(model, X, y, given, n_checkpoints or N_CHECKPOINTS)
    return _fit_vae(model, X, given, n_checkpoints)


def _with_positions(X):
    """Rows that can be taken by position, with the names of their columns."""
    if issparse(X):
        return X.tocsr()
    return X if hasattr(X, "columns") else np.asarray(X)


def _at_most(checkpoints: Checkpoints, n: int) -> Checkpoints:
    return checkpoints if len(checkpoints) <= n else checkpoints.evenly(n)


# -- multi-layer perceptrons ----------------------------------------------------------------------


def _fit_mlp(model, X, y, given, n):
    """``fit``, epoch by epoch: the same start, the same batches, and the same end.

    ``fit`` shuffles the order of the epoch before, and ``partial_fit`` the rows as they are: so
    they are passed in the order that ``fit`` would have come to.
    """
    recorder = CheckpointRecorder(keep=2 * n)
    rng = check_random_state(model.random_state)
    told = {"random_state": model.random_state, "shuffle": model.shuffle}
    first = {"classes": unique_labels(y)} if is_classifier(model) else {}
    model.set_params(random_state=copy.deepcopy(rng), shuffle=False)
    epochs = _epochs(model.max_iter, X, y, given, rng, told["shuffle"])
    try:
        with _interruptible():
            start = models.snapshot(_untrained(model, rng, X, y, first), optimizer_state=False)
            for epoch, rows in enumerate(epochs):
                recorder.partial_fit(model, **rows, **(first if epoch == 0 else {}))
                if has_stopped(model):
                    break
    finally:
        model.set_params(**told)
    model.n_iter_ = epoch + 1
    recorder.keep_last(model)
    found = recorder.checkpoints
    before = Checkpoint(0, start.parameters, path=dict.fromkeys(start.parameters, 0.0))
    every = Checkpoints([before, *found], optimizer=found.optimizer, n_rows=found.n_rows)
    return _at_most(every, n)


def _epochs(max_iter, X, y, given, rng, shuffled):
    """Rows of each epoch, with their targets and weights."""
    rows = {"X": X, "y": y, **{name: np.asarray(w) for name, w in given.items()}}
    order = np.arange(len(y))
    for _ in range(max_iter):
        order = shuffle(order, random_state=rng) if shuffled else order
        yield {n: take_rows(of, order) for n, of in rows.items()} if shuffled else rows


def _untrained(model, rng, X, y, first):
    """The model as it starts, which scikit-learn does not show: after a step of no length.

    It draws from `rng` what the start draws.
    """
    twin = clone(model).set_params(batch_size=1, learning_rate_init=NO_RATE, random_state=rng)
    one = np.arange(1)[: len(y)]
    return twin.partial_fit(take_rows(X, one), take_rows(y, one), **first)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Stop at Ctrl-C, which scikit-learn turns into a warning at the end of the epoch."""
    message = "Training interrupted by user"
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message)
        try:
            yield
        except UserWarning as warning:
            if message not in str(warning):
                raise
            raise KeyboardInterrupt from None


# -- stochastic gradient descent of linear models -------------------------------------------------


def _fit_sgd(model, X, y, given, n):
    """``fit``, and again with fewer epochs for every checkpoint, from one seed.

    Its order of the rows is a permutation of that of the epoch before, where ``partial_fit``
    begins anew every time: only ``fit`` itself goes the way that ``fit`` goes.
    """
    if not isinstance(model.random_state, Integral):
        rng = check_random_state(model.random_state)
        model.random_state = int(rng.randint(np.iinfo(np.int32).max))
    model.fit(X, y, **given)
    last = int(model.n_iter_)
    if (
        len(getattr(model, "classes_", ())) > 2
    ):  # each class may have stopped at an epoch of its own
        _take_coefficients(model, _after(model, last, X, y, given))
    epochs = [last] if n == 1 else np.linspace(0, last, min(n, last + 1)).round().astype(int)
    paths = _paths(model, X, given, last)
    found = []
    for epoch in map(int, epochs):
        at = model if epoch in (0, last) else _after(model, epoch, X, y, given)
        parameters = models.snapshot(at, optimizer_state=False).parameters
        if epoch == 0:  # where fit starts
            parameters = {name: np.zeros_like(values) for name, values in parameters.items()}
        found.append(Checkpoint(epoch, parameters, path=paths[epoch]))
    return Checkpoints(found, optimizer=info(model, paths[0]), n_rows=X.shape[0])


def _after(model, epochs, X, y, given):
    return clone(model).set_params(max_iter=epochs, tol=None).fit(X, y, **given)


def _take_coefficients(model, other):
    for name in ("coef_", "intercept_", "t_", "n_iter_"):
        setattr(model, name, getattr(other, name))


def _paths(model, X, given, last):
    """Sums of the rates after 0, 1, ... epochs, by parameter."""
    clock = clone(model)
    names = models.shapes(model)
    sums = [dict.fromkeys(names, 0.0)]
    for epoch in range(last):
        clock.t_ = 1.0 + X.shape[0] * epoch  # of one fit
        rates = EpochRates(clock, X, given.get("sample_weight"))
        step = rates.by_name(rates.total, names) or {}
        sums.append({name: sums[-1][name] + step[name] for name in names})
    return sums


# -- those that record themselves -----------------------------------------------------------------


def _fit_skorch(model, X, y, given, n):
    recorder = CheckpointRecorder(keep=2 * n)
    callbacks = model.callbacks
    model.callbacks = [*(callbacks or []), ("recorder", recorder.skorch_callback())]
    try:
        model.fit(X, y, **given)
    finally:
        model.callbacks = callbacks
    model.callbacks_ = [pair for pair in model.callbacks_ if pair[0] != "recorder"]
    return _at_most(recorder.checkpoints, n)


def _fit_vae(model, X, given, n):
    """A BetaVAE keeps at least half as many as it is told to."""
    kept = model.checkpoints
    if kept is None or n is not None:
        least = 2 * (n or N_CHECKPOINTS)
        model.checkpoints = max(kept, least) if isinstance(kept, Integral) else kept or least
    try:
        model.fit(X, **given)
    finally:
        model.checkpoints = kept
    return model.checkpoints_ if n is None else _at_most(model.checkpoints_, n)
