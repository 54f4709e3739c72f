"""How near a network is to a minimum of what it is said to have minimised."""

from __future__ import annotations

import torch

from skinfluence._warn import warn
from skinfluence.exceptions import NotStationaryWarning
from skinfluence.torch.influence.trained import Trained
from skinfluence.torch.losses import (
    BinaryCrossEntropy,
    CrossEntropy,
    MeanSquaredError,
    SquaredError,
)
from skinfluence.torch.models.rows import all_targets
from skinfluence.torch.objective import NetworkObjective

# Relative gradient from which on rows, loss or penalty may be other than in training.
LOOSE = 0.3
# And from which on it may be that the network does not know these rows at all.
DOUBTFUL = 0.05
# Rows of a single class, or a single number, say nothing by what a constant loses at them.
ROUNDING = 1e-9


def relative_gradient(trained: Trained) -> float:
    """``|gradient of F| / sum_i |w_i g_i|`` at the parameters, between 0 and about 1."""
    objective, network = trained.objective, trained.network
    total = torch.zeros(1, network.n_params, dtype=torch.float64, device=network.device)
    sizes = 0.0
    n, size = objective.n_train, trained.gradients.block_size()
    for start in range(0, n, size):
        leaving = trained.leaving(slice(start, min(start + size, n)))
        total += leaving.block.adjoint(leaving.weights.to(network.dtype)[None])
        sizes += float(leaving.weights @ leaving.block.squares().clamp_min(0.0).sqrt())
    penalty = objective.penalty_curvature()
    if penalty is not None:
        total += penalty * network.theta
    return float(total.norm()) / sizes if sizes > 0 else 0.0


def check_trained(model: str, objective: NetworkObjective, found: float) -> None:
    """Warn of parameters that no minimum of this objective is near to.

    Parameters
    ----------
    model : str
        Its name.
    objective : NetworkObjective
    found : float
        Its `relative_gradient`. Rows that are foreign to a network may have a small one too, as
        may a network that is not trained: from a twentieth on, losses are looked at.
    """
    known = constant_loss(objective) if found > DOUBTFUL else None
    if known is not None and known > ROUNDING:
        weights = objective.weights
        loss = float(weights @ objective.losses(objective.rows)) / objective.total_weight
        if loss > known:
            warn(
                f"The mean loss of {model} is {loss:.3g} on these rows, and that of the best "
                f"constant output {known:.3g}: these rows did not train it, or it is not trained. "
                "Check that X and y are the rows it was trained on, scaled and encoded alike, and "
                "loss what it was trained with.",
                NotStationaryWarning,
            )
            return
    _warn_if_loose(model, found)


def constant_loss(objective: NetworkObjective) -> float | None:
    """Smallest mean loss of an output that is the same at all rows; None where that is not known.

    The entropy of the frequencies of classes, or the variance of numbers.
    """
    loss = objective.loss
    kinds = (CrossEntropy, BinaryCrossEntropy, SquaredError, MeanSquaredError)
    if not isinstance(loss, kinds):
        return None
    y = all_targets(objective.rows)
    share = objective.weights / objective.total_weight
    if isinstance(loss, CrossEntropy):
        if y.ndim != 1:
            return None
        each = torch.unique(y, return_inverse=True)[1]
        p = torch.bincount(each, weights=share)
        return float(-torch.xlogy(p, p).sum())
    y = y.double().reshape(len(y), -1)
    mean = share @ y
    if isinstance(loss, BinaryCrossEntropy):
        return float(-(torch.xlogy(mean, mean) + torch.xlogy(1 - mean, 1 - mean)).sum())
    variance = share @ (y - mean).square()
    scale = loss.scale if isinstance(loss, SquaredError) else 1.0 / len(variance)
    return scale * float(variance.sum())


def _warn_if_loose(model: str, found: float) -> None:
    if found > LOOSE:
        warn(
            f"The gradient of {model}'s objective is {found:.2g} of the size of its rows' "
            "gradients, so that these parameters are no minimum of it, nor near one. Check that X "
            "and y are the rows it was trained on, and loss and weight_decay what it was trained "
            "with; if they are, train it longer, or read scores as rankings.",
            NotStationaryWarning,
        )
