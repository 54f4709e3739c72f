"""The networks of a training, one at a time."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from skinfluence.torch.data import Rows
from skinfluence.torch.gradients import GradientBlock, RowGradients
from skinfluence.torch.influence.queries import Queries
from skinfluence.torch.influence.targets import OfLoss, Target
from skinfluence.torch.influence.trained import PROBE, At
from skinfluence.torch.modules import some
from skinfluence.torch.network import Network
from skinfluence.torch.objective import NetworkObjective
from skinfluence.torch.tracing.draws import DrawnRows
from skinfluence.torch.tracing.metric import Metric, make_metric
from skinfluence.torch.tracing.optimizer import scaling
from skinfluence.torch.tracing.rates import Rates

if TYPE_CHECKING:
    from skinfluence.checkpoints import Checkpoint, Checkpoints


@dataclass
class Point:
    """A network as it was at one checkpoint.

    Parameters
    ----------
    step : int
        Of the optimiser.
    objective : NetworkObjective
        With the network and the rows of this checkpoint.
    target : Target
    metric : Metric
    gradients : RowGradients
        Of the rows' losses.
    """

    step: int
    objective: NetworkObjective
    target: Target
    metric: Metric
    gradients: RowGradients

    def block(self, at: At) -> GradientBlock:
        """Gradients of the losses of some training rows."""
        return self.gradients.block(self.objective.rows.take(at))

    def asked(self, queries: Queries, *, step: int | None = None) -> Queries:
        """The same queries of this network, with the noise of its step or of another."""
        step = self.step if step is None else step
        queries = replace(queries, rows=at_step(queries.rows, step))
        if isinstance(self.target, OfLoss):
            return replace(queries, gradients=self.gradients)
        probe = queries.take(slice(0, PROBE))
        return replace(queries, gradients=RowGradients(self.objective.network, self.target, probe))


class Trajectory:
    """The checkpoints of a training as networks, made when they are wanted.

    Parameters
    ----------
    objective : NetworkObjective
        Of the trained network, whose copies the parameters and buffers of checkpoints go into.
    checkpoints : Checkpoints
    rates : list of dict of str to float
        eta of each, by parameter name.
    target : Target
    scaled : bool, default=False
        Whether gradients are scaled as the optimiser did.
    """

    def __init__(
        self,
        objective: NetworkObjective,
        checkpoints: Checkpoints,
        rates: Rates,
        target: Target,
        *,
        scaled: bool = False,
    ):
        self.objective, self.checkpoints, self.rates = objective, checkpoints, rates
        self.target, self.scaled = target, scaled
        self._last: tuple[int, Point] | None = None

    def __len__(self) -> int:
        return len(self.rates)

    @property
    def steps(self) -> list[int]:
        """Of the optimiser, at the checkpoints."""
        return [int(checkpoint.step) for checkpoint in self.checkpoints]

    def points(self, start: int = 0) -> Iterator[tuple[int, Point]]:
        """Checkpoints from one on, with their positions; those of rate 0 are left out."""
        for c in range(start, len(self)):
            if any(self.rates[c].values()):
                yield c, self.point(c)

    def point(self, c: int) -> Point:
        """The network at a checkpoint; the last one asked for is kept."""
        if self._last is None or self._last[0] != c:
            self._last = None  # before the next one is made: one at a time
            self._last = c, self._made(c)
        return self._last[1]

    def _made(self, c: int) -> Point:
        checkpoint = self.checkpoints[c]
        network = at_checkpoint(self.objective.network, checkpoint)
        rows = at_step(self.objective.rows, int(checkpoint.step))
        objective = replace(self.objective, network=network, rows=rows)
        gradients = RowGradients(network, objective.loss, objective.rows.take(slice(0, PROBE)))
        metric = make_metric(network, self.rates[c], self.scale(c, network))
        return Point(int(checkpoint.step), objective, self.target, metric, gradients)

    def scale(self, c: int, network: Network) -> Tensor | None:
        """What the optimiser multiplied gradients by at a checkpoint, (p,), where that counts."""
        return scaling(self.checkpoints, c, network) if self.scaled else None

    def about(self, target: Target | None) -> Trajectory:
        """The same checkpoints, asked about another target; None for the same one."""
        if target is None or target is self.target:
            return self
        found = copy.copy(self)
        found.target, found._last = target, None
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_last": None}


def at_step(rows: Rows, step: int) -> Rows:
    """Rows with the noise of a step, where they have any."""
    if not isinstance(rows, DrawnRows):
        return rows
    return DrawnRows(
        rows.rows,
        rows.draws,
        rows.n_draws,
        seed=rows.seed,
        stream=rows.stream,
        step=step,
        positions=rows.positions,
    )


def at_checkpoint(network: Network, checkpoint: Checkpoint) -> Network:
    """A copy of a network with the parameters and buffers of a checkpoint.

    Raises
    ------
    ValueError
        If the checkpoint is of another architecture: names or shapes differ.
    """
    twin = copy.copy(network)
    twin.module = copy.deepcopy(network.module)
    where = f"The checkpoint of step {checkpoint.step}"
    every = dict(twin.module.named_parameters())
    _copy_into(every, checkpoint.parameters, f"{where} has parameters")
    kept = {name: b for name, b in twin.module.named_buffers() if name in _persistent(twin)}
    # A scaling or statistics of the data that the checkpoint lacks would be those of another step.
    _copy_into(kept, checkpoint.buffers, f"{where} has buffers", extra=True)
    twin.theta = torch.cat([every[name].detach().reshape(-1) for name in twin.names])
    return twin


def _persistent(network: Network) -> set[str]:
    return set(network.module.state_dict())


def _copy_into(
    own: Mapping[str, Tensor], given: Mapping[str, Any], what: str, *, extra: bool = False
) -> None:
    missing = [name for name in own if name not in given]
    unknown = [] if extra else [name for name in given if name not in own]
    if missing or unknown:
        lacking = f"no {some(missing)}" if missing else ""
        more = f"{some(unknown)}, which the network does not know" if unknown else ""
        raise ValueError(
            f"{what} that are not the network's: {' and '.join(filter(None, [lacking, more]))}. "
            "Pass checkpoints of the network that is explained, and all of its parameters and "
            "buffers."
        )
    for name, tensor in own.items():
        values = np.asarray(given[name])
        if tuple(values.shape) != tuple(tensor.shape):
            raise ValueError(
                f"{what} of another size: {name} has shape {tuple(values.shape)}, and the network "
                f"has {tuple(tensor.shape)}. Pass checkpoints of the network that is explained."
            )
        with torch.no_grad():
            tensor.copy_(torch.tensor(values))
