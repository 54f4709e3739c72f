"""Gauss-Newton deletion: the step that leaves the deleted rows' curvature out too."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.func import grad

from skinfluence import _loops
from skinfluence.torch.curvature.outputs import OutputGradients
from skinfluence.torch.data import Batch
from skinfluence.torch.influence.trained import PROBE, SOLVING, At, Trained
from skinfluence.torch.losses import RowLoss
from skinfluence.torch.objective import NetworkObjective
from skinfluence.torch.solvers import Inverse

# Sweeps at most for rows whose weight is not the mean one: what 98 % of the weight take. Each
# gains a factor of W / |w - mean|.
SWEEPS = 1500
# Relative change of the solutions that ends the sweeps.
SETTLED = {torch.float64: 1e-13, torch.float32: 1e-7}
# An iterative solver answers no more exactly than its tolerance: a tenth of it ends the sweeps,
# and so do changes that stop falling below the second number.
OF_TOLERANCE, ROUGH = 0.1, 1e-2
# Rounding errors of a curvature's share that is left, in units of its type's.
NOTHING = 1e3


@dataclass
class GaussNewtonDeletion:
    """``Delta_S = (A - sum_S w_i (J_i'C_i J_i + diag(decay)))^-1 sum_S gbar_i``.

    A is the generalised Gauss-Newton matrix with the penalty and the damping, J_i the derivative
    of row i's outputs, C_i the Hessian of its loss in them. The rows' own curvature has rank
    K|S| and goes by Woodbury's identity, a K|S| x K|S| system. Their share of the penalty is a
    full diagonal: `inverse` is of the matrix without the share of a row of mean weight, and what
    another weight differs from that is iterated away (a contraction by |w - mean| / W).

    Parameters
    ----------
    trained : Trained
    inverse : Inverse
        Of A without the penalty's share of a row of mean weight.
    mean_weight : float

    References
    ----------
    .. [1] D. Pregibon (1981), Logistic regression diagnostics, Annals of Statistics 9.
    .. [2] J. Martens (2020), New insights and perspectives on the natural gradient method, JMLR.
    """

    trained: Trained
    inverse: Inverse
    mean_weight: float

    def moves(self, rows: At) -> Tensor:
        """Move of the parameters without each row, (b, p)."""
        positions = _positions(rows)
        found = [self._of_rows(positions[part]) for part in self.slices(len(positions))]
        return torch.cat(found) if found else self.trained.network.theta.new_zeros(0, self._p)

    def slices(self, n: int) -> list[slice]:
        """Blocks of rows whose Jacobians and solutions fit the memory."""
        return _loops.slices(n, self.trained.vectors_within_memory(SOLVING * self.n_outputs))

    @property
    def _p(self) -> int:
        return self.trained.network.n_params

    @property
    def n_outputs(self) -> int:
        """K."""
        with torch.no_grad():
            batch = self.trained.batch(slice(0, 1))
            return self.trained.network.outputs(batch)[0].numel()

    def _of_rows(self, positions):
        weights = self.trained.weights(positions)
        J, slopes, bends = self.derivatives(positions)
        n_rows, K, p = J.shape
        shift = (weights - self.mean_weight).to(J.dtype)
        solved = self._solve(J.reshape(-1, p), shift.repeat_interleave(K)).view(n_rows, K, p)
        x = torch.einsum("bk,bkp->bp", slopes.to(J.dtype), solved)
        penalty = self.trained.objective.penalty_gradient()
        if penalty is not None:
            x = x + self._solve(penalty.expand(n_rows, p), shift)
        x = x * weights.to(J.dtype)[:, None]
        return downdated(x, solved, J, weights[:, None, None] * bends, self._not_held(positions))

    def group_move(self, positions: np.ndarray) -> Tensor:
        """Move without all of these rows together, (1, p)."""
        if not len(positions):
            return self.trained.network.theta.new_zeros(1, self._p)
        n_directions = len(positions) * self.n_outputs
        if n_directions > max(self.trained.vectors_within_memory(SOLVING), 1):
            raise ValueError(
                f"A group of {len(positions)} rows has {n_directions} directions of curvature, "
                "more than fit the memory. Use method='first_order' for it, delete fewer rows "
                "together, or raise working_memory (sklearn.set_config)."
            )
        weights = self.trained.weights(positions)
        J, slopes, bends = self.derivatives(positions)
        W = weights.to(J.dtype)
        J, shift = J.reshape(1, -1, J.shape[2]), W.sum() - self.mean_weight
        solved = self._solve(J[0], shift.expand(J.shape[1]))[None]
        x = (W[:, None] * slopes.to(J.dtype)).reshape(1, -1) @ solved[0]
        penalty = self.trained.objective.penalty_gradient()
        if penalty is not None:
            x = x + W.sum() * self._solve(penalty[None], shift[None])
        C = torch.block_diag(*(weights[:, None, None] * bends))[None]
        return downdated(x, solved, J, C, self._not_held(positions[None]))

    def _not_held(self, positions):
        """What to say of rows without which the curvature is not positive."""

        def error(bad, lowest):
            rows = ", ".join(map(str, np.atleast_1d(positions[bad])[:4]))
            return ValueError(
                f"Without row {rows} the curvature is not positive (1 - leverage is "
                f"{lowest:.1g}): nothing else holds the parameters along some direction, so that "
                "no Newton step leads anywhere. Give a damping or a weight decay of all "
                "parameters, a more exact solver if this one approximates, or "
                "method='first_order'."
            )

        return error

    def derivatives(self, positions: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Derivatives of each row's outputs, and of its loss in them.

        Returns
        -------
        J : Tensor of shape (b, K, p)
        slopes : Tensor of shape (b, K)
            float64.
        bends : Tensor of shape (b, K, K)
            float64.
        """
        return self.linearised(self.trained.batch(positions))

    def linearised(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The same of rows that need not be training rows."""
        linearised = self._outputs(batch)
        f, loss = linearised.outputs.detach().double(), self.trained.objective.loss
        return linearised.dense(), loss_slopes(loss, f, batch.y), loss.hessian(f, batch.y).detach()

    @cached_property
    def _outputs(self) -> OutputGradients:
        return OutputGradients(self.trained.network, self.trained.batch(slice(0, PROBE)))

    def _solve(self, V: Tensor, shift: Tensor) -> Tensor:
        """``(B - s diag(decay))^-1 v`` row by row, B being what `inverse` inverts."""
        first = solved = self.inverse(V)
        decay = self.trained.objective.decay
        if self.trained.objective.penalty_gradient() is None or not bool(shift.any()):
            return solved
        last, own = float("inf"), OF_TOLERANCE * float(self.inverse.report().get("tol", 0.0))
        settled = max(SETTLED.get(V.dtype, 1e-7), own)
        for _ in range(SWEEPS):
            moved = first + self.inverse(shift[:, None] * decay * solved)
            change = float(torch.linalg.vector_norm(moved - solved))
            solved, size = moved, float(torch.linalg.vector_norm(moved))
            if change <= settled * size or last <= change <= ROUGH * size:
                return solved
            last = change
        raise ValueError(
            f"The rows to delete hold so much of the weight ({SWEEPS} sweeps do not take their "
            "share of the penalty out of the curvature), that little is left to train on. Delete "
            "fewer rows together, or use method='first_order'."
        )


def downdated(
    x: Tensor,
    solved: Tensor,
    J: Tensor,
    C: Tensor,
    not_held: Callable[[int, float], Exception],
) -> Tensor:
    """``(B - J'C J)^-1 b`` given ``x = B^-1 b`` and ``solved = B^-1 J'``, one system a row.

    Parameters
    ----------
    x : Tensor of shape (b, p)
    solved, J : Tensor of shape (b, K, p)
    C : Tensor of shape (b, K, K)
    not_held : callable
        What to raise where ``B - J'C J`` is not positive: from the position in the block, and
        the lowest eigenvalue of ``I - C J B^-1 J'``, which is 1 - leverage of one output.
    """
    CJ = C.double() @ J.double()
    inner = torch.eye(C.shape[1], dtype=torch.float64, device=C.device) - CJ @ _wide(solved)
    # A row that alone curves the loss along a direction leaves rounding errors in its place.
    lowest = torch.linalg.eigvals(inner).real.amin(1)
    bad = int(lowest.argmin()) if len(lowest) else 0
    if len(lowest) and not float(lowest[bad]) > NOTHING * torch.finfo(x.dtype).eps:
        raise not_held(bad, float(lowest[bad]))
    found = torch.linalg.solve(inner, (CJ @ x.double()[:, :, None]))[:, :, 0]
    return x + torch.einsum("bk,bkp->bp", found.to(x.dtype), solved)


def _wide(solved):
    return solved.double().transpose(1, 2)


def _positions(rows):
    return np.arange(rows.start, rows.stop) if isinstance(rows, slice) else np.asarray(rows)


def mean_deleted_objective(objective: NetworkObjective) -> tuple[NetworkObjective, float]:
    """The objective without the penalty's share of a row of mean weight, and that weight."""
    if objective.penalty_gradient() is None:
        return objective, 0.0
    held = objective.weights[objective.weights > 0]
    mean = float(held.mean())
    assert objective.decay is not None
    left = objective.decay * (1.0 - mean / objective.total_weight)
    return dataclasses.replace(objective, decay=left), mean


def loss_slopes(loss: RowLoss, outputs: Tensor, y: Tensor | None) -> Tensor:
    """Derivative of each row's loss in its outputs, (b, K)."""
    return grad(lambda f: loss(f, y).sum())(outputs).reshape(len(outputs), -1)
