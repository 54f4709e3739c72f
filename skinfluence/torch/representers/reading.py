"""From a model to its network, its linear layer and what is behind that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.validation import check_is_fitted
from torch import nn

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.torch import faults, models
from skinfluence.torch.data import RowReader
from skinfluence.torch.data.datasets import is_dataset
from skinfluence.torch.losses import BinaryCrossEntropy, CrossEntropy, RowLoss
from skinfluence.torch.models.batch_losses import OverPositions, TorchLoss
from skinfluence.torch.models.mlp import objective_of
from skinfluence.torch.models.rows import all_targets, row_weights
from skinfluence.torch.models.skorch_nets import is_skorch
from skinfluence.torch.network import Network
from skinfluence.torch.objective import NetworkObjective
from skinfluence.torch.representers.layers import Activation, Layer, find_layer

Loss = str | Callable[..., Any] | None
# Losses whose probabilities are sigmoids of the outputs.
SIGMOIDAL = (nn.BCEWithLogitsLoss, nn.BCELoss)
# The loss that stands for what a module's outputs say of it.
BY_HEAD = {
    "softmax": "cross_entropy",
    "log_softmax": "cross_entropy",
    "sigmoid": "binary_cross_entropy",
}


@dataclass(frozen=True)
class Split:
    """A network, its rows, and the linear layer whose outputs are decomposed.

    Parameters
    ----------
    objective : NetworkObjective
        Its weights are those of the rows in the fit of the layer.
    layer : Layer
    activation : {"softmax", "sigmoid", "relu", "squared"}
        What is made of the layer's outputs, and so what a refit of it reproduces.
    """

    objective: NetworkObjective
    layer: Layer
    activation: Activation

    def own_classes(self) -> NDArray[np.intp] | None:
        """Position of each training row's class among the outputs, (n,).

        Of one output, 0 and 1 for the two classes. None where rows have no y, or no one class.
        """
        return None if self.classes() is None else class_positions(self.objective.rows)

    def classes(self) -> NDArray[Any] | None:
        """Labels of the outputs, or of the two classes that share one; None without classes.

        Several sigmoids are answers to as many questions, and no classes.
        """
        K = self.layer.module.out_features
        if self.layer.hidden or self.activation not in ("softmax", "sigmoid"):
            return None
        if self.activation == "sigmoid" and K > 1:
            return None
        known = self.objective.classes
        return np.arange(max(K, 2)) if known is None else np.asarray(known)


def class_positions(rows: Any) -> NDArray[np.intp] | None:
    """Position of each row's class, of targets as losses of classes take them; None without."""
    if rows.take(slice(0, 1)).y is None:
        return None
    y = all_targets(rows)
    y = y.reshape(len(y), -1)
    if y.shape[1] > 1:
        one = bool((y.sum(1) - 1).abs().max() < 1e-6)  # else labels, of which a row has several
        return y.argmax(1).numpy().astype(np.intp) if one else None
    found: NDArray[np.intp] = y[:, 0].round().long().numpy().astype(np.intp)
    return found


def split_pretrained(
    model: Any, X: Any, y: Any, sample_weight: Any, *, layer: str | None, loss: Loss
) -> Split:
    """A model whose layer is refitted to the outputs that it has; y may be missing.

    Rows count by their sample weight; those that a skorch net held out, not at all.
    """
    objective = _objective(model, X, y, sample_weight, layer, loss)
    batch, outputs = faults.check_forward(objective.network, objective.rows)
    found = find_layer(objective.network, batch, layer)
    activation = activation_of(found, objective.loss)
    if activation == "softmax" and outputs.ndim > 2 and not found.hidden:
        raise ValueError(
            f"Outputs have shape {tuple(outputs.shape)}, with a softmax at every position of a "
            "row, and representers need one vector of logits a row. Make each position a row, or "
            "pass loss='squared_error' to decompose the logits one by one."
        )
    weights = row_weights(sample_weight, objective.n_train)
    if objective.held_out is not None:
        weights = weights * torch.from_numpy(~objective.held_out)
    return Split(replace(objective, weights=weights), found, activation)


