"""Whether a loss has the curvature in the outputs that a matrix is made of."""

from __future__ import annotations

import torch
from torch import Tensor

from skinfluence.torch.losses import RowLoss, UserLoss
from skinfluence.torch.objective import NetworkObjective

# Training rows that are looked at, spread over all of them, and vectors for many outputs.
ROWS, VECTORS = 32, 8
# Outputs a row up to which eigenvalues are taken.
FEW = 64
# Negative curvature, relative to the largest, that rounding explains.
ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-4}


def require_smooth(objective: NetworkObjective) -> None:
    """Refuse losses with a kink where their curvature should be.

    Raises
    ------
    ValueError
    """
    if not objective.loss.smooth:
        raise ValueError(
            f"{_name(objective.loss)} has a kink in place of curvature, so neither curvature="
            "'hessian' nor 'ggn', nor what approximates them, describes it. Use loss='huber' if "
            "the network was trained on that, or curvature='fisher', which needs gradients only."
        )


def require_convex(objective: NetworkObjective) -> None:
    """Refuse losses that are concave somewhere, or straight everywhere, in the outputs.

    Looked at on 32 training rows, at the network's outputs.

    Raises
    ------
    ValueError
        The message names the row and the curvature.
    """
    at, lowest, size, dtype = _looked_at(objective)
    loss = objective.loss
    if loss.convex is None and float(lowest.min()) < -size * ROUNDING.get(dtype, 1e-2):
        row = int(lowest.argmin())
        raise ValueError(
            f"The Gauss-Newton matrix needs a loss that is convex in the outputs; {_name(loss)} "
            f"has curvature {float(lowest[row]):.3g} at training row {int(at[row])}. Use "
            "curvature='hessian' with damping, or 'fisher'."
        )
    _check_curved(loss, size, len(at))


def require_curved(objective: NetworkObjective) -> None:
    """Refuse losses that are straight in the outputs at the same rows, or have a kink.

    Raises
    ------
    ValueError
    """
    at, _, size, _ = _looked_at(objective)
    _check_curved(objective.loss, size, len(at))


def _check_curved(loss: RowLoss, size: float, n: int) -> None:
    # A convex loss may be straight where it is saturated.
    if size == 0.0 and loss.convex is None:
        raise ValueError(
            f"The Gauss-Newton matrix needs a loss that is curved in the outputs, and "
            f"{_name(loss)} is straight at all {n} rows tried. If the network ends in "
            "LogSoftmax, name the loss 'nll'; otherwise use curvature='hessian' or 'fisher'."
        )


def _looked_at(objective: NetworkObjective) -> tuple[Tensor, Tensor, float, torch.dtype]:
    """Some training rows, the lowest curvature at each, the size of all, and the outputs' type."""
    require_smooth(objective)
    n, loss = objective.n_train, objective.loss
    at = torch.linspace(0, n - 1, min(ROWS, n)).long().unique()
    with torch.no_grad():
        batch = objective.rows.take(at)
        outputs = objective.network.outputs(batch)
    lowest, highest = _extremes(loss, outputs, batch.y)
    size = float(torch.maximum(lowest.abs(), highest.abs()).max())
    return at, lowest, size, outputs.dtype


def _extremes(loss: RowLoss, outputs: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
    """Lowest and highest curvature found in each row's outputs."""
    K = outputs[0].numel()
    if K <= FEW:
        # Rows that are not finite are named by the first product.
        C = loss.hessian(outputs, y).nan_to_num(0.0, 0.0, 0.0)
        values = torch.linalg.eigvalsh(C)
        return values[:, 0], values[:, -1]
    draws = torch.Generator().manual_seed(0)
    V = torch.randn(VECTORS, *outputs.shape, generator=draws).to(outputs)
    found = (V * loss.curve(outputs, y)(V)).flatten(2).sum(2) / V.flatten(2).square().sum(2)
    found = found.nan_to_num(0.0, 0.0, 0.0)
    return found.min(0).values, found.max(0).values


def _name(loss: RowLoss) -> str:
    if isinstance(loss, UserLoss):
        return "the function passed as loss"
    return type(getattr(loss, "module", loss)).__name__  # torch's own, where it is one
