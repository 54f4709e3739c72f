"""How near a network is to a minimum of what it is said to have minimised."""

from __future__ import annotations

import torch

from skinfluence._warn import warn
from skinfluence.exceptions import NotStationaryWarning
from skinfluence.torch.influence.trained import Trained

# Relative gradient from which on rows, loss or penalty may be other than in training.
LOOSE = 0.3


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


def warn_if_loose(model: str, found: float) -> None:
    """Warn of parameters that no minimum of this objective is near to."""
    if found > LOOSE:
        warn(
            f"The gradient of {model}'s objective is {found:.2g} of the size of its rows' "
            "gradients, so that these parameters are no minimum of it, nor near one. Check that X "
            "and y are the rows it was trained on, and loss and weight_decay what it was trained "
            "with; if they are, train it longer, or read scores as rankings.",
            NotStationaryWarning,
        )
