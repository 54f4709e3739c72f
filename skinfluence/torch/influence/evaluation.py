"""Values of a target at moved parameters."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.func import vmap

from skinfluence import _loops
from skinfluence.torch.data import Batch
from skinfluence.torch.faults import FAILURES
from skinfluence.torch.influence.queries import Queries
from skinfluence.torch.influence.targets import Target
from skinfluence.torch.influence.trained import as_array
from skinfluence.torch.network import Network


class Evaluation:
    """A target at queries, at the fitted parameters and away from them.

    In float64, whatever the type of the network: changes are small differences of values. A
    forward that makes tensors of its own in single precision (the first state of a recurrent
    layer) is run in the type that it was written for.

    Parameters
    ----------
    network : Network
    target : Target
    rows_at_once : int
        How many rows the network may be run on at a time.
    """

    def __init__(self, network: Network, target: Target, rows_at_once: int):
        self.network, self.target, self.rows_at_once = network, target, rows_at_once
        self.module = copy.deepcopy(network.module).double()
        self.theta = network.theta.double()
        self._tried = self._loop = False

    def values(self, queries: Queries) -> np.ndarray:
        """Values at the fitted parameters, (m,)."""
        self._try(queries)
        return self._over(queries, lambda batch: self._at(self.theta[None], batch))[0]

    def changes(self, queries: Queries, moves: Tensor) -> np.ndarray:
        """Change of each query's value under each move (b, p) of the parameters, (m, b)."""
        if not len(moves):
            return np.zeros((queries.shape[0], 0))
        self._try(queries)
        n_params = moves.shape[1]
        size = max(1, int(_loops.memory_budget() / (24.0 * n_params)))
        found = [
            self._over(queries, lambda batch, part=part: self._change(moves[part], batch))
            for part in _loops.slices(len(moves), min(size, self.rows_at_once))
        ]
        return np.concatenate(found).T

    def own_changes(self, queries: Queries, at: np.ndarray, moves: Tensor) -> np.ndarray:
        """Change of the value of the query at[j] under move j, (len(at),)."""
        self._try(queries)
        batch = queries.take(at).map(self._cast)
        parts = [*batch.args, *batch.kwargs.values()]
        parts = parts if batch.y is None else [*parts, batch.y]

        def value(theta, *own):
            return self._value(theta, _batch_like(batch, own))[0]

        both = self._mapped(value, 0)
        rows = [part[:, None] for part in parts]
        parameters = self.theta + moves.to(self.theta.dtype)
        return as_array(both(parameters, *rows) - both(self.theta.expand_as(parameters), *rows))

    def _try(self, queries):
        """Settle, once, for a type in which the forward runs."""
        if self._tried or not queries.shape[0]:
            return
        self._tried = True
        try:
            with torch.no_grad():
                self._value(self.theta, queries.take(slice(0, 1)).map(self._cast))
        except FAILURES:
            self.module, self.theta = self.network.module, self.network.theta

    def _cast(self, values: Tensor) -> Tensor:
        return values.to(self.theta.dtype) if values.is_floating_point() else values

    def _over(self, queries, function):
        n = queries.shape[0]
        found = [
            as_array(function(queries.take(part).map(self._cast)))
            for part in _loops.slices(n, self.rows_at_once)
        ]
        return np.concatenate(found, axis=1) if found else np.zeros((1, 0))

    def _change(self, moves, batch):
        before = self._at(self.theta[None], batch)
        return torch.cat(
            [
                self._at(self.theta + moves[part].to(self.theta.dtype), batch) - before
                for part in _loops.slices(len(moves), max(1, self.rows_at_once // batch.size))
            ]
        )

    def _at(self, thetas, batch):
        return self._mapped(lambda theta: self._value(theta, batch), 0)(thetas)

    def _value(self, theta, batch):
        params = self.network.params(theta)
        outputs = torch.func.functional_call(self.module, params, batch.args, batch.kwargs)
        return self.target(outputs, batch.y)

    def _mapped(self, function: Callable[..., Tensor], dim: int) -> Callable[..., Tensor]:
        """Over the first axis of the arguments: by ``vmap``, in a loop where it cannot."""

        def run(*args):
            with torch.no_grad():
                if not self._loop:
                    try:
                        return _vmapped(function, dim, args)
                    except RuntimeError:
                        self._loop = True  # control flow that depends on data, an LSTM, ...
                rows = range(len(args[0]))
                return torch.stack([function(*(arg[i] for arg in args)) for i in rows])

        return run


def _vmapped(function, dim, args):
    with warnings.catch_warnings():
        # Operations without a batching rule run one after the other: slow, and right.
        warnings.filterwarnings("ignore", message="There is a performance drop")
        return vmap(function, in_dims=dim)(*args)


def _batch_like(batch: Batch, parts: Sequence[Tensor]) -> Batch:
    """The tensors of a batch, one after the other, as a batch again."""
    n_args, n_inputs = len(batch.args), len(batch.args) + len(batch.kwargs)
    kwargs = dict(zip(batch.kwargs, parts[n_args:n_inputs], strict=True))
    return Batch(tuple(parts[:n_args]), None if batch.y is None else parts[n_inputs], kwargs)