def split_trained(
    model: Any, X: Any, y: Any, sample_weight: Any, *, layer: str | None, loss: Loss
) -> Split:
    """A model whose last layer is refitted to y.

    Raises
    ------
    ValueError
        If the layer is a hidden one, or shares its parameters.
    UnsupportedEstimatorError
        If a ReLU follows it.
    """
    objective = models.read(model, X, y, sample_weight, loss=loss)
    network = objective.network
    found = find_layer(network, objective.rows.take(slice(0, faults.PROBE)), layer)
    if found.hidden:
        raise ValueError(
            f"Layer {found.name!r} is a hidden one, and mode='trained' fits a layer to y, which "
            "only the last has. Use mode='pretrained', which fits it to its own outputs."
        )
    if found.head == "relu":
        raise UnsupportedEstimatorError(
            f"A ReLU follows the last layer, {found.name!r}, so that its loss is not one of a "
            "linear layer's outputs. Use mode='pretrained', which fits it to its own outputs."
        )
    for names in network.aliases.values():
        if len(names) > 1 and any(n.rpartition(".")[0] == found.name for n in names):
            raise ValueError(
                f"The last layer shares {names[0]!r} with another ({', '.join(names[1:])}), so "
                "that training did not fit it as a last layer. Use mode='pretrained', which "
                "refits it alone."
            )
    return Split(objective, found, activation_of(found, objective.loss))


def activation_of(layer: Layer, loss: RowLoss) -> Activation:
    """What is made of a layer's outputs."""
    if layer.hidden:
        return layer.activation
    if layer.head == "relu":
        return "relu"
    if layer.head in ("softmax", "log_softmax"):
        return "softmax"
    if layer.head == "sigmoid" or isinstance(loss, BinaryCrossEntropy):
        return "sigmoid"
    if isinstance(loss, CrossEntropy | OverPositions):
        return "softmax"
    sigmoidal = isinstance(loss, TorchLoss) and isinstance(loss.module, SIGMOIDAL)
    return "sigmoid" if sigmoidal else "squared"


def _objective(
    model: Any, X: Any, y: Any, sample_weight: Any, layer: str | None, loss: Loss
) -> NetworkObjective:
    if isinstance(model, nn.Module) and loss is None:
        loss = _loss_of_outputs(model, X, layer)
        y = None if loss == "squared_error" else y  # of a hidden layer, which has none
    reader = models.reader_of(model, loss=loss, weight_decay=None)
    if isinstance(model, MLPClassifier | MLPRegressor):
        check_is_fitted(model)
        reader = objective_of  # whatever it minimised
    if is_skorch(model):
        _check_split(model, X, y)
    return reader(model, X, y, sample_weight, params=None)


def _loss_of_outputs(module: nn.Module, X: Any, layer: str | None) -> str:
    """Name of the loss that a module's outputs speak of."""
    network = Network(module)
    rows = RowReader(network.dtype, network.device)(X)
    network.as_columns(rows)
    batch, _ = faults.check_forward(network, rows)
    found = find_layer(network, batch, layer)
    if found.hidden or found.head == "relu":
        return "squared_error"
    if found.head == "identity":
        raise ValueError(
            f"{type(module).__name__} returns the outputs of its last layer, {found.name!r}, and "
            "does not say what they are. Pass loss=: 'cross_entropy' where a softmax makes "
            "probabilities of them, 'binary_cross_entropy' where a sigmoid does, or "
            "'squared_error' where they are the prediction."
        )
    return BY_HEAD[str(found.head)]


def _check_split(net: Any, X: Any, y: Any) -> None:
    stratified = getattr(net.train_split, "stratified", False)
    if y is None and stratified and not is_dataset(X):
        raise ValueError(
            f"{type(net).__name__} held rows out by a split that is stratified by y, and y is "
            "missing, so that they are not known. Pass y, or the rows it was trained on after "
            "net.set_params(train_split=None)."
        )
