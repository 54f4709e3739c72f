"""What a network was trained to minimise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from skinfluence.torch.data import RowReader, Rows
from skinfluence.torch.losses import RowLoss
from skinfluence.torch.network import Network


@dataclass(frozen=True)
class Draws:
    """Standard normal noise that a loss averages over.

    Parameters
    ----------
    shape : tuple of int
        Of one draw for one row.
    dtype : torch.dtype
    shared : bool
        Whether the module takes several draws of a row at once, and runs what does not depend
        on them (an encoder) once.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    shared: bool


@dataclass
class NetworkObjective:
    """``F(theta) = sum_i w_i l_i(theta) + sum_k (c_k / 2) theta_k^2``.

    Parameters
    ----------
    network : Network
    loss : RowLoss
    rows : Rows
        Training rows.
    weights : Tensor of shape (n,)
        w, float64 on the CPU.
    decay : Tensor of shape (p,) or None
        c / W with W = sum w: the weight decay of a mean loss, as optimisers mean it.
    per_weight : bool, default=True
        Whether c = W * decay follows the rows, so that deleting row i takes w_i * decay with it;
        otherwise c stays as it is.
    read_rows : RowReader or None
        Turns inputs and targets of queries, as the user has them, into rows.
    classes : ndarray or None
        Labels in the order of the outputs, where the model knows them.
    held_out : ndarray of bool of shape (n,) or None
        Rows that the model itself kept out of its training, whose weight is 0.
    stochastic : Draws or None
        The noise that the network takes as its last input, (b, n_draws, \\*shape), where the loss
        is a mean over draws. `rows` do not hold it.
    """

    network: Network
    loss: RowLoss
    rows: Rows
    weights: Tensor
    decay: Tensor | None = None
    per_weight: bool = True
    read_rows: RowReader | None = None
    classes: np.ndarray | None = None
    held_out: np.ndarray | None = None
    stochastic: Draws | None = None

    @property
    def n_train(self) -> int:
        return len(self.weights)

    @property
    def total_weight(self) -> float:
        """W = sum w."""
        return float(self.weights.sum())

    def penalty_gradient(self) -> Tensor | None:
        """What a row of weight 1 takes with it beside its own gradient, (p,), or None."""
        if self.decay is None or not self.per_weight:
            return None
        return self.decay * self.network.theta

    def penalty_curvature(self) -> Tensor | None:
        """c, the diagonal that the penalty adds to the curvature, (p,), or None."""
        return None if self.decay is None else self.total_weight * self.decay

    def block_weights(self, rows: slice) -> Tensor:
        """w of some rows, in the network's type and on its device."""
        return self.weights[rows].to(self.network.device, self.network.dtype)

    def losses(self, rows: Rows, size: int = 1024) -> Tensor:
        """Loss of every row, (n,), float64 on the CPU."""
        found = []
        with torch.no_grad():
            for start in range(0, rows.shape[0], size):
                batch = rows.take(slice(start, start + size))
                found.append(self.loss(self.network.outputs(batch), batch.y).double().cpu())
        return torch.cat(found)
