"""A module and the loss it was trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from skinfluence.torch.data import RowReader
from skinfluence.torch.models.criterion import read_criterion
from skinfluence.torch.models.rows import row_weights
from skinfluence.torch.network import Network
from skinfluence.torch.objective import NetworkObjective


def read_module(
    module: nn.Module,
    X: Any,
    y: Any,
    sample_weight: Any,
    *,
    loss: str | Callable[..., Any] | None,
    weight_decay: float | Mapping[str, float] | None,
    params: str | Sequence[str] | None,
) -> NetworkObjective:
    """``sum_i w_i l_i + W sum_k (decay_k / 2) theta_k^2``, the penalty on a mean loss."""
    if loss is None:
        raise ValueError(
            f"{type(module).__name__} does not say what it was trained on. Pass loss=: "
            "'cross_entropy', 'squared_error', ..., a torch loss module, or a function of "
            "(outputs, y) that returns a loss a row."
        )
    criterion = read_criterion(loss)
    network = Network(module, params=params, head=criterion.head)
    read_rows = RowReader(network.dtype, network.device, criterion.encode)
    rows = read_rows(X, y)
    network.as_columns(rows)
    criterion = criterion.checked(network, rows)
    return NetworkObjective(
        network,
        criterion.loss,
        rows,
        criterion.weigh(row_weights(sample_weight, rows.shape[0]), rows),
        network.spread(weight_decay, "weight_decay"),
        read_rows=read_rows.for_queries(rows),
    )
