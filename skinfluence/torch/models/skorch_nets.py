"""skorch nets: module, criterion and optimiser know what was minimised."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import NotFittedError
from torch import Tensor, nn

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.torch.data import RowReader, Rows
from skinfluence.torch.data.datasets import is_dataset
from skinfluence.torch.faults import outputs_of
from skinfluence.torch.models.batch_losses import to_log
from skinfluence.torch.models.criterion import Criterion, read_criterion
from skinfluence.torch.models.rows import all_targets, row_weights
from skinfluence.torch.modules import unwrapped
from skinfluence.torch.network import Network
from skinfluence.torch.objective import NetworkObjective


def is_skorch(model: Any) -> bool:
    """Whether a model is a skorch net, without importing skorch."""
    return any(
        cls.__name__ == "NeuralNet" and cls.__module__.startswith("skorch.")
        for cls in type(model).__mro__
    )


def read_skorch(
    net: Any,
    X: Any,
    y: Any,
    sample_weight: Any,
    *,
    loss: str | Callable[..., Any] | None,
    weight_decay: float | Mapping[str, float] | None,
    params: str | Sequence[str] | None,
) -> NetworkObjective:
    """``sum_i w_i l_i + W sum_k (decay_k / 2) theta_k^2`` of a net's criterion and optimiser.

    The decay of the optimiser is read as a penalty on the mean loss, which is what SGD's and
    Adam's is; AdamW's, which is not divided by the size of the gradients, is read so too, though
    its fixed point is that of a penalty that differs from parameter to parameter. Rows that
    ``train_split`` held out have weight 0.
    """
    _check(net, X)
    criterion = _criterion(net) if loss is None else read_criterion(loss)
    network = Network(net.module_, params=params, head=criterion.head)
    read_rows = RowReader(network.dtype, network.device, criterion.encode, frames_by_column=True)
    rows = _training_rows(net, read_rows, X, y)
    network.as_columns(rows)
    criterion = criterion.checked(network, rows)
    _check_shapes(net, network, rows)
    weights = criterion.weigh(row_weights(sample_weight, rows.shape[0]), rows)
    trained_on = _trained_on(net, X, y, rows)
    weights = weights * trained_on
    decay = _weight_decay(net, trained_on, weights) if weight_decay is None else weight_decay
    return NetworkObjective(
        network,
        criterion.loss,
        rows,
        weights,
        network.spread(decay, "weight_decay"),
        read_rows=read_rows.for_queries(rows),
        held_out=(trained_on == 0).numpy(),
    )


def _check(net: Any, X: Any) -> None:
    if not getattr(net, "initialized_", False) or not hasattr(net, "module_"):
        raise NotFittedError(
            f"{type(net).__name__} is not initialised, so that it has no parameters. Call its "
            "fit, or initialize and load_params, first."
        )
    if isinstance(X, tuple | list):
        raise ValueError(
            f"X is a {type(X).__name__}, which skorch hands to the module as one list. Pass an "
            "array, a dict of the module's arguments, or a Dataset."
        )
    for name in ("infer", "train_step", "train_step_single"):
        _check_own(net, name, "Explain its module_, with loss= and weight_decay=.")


def _check_own(net: Any, name: str, advice: str) -> None:
    """Refuse a method that a subclass outside skorch has overridden."""
    owner = next(cls for cls in type(net).__mro__ if name in vars(cls))
    if not owner.__module__.startswith("skorch."):
        raise UnsupportedEstimatorError(
            f"{type(net).__name__} overrides {name}, so that what it minimised is not known. "
            f"{advice}"
        )


def _criterion(net: Any) -> Criterion:
    from skorch import NeuralNetClassifier

    _check_own(net, "get_loss", "Pass loss=, a function of (outputs, y) a row.")
    if not isinstance(net.criterion_, nn.Module):
        raise UnsupportedEstimatorError(
            f"The criterion of {type(net).__name__} is a {type(net.criterion_).__name__}, which "
            "gives one loss a batch. Pass loss=, a function of (outputs, y) a row."
        )
    found = read_criterion(net.criterion_)
    if isinstance(net.criterion_, nn.NLLLoss) and isinstance(net, NeuralNetClassifier):
        return replace(found, head=to_log)
    return found


def _training_rows(net: Any, read_rows: RowReader, X: Any, y: Any) -> Rows:
    from skorch.dataset import Dataset

    if is_dataset(X):
        return read_rows(X)
    if net.dataset is Dataset:
        return read_rows(X, y)
    # A dataset of the user's transforms rows on their way to the module.
    return read_rows(net.get_dataset(X, y))


def _trained_on(net: Any, X: Any, y: Any, rows: Rows) -> Tensor:
    """1 for the rows that the net's split leaves for training, 0 for those it holds out."""
    n = rows.shape[0]
    if not net.train_split:
        return torch.ones(n, dtype=torch.float64)
    if y is None and is_dataset(X):
        y = all_targets(rows).numpy()  # which a stratified split is passed beside the dataset
    first, second = (_kept(net.get_split_datasets(X, y)[0], X, n) for _ in range(2))
    if first is None or second is None or not torch.equal(first, second):
        raise UnsupportedEstimatorError(
            f"{type(net).__name__} held rows out by a split that cannot be repeated, so that "
            "those it was trained on are not known. Pass the rows it was trained on, after "
            "net.set_params(train_split=None), or give the split a random_state."
        )
    return first


def _kept(training: Any, X: Any, n: int) -> Tensor | None:
    from torch.utils.data import Subset

    # The rows may be a subset of the user's own, whose positions are others.
    if not isinstance(training, Subset) or training is X:
        return torch.ones(n, dtype=torch.float64) if len(training) == n else None
    if is_dataset(X) and training.dataset is not X:
        return None
    found = torch.zeros(n, dtype=torch.float64)
    found[torch.as_tensor(np.asarray(training.indices))] = 1.0
    return found


def _check_shapes(net: Any, network: Network, rows: Rows) -> None:
    """Refuse targets that MSELoss would compare with the outputs of all rows."""
    probe = rows.take(slice(0, 2))
    if not isinstance(net.criterion_, nn.MSELoss) or probe.y is None:
        return
    with torch.no_grad():
        outputs = outputs_of(network, probe)
    ndim = 1 if network.flat else outputs.ndim
    if ndim != probe.y.ndim:
        raise ValueError(
            f"y has {probe.y.ndim} dimensions and the outputs have {ndim}, so that "
            "MSELoss compares every row's output with every row's target. Fit the net on, and "
            "pass, a y of the shape of the outputs (y.reshape(-1, 1) for one column)."
        )


def _weight_decay(net: Any, trained_on: Tensor, weights: Tensor) -> dict[str, float]:
    """Weight decay by parameter name, on a mean loss."""
    names = {id(p): name for name, p in unwrapped(net.module_).named_parameters()}
    found = {}
    for group in net.optimizer_.param_groups:
        for p in group["params"]:
            if id(p) not in names:
                raise UnsupportedEstimatorError(
                    f"The optimiser of {type(net).__name__} trains parameters that are not in its "
                    "module_, and these are not explained. Put all modules into one."
                )
            found[names[id(p)]] = float(group.get("weight_decay", 0.0))
    if getattr(net.criterion_, "reduction", "mean") == "sum":
        # The sum over a batch is its mean weight times its size, times the mean loss.
        n, total = float(trained_on.sum()), float(weights.sum())
        size = min(net.batch_size, n) if net.batch_size > 0 else n
        found = {name: decay * n / (size * total) for name, decay in found.items()}
    return found
