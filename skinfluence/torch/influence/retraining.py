"""Networks trained again on some of the rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor, nn

from skinfluence._peel import (
    clone_with_seed,
    peel,
    target_to_model_space,
    unfrozen,
)
from skinfluence.engines.base import Whole
from skinfluence.metrics._rows import take_rows
from skinfluence.metrics._training import takes
from skinfluence.torch import given
from skinfluence.torch.data import Batch, Rows
from skinfluence.torch.influence.queries import Parameters, Queries
from skinfluence.torch.models.skorch_nets import is_skorch
from skinfluence.torch.network import Network

# From positions of the rows to keep to a network trained on them, and the queries it is asked.
Refit = Callable[[np.ndarray], tuple[Network, Any]]

# Seed of every refit of an estimator that has none: another start is another network.
SEED = 0


def refits(
    engine: Any,
    queries: Any,
    *,
    whole: Whole | None,
    retrain: Callable[[np.ndarray], Any] | None,
) -> Refit:
    """How the network of an engine is trained again.

    Parameters
    ----------
    engine : NetworkEngine
    queries : Queries or Parameters
    whole : Whole or None
        Refit everything around the model too, queries included.
    retrain : callable or None
        The user's own: from positions to a trained module or fitted estimator.

    Raises
    ------
    ValueError
        If the model is a module, which cannot be fitted, and `retrain` is None.
    """
    if retrain is not None:
        return _Retrained(engine, queries, retrain)
    if isinstance(engine.model, nn.Module):
        raise ValueError(
            f"{type(engine.model).__name__} is a module that was trained elsewhere, and this "
            "question needs it trained again without some rows. Pass retrain=, a function of the "
            "positions of the rows to keep that returns a module trained on them the way this one "
            "was."
        )
    if whole is not None:
        return lambda kept: _whole_refit(engine, queries, whole, kept)
    return lambda kept: (_refit(engine, kept), queries)


class _Retrained:
    """Networks that the user's function trains, each a new one.

    Parameters
    ----------
    engine : NetworkEngine
    queries : Queries or Parameters
    retrain : callable
    """

    def __init__(self, engine: Any, queries: Any, retrain: Callable[[np.ndarray], Any]):
        if not takes(retrain, 1):
            raise ValueError(
                "retrain cannot be called with one argument, and it is called with the positions "
                "of the rows to keep. Pass retrain(positions) -> trained module."
            )
        self.engine, self.queries, self.retrain = engine, queries, retrain
        self.before: tuple[Any, Tensor] | None = None

    def __call__(self, kept: np.ndarray) -> tuple[Network, Any]:
        model = self.retrain(kept)
        network = _network(self.engine, model)
        self._check_new(model, network)
        return network, self.queries

    def _check_new(self, model, network):
        """Refuse the very object of the call before at the very same parameters."""
        known, theta = self.before or (None, None)
        if known is model and torch.equal(theta, network.theta):
            raise ValueError(
                "retrain returned the same module with the same parameters for other rows, so "
                "that nothing was trained. Build a new module in each call, train it on the "
                "rows at the positions passed, and return it."
            )
        self.before = model, network.theta


def _refit(engine, kept):
    model, held_out = engine.model, engine.objective.held_out
    if held_out is not None and held_out.any():
        out = held_out[kept]
        model, kept = _with_held_out(engine, kept[out]), kept[~out]
    X, y = given.some(engine.rows.X, kept), given.some(engine.y, kept)
    weights = _kept_weights(engine, kept)
    return _network(engine, _fitted(model, X, y, weights), X, y, weights)


def _with_held_out(engine, rows):
    """The skorch net of an engine, with these rows held out and not those it would choose now."""
    from skorch.helper import predefined_split

    net = clone(engine.model)
    X, y = given.some(engine.rows.X, rows), given.some(engine.y, rows)
    return net.set_params(train_split=predefined_split(net.get_dataset(X, y)))


def _whole_refit(engine, queries, whole, kept):
    X, y = take_rows(whole.X, kept), take_rows(whole.y, kept)
    weights = _kept_weights(engine, kept)
    fitted = _fitted(unfrozen(whole.estimator), X, y, weights)
    heads, model = peel(fitted)
    rows = _behind(heads, X)
    network = _network(engine, model, rows, target_to_model_space(fitted, y), weights)
    if isinstance(queries, Parameters) or not heads:
        return network, queries
    asked = engine.objective.read_rows(_behind(heads, whole.queries), None)
    rows = Paired(asked, queries.rows)
    return network, Queries(rows, queries.gradients, queries.choice)


def _behind(heads, X):
    for head in heads:
        X = head.transform(X)
    return X


class Paired(Rows):
    """Inputs of some rows with the targets of others.

    Parameters
    ----------
    inputs, targets : Rows
        As many of both.
    """

    def __init__(self, inputs: Rows, targets: Rows):
        self.inputs, self.targets, self.device = inputs, targets, inputs.device

    @property
    def shape(self) -> tuple[int, ...]:
        return self.inputs.shape

    def take(self, rows: Any) -> Batch:
        return dataclasses.replace(self.inputs.take(rows), y=self.targets.take(rows).y)

    def __getitem__(self, rows: slice) -> Rows:
        return Paired(self.inputs[rows], self.targets[rows])


def _fitted(estimator, X, y, weights):
    if weights is not None and is_skorch(peel(estimator)[1]):
        raise ValueError(
            "skorch has no sample_weight in fit, so that a net cannot be trained with these "
            "weights again. Pass retrain=, a function of the positions of the rows to keep that "
            "trains it the way this one was."
        )
    fresh = clone_with_seed(estimator, SEED)
    with torch.random.fork_rng():
        torch.manual_seed(SEED)  # skorch draws from torch's own state
        return fresh.fit(X, y) if weights is None else fresh.fit(X, y, sample_weight=weights)


def _kept_weights(engine, kept):
    weights = engine.sample_weight
    return None if weights is None else np.asarray(weights)[kept]


def _network(engine, model, X=None, y=None, weights=None):
    """The network in a model, read the way the explained one was."""
    if model is None:
        raise ValueError(
            "retrain returned None. Return the module (or fitted estimator) that it trained."
        )
    if X is None:
        X, y, weights = engine.rows.X, engine.y, engine.sample_weight
    found = engine.read(model, X, y, weights)
    _check_classes(engine.objective.classes, found.classes)
    return found.network


def _check_classes(before, after):
    """Refuse a network whose outputs stand for other classes."""
    if before is None or after is None or np.array_equal(before, after):
        return
    lost = ", ".join(map(str, np.setdiff1d(before, after)[:4]))
    raise ValueError(
        f"The network that was trained again knows {len(after)} classes instead of "
        f"{len(before)}: without some rows nothing is left of class {lost}, so that its outputs "
        "cannot be compared. Merge classes that have a single row, or leave them out."
    )
