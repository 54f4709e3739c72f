"""What is asked about: rows with what the target needs to know of them, or parameters."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skinfluence import _loops
from skinfluence.torch.data import Batch, Rows
from skinfluence.torch.gradients import RowGradients
from skinfluence.torch.influence.targets import OfLoss, OfOutput, Target
from skinfluence.torch.influence.trained import PROBE, Trained, dense_gradients, gradient_blocks
from skinfluence.torch.losses import CrossEntropy
from skinfluence.torch.models.batch_losses import OverPositions
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
    trained: Trained,
    target: Target,
    rows: Rows,
    *,
    output: Any,
    classes: Any,
    by_y: bool = True,
) -> Queries:
    """Queries about a target's value at some rows, whose y is encoded as the loss has it.

    Parameters
    ----------
    trained : Trained
    target : Target
    rows : Rows
    output : label, int or None
        Class or output that the target is about, where it is about one.
    classes : array-like or None
        Labels of the outputs, where the model knows them.
    by_y : bool, default=True
        Whether the class of a query is its y, where it has one.
    """
    network = trained.network
    if isinstance(target, OfOutput):
        choice = Choice(network, target, rows, classes, labels_train(trained))
        queries = Queries(rows, trained.gradients, choice.of(output, by_y=by_y))
    else:
        queries = Queries(rows, trained.gradients)
    if not isinstance(target, OfLoss):
        probe = queries.take(slice(0, PROBE))
        queries.gradients = RowGradients(network, target, probe)
    return queries


def labels_train(trained):
    """Whether the training rows have a label each, or its probabilities, and not values."""
    y = trained.batch(slice(0, 1)).y
    if y is not None and y.is_floating_point():
        return y.ndim > 1 and isinstance(trained.objective.loss, CrossEntropy | OverPositions)
    return y is not None and y.ndim == 1


@dataclass
class Choice:
    """Which column of outputs a query is about.

    Parameters
    ----------
    network : Network
    target : OfOutput
    rows : Rows
    classes : array-like or None
    labels : bool
        Whether the training rows have labels, or probabilities of them, so that columns are
        classes all the same.
    """

    network: Network
    target: OfOutput
    rows: Rows
    classes: Any
    labels: bool

    def of(self, output: Any, *, by_y: bool) -> Tensor:
        """Position of the column: `output`, else the query's y, else the largest column."""
        n, width = self.rows.shape[0], self._columns(slice(0, 1)).shape[1]
        if output is None and self._has_positions():
            raise ValueError(
                f"A row has {width} outputs, at several positions. Say which one the scores are "
                f"about: output=0, ..., {width - 1}; or pass a function of the outputs as target."
            )
        named = self.classes is not None or self.labels or self._yes_or_no()
        of_classes = named and width > 1  # counts are whole numbers too
        if output is not None:
            return torch.full((n,), self._position(output, width))
        if not of_classes:
            if width > 1:
                raise ValueError(
                    f"The model has {width} outputs. Say which one the scores are about: "
                    f"output=0, ..., {width - 1}."
                )
            return torch.zeros(n, dtype=torch.int64)
        found = torch.cat([self._of_rows(part, by_y) for part in _loops.slices(n, 1024)])
        if int(found.max()) >= width or int(found.min()) < 0:
            raise ValueError(
                f"y holds class {int(found.max())}, and the model has {width} outputs, one a "
                f"class: 0 to {width - 1}. Pass y as it was in training, or output=."
            )
        return found

    def _of_rows(self, part, by_y):
        y = self.rows.take(part).y if by_y else None
        if y is None or y[0].numel() > 1:
            return self._columns(part).argmax(1).cpu()
        return y.reshape(len(y)).long().cpu()

    def _has_positions(self):
        with torch.no_grad():
            return self.network.outputs(self.rows.take(slice(0, 1))).ndim > 2

    def _yes_or_no(self):
        """Whether two columns are made of one logit, and are not two labels of a row."""
        with torch.no_grad():
            single = self.network.outputs(self.rows.take(slice(0, 1)))[0].numel() == 1
        return self.target.binary and single

    def _columns(self, part):
        with torch.no_grad():
            return self.target.outputs(self.network.outputs(self.rows.take(part)))

    def _position(self, output, width):
        if self.classes is None:
            if not isinstance(output, int | np.integer) or not 0 <= output < width:
                raise ValueError(
                    f"output={output!r} is no output of this model, which has {width}: pass an "
                    f"integer from 0 to {width - 1}."
                )
            return int(output)
        found = [k for k, label in enumerate(self.classes) if label == output]
        if not found:
            raise ValueError(
                f"output={output!r} is none of the {len(self.classes)} classes "
                f"({', '.join(map(str, list(self.classes)[:5]))}). Name one of them."
            )
        return found[0]
