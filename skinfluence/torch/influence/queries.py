"""What is asked about: rows with what the target needs to know of them, or parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skinfluence import _loops
from skinfluence.torch.data import Batch, Rows
from skinfluence.torch.gradients import RowGradients
from skinfluence.torch.gradients.rows import PROBE
from skinfluence.torch.influence.targets import OfLoss, OfOutput, Target
from skinfluence.torch.influence.trained import Trained, dense_gradients, gradient_blocks
from skinfluence.torch.network import Network


@dataclass
class Queries:
    """Rows asked about.

    Parameters
    ----------
    rows : Rows
        Inputs, and y where the target needs it.
    gradients : RowGradients
        Of the target's values.
    choice : Tensor of shape (m,) or None
        Position of the output that each query is about, where the target is one output.
    """

    rows: Rows
    gradients: RowGradients
    choice: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.rows.shape[0],)

    def __getitem__(self, part: slice) -> Queries:
        choice = None if self.choice is None else self.choice[part]
        return Queries(self.rows[part], self.gradients, choice)

    def take(self, at: slice | np.ndarray) -> Batch:
        """Some of them; y is the chosen output where there is one."""
        batch = self.rows.take(at)
        if self.choice is None:
            return batch
        choice = self.choice[at if isinstance(at, slice) else torch.as_tensor(at)]
        return dataclasses.replace(batch, y=choice.to(self.rows.device))

    def dense(self, part: slice) -> Tensor:
        """Gradients of some of them, (m', p)."""
        own = self[part]
        return dense_gradients(self.gradients, own.take, own.shape[0])

    def summed(self) -> Tensor:
        """Sum of the gradients of all of them, (1, p)."""
        network = self.gradients.network
        total = torch.zeros(1, network.n_params, dtype=torch.float64, device=network.device)
        for _, block in gradient_blocks(self.gradients, self.take, self.shape[0]):
            total += block.adjoint(network.theta.new_ones(1, len(block)))
        return total.to(network.dtype)


@dataclass
class Parameters:
    """Parameters asked about: unit vectors are their gradients.

    Parameters
    ----------
    network : Network
    positions : ndarray of int of shape (m,)
    """

    network: Network
    positions: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.positions),)

    def __getitem__(self, part: slice) -> Parameters:
        return Parameters(self.network, self.positions[part])

    def dense(self, part: slice) -> Tensor:
        """Unit vectors, (m', p)."""
        at = torch.as_tensor(self.positions[part], device=self.network.device)
        found = self.network.theta.new_zeros(len(at), self.network.n_params)
        return found.scatter_(1, at[:, None], 1.0)

    def summed(self) -> Tensor:
        """Sum of the unit vectors, (1, p)."""
        found = self.network.theta.new_zeros(self.network.n_params)
        at = torch.as_tensor(self.positions, device=self.network.device)
        return found.index_add_(0, at, found.new_ones(len(at)))[None]


def make_queries(
    trained: Trained, target: Target, rows: Rows, *, output: Any, classes: Sequence[Any] | None
) -> Queries:
    """Queries about a target's value at some rows, whose y is encoded as the loss has it."""
    network = trained.network
    if isinstance(target, OfOutput):
        choice = chosen_outputs(network, target, rows, output=output, classes=classes)
        queries = Queries(rows, trained.gradients, choice)
    else:
        queries = Queries(rows, trained.gradients)
    if not isinstance(target, OfLoss):
        probe = queries.take(slice(0, PROBE))
        queries.gradients = RowGradients(network, target, probe)
    return queries


def chosen_outputs(
    network: Network, target: OfOutput, rows: Rows, *, output: Any, classes: Sequence[Any] | None
) -> Tensor:
    """Position of the column that each query is about: `output`, else its y, else the largest.

    Where there are no classes the columns are outputs of a regression, and `output` is needed if
    there are several.
    """
    n = rows.shape[0]
    if output is not None:
        width = _columns(network, target, rows, slice(0, 1)).shape[1]
        return torch.full((n,), _position(output, classes, width))
    if classes is None:
        width = _columns(network, target, rows, slice(0, 1)).shape[1]
        if width > 1:
            raise ValueError(
                f"The model has {width} outputs. Say which one the scores are about: "
                f"output=0, ..., {width - 1}."
            )
        return torch.zeros(n, dtype=torch.int64)
    parts = [_by_row(network, target, rows, part) for part in _loops.slices(n, 1024)]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64)


def _by_row(network, target, rows, part):
    y = rows.take(part).y
    if y is None:
        return _columns(network, target, rows, part).argmax(1).cpu()
    return y.reshape(len(y)).long().cpu()


def _columns(network, target, rows, part):
    with torch.no_grad():
        return target.outputs(network.outputs(rows.take(part)))


def _position(output, classes, width):
    if classes is None:
        good = isinstance(output, int | np.integer) and 0 <= output < width
        if not good:
            raise ValueError(
                f"output={output!r} is no output of this model, which has {width}: pass an "
                f"integer from 0 to {width - 1}."
            )
        return int(output)
    found = [k for k, label in enumerate(classes) if label == output]
    if not found:
        raise ValueError(
            f"output={output!r} is none of the {len(classes)} classes "
            f"({', '.join(map(str, list(classes)[:5]))}). Name one of them."
        )
    return found[0]
