"""Targets and queries of what is traced, linear classifiers among it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skinfluence.torch.data import Batch, Rows
from skinfluence.torch.influence.queries import Choice
from skinfluence.torch.influence.targets import OfOutput, Target, make_target
from skinfluence.torch.losses import BinaryCrossEntropy
from skinfluence.torch.losses.margins import Margins
from skinfluence.torch.objective import NetworkObjective


def traced_target(asked: Any, objective: NetworkObjective) -> Target:
    """Target by name, or of a function; scores of classifiers by margins are logits."""
    loss = objective.loss
    by_name = not callable(asked) and asked != "loss"
    if by_name and isinstance(loss, Margins):
        if asked == "proba" and loss.name == "log_loss":
            return OfOutput(_probabilities, binary=True)
        if asked == "decision_function":
            objective = replace(objective, loss=BinaryCrossEntropy())
    found = make_target(asked, objective)
    assert found is not None  # check_options has seen to it
    return found


def _probabilities(outputs: Tensor) -> Tensor:
    """Of two classes the single logit's; of more, each against the rest, made to add up."""
    p = outputs.reshape(len(outputs), -1).sigmoid()
    if p.shape[1] == 1:
        return torch.cat([1 - p, p], 1)
    return p / p.sum(1, keepdim=True)


def choice_of(
    objective: NetworkObjective, target: OfOutput, rows: Rows, output: Any, *, by_y: bool
) -> Tensor:
    """Position of the column that each query is about, (m,)."""
    if isinstance(objective.loss, Margins):
        rows, labels = Labelled(rows), True
    else:
        y = objective.rows.take(slice(0, 1)).y
        labels = y is not None and y.ndim == 1 and not y.is_floating_point()
    choice = Choice(objective.network, target, rows, objective.classes, labels)
    return choice.of(output, by_y=by_y)


class Labelled(Rows):
    """Rows whose targets are positions of classes, and not a sign for each of them.

    Parameters
    ----------
    rows : Rows
        With targets (n, K) of 1 and -1; one column stands for two classes.
    """

    def __init__(self, rows: Rows):
        self.rows, self.device = rows, rows.device

    @property
    def shape(self) -> tuple[int, ...]:
        return self.rows.shape

    def take(self, rows: slice | np.ndarray | Tensor) -> Batch:
        batch = self.rows.take(rows)
        if batch.y is None:
            return batch
        one = batch.y.shape[1] == 1
        return replace(batch, y=(batch.y[:, 0] > 0).long() if one else batch.y.argmax(1))

    def __getitem__(self, rows: slice) -> Labelled:
        return Labelled(self.rows[rows])
