"""How an optimiser scales gradients, entry by entry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from skinfluence.torch.network import Network

if TYPE_CHECKING:
    from skinfluence.checkpoints import Checkpoint, Checkpoints

# Optimisers whose step is a rate times averaged gradients over sqrt(v) + eps.
ADAM = ("Adam", "AdamW", "NAdam")
PLAIN = ("SGD",)


def check_optimizer(checkpoints: Checkpoints) -> None:
    """Refuse checkpoints whose optimiser, or its state, is not known."""
    info = checkpoints.optimizer
    if info is None:
        raise ValueError(
            "preconditioner='optimizer' needs the optimiser that trained the network, and the "
            "checkpoints do not name it. Record the training with a CheckpointRecorder that is "
            "handed the optimiser, or leave preconditioner=None."
        )
    if info.name not in (*ADAM, *PLAIN):
        raise ValueError(
            f"preconditioner='optimizer' knows how {', '.join((*ADAM, *PLAIN))} scale gradients, "
            f"and the network was trained by {info.name}. Leave preconditioner=None."
        )
    if info.name in ADAM and all(checkpoint.optimizer is None for checkpoint in checkpoints):
        raise ValueError(
            f"preconditioner='optimizer' needs the state of {info.name}, and the checkpoints hold "
            "none. Record with CheckpointRecorder(optimizer_state=True)."
        )


def scaling(checkpoints: Checkpoints, c: int, network: Network) -> Tensor | None:
    """``1 / (sqrt(v) + eps)`` at checkpoint c, v corrected for its start, (p,); None for SGD.

    v is that of the checkpoint or of the next, whichever is larger: an entry whose gradients have
    just begun (a unit that was off, a word that is rare) had a v of next to nothing when the
    checkpoint was taken, and the steps that used these gradients had them in v already. One that
    has no v in either was not moved, and has 0. A checkpoint before the first step has the next's.
    """
    info: Any = checkpoints.optimizer
    if info.name in PLAIN:
        return None
    states: Any = [at.optimizer for at in checkpoints[c:] if _has_v(at)][:2]
    if not _has_v(checkpoints[c]):
        before = (at.optimizer for at in reversed(checkpoints[:c]) if _has_v(at))
        states = states[:1] or [next(before, {})]
    parts = []
    for name in network.names:
        options = info.options.get(name, {})
        v = np.maximum.reduce([_corrected(state.get(name), options, name) for state in states])
        scale = np.divide(1.0, np.sqrt(v) + options.get("eps", 1e-8), where=v > 0, out=0.0 * v)
        parts.append(torch.from_numpy(scale).reshape(-1))
    return torch.cat(parts).to(network.device, network.dtype)


def _has_v(checkpoint: Checkpoint) -> bool:
    states = checkpoint.optimizer or {}
    return any("exp_avg_sq" in state for state in states.values())


def _corrected(state: Any, options: Any, name: str) -> Any:
    """v of a parameter without the bias of its start."""
    if not state or "exp_avg_sq" not in state:
        raise ValueError(
            f"The recorded optimiser has no state of {name}, so that how its gradient was scaled "
            "is not known. Leave it out by params=, or leave preconditioner=None."
        )
    key = "max_exp_avg_sq" if options.get("amsgrad") else "exp_avg_sq"
    v = np.asarray(state[key], dtype=np.float64)
    beta = options.get("betas", (0.9, 0.999))[1]
    return v / (1.0 - beta ** float(np.asarray(state["step"])))
