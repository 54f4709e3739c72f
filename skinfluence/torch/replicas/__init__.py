"""Parts of a module, written anew as maps whose derivatives are known.

Fused kernels (recurrent layers, attention) hide the linear maps they are made of, have no second
derivatives or cannot be batched by ``vmap``. A private copy of a module runs the same formulas in
the open: same parameters under the same names, same numbers up to rounding, and each weight a
``Linear`` of its own that layer-wise methods find like any other.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from skinfluence.torch.replicas.attention import OpenAttention
from skinfluence.torch.replicas.cells import OpenGRUCell, OpenLSTMCell, OpenRNNCell
from skinfluence.torch.replicas.recurrent import OpenGRU, OpenLSTM, OpenRNN

__all__ = ["open_up"]

OPEN: dict[type, Any] = {
    nn.RNN: OpenRNN,
    nn.GRU: OpenGRU,
    nn.LSTM: OpenLSTM,
    nn.RNNCell: OpenRNNCell,
    nn.GRUCell: OpenGRUCell,
    nn.LSTMCell: OpenLSTMCell,
}


def open_up(module: nn.Module) -> None:
    """Change parts of a private copy, in place.

    Parameters
    ----------
    module : nn.Module
        A copy that nobody else sees.

    Raises
    ------
    ValueError
        For an embedding with ``max_norm``, whose forward rewrites its weight.
    """
    for path, part in list(module.named_modules()):
        if type(part) in OPEN:
            OPEN[type(part)].take_over(part)
        elif type(part) is nn.MultiheadAttention and OpenAttention.can(part):
            OpenAttention.take_over(part)
        elif isinstance(part, nn.TransformerEncoderLayer):
            # The fused kernel of evaluation mode calls no submodule; it asks for this.
            part.activation_relu_or_gelu = 0
        elif isinstance(part, nn.TransformerEncoder):
            # Rows of unequal length packed into one tensor, which only fused kernels take.
            part.enable_nested_tensor = part.use_nested_tensor = False
        elif isinstance(part, nn.Embedding | nn.EmbeddingBag):
            _own_gradients(part, path)


def _own_gradients(part: Any, path: str) -> None:
    """Derivatives of a table of vectors, not what an optimiser is handed instead."""
    if part.max_norm is not None:
        raise ValueError(
            f"{path or type(part).__name__} has max_norm={part.max_norm}: its forward rewrites "
            "the weight, so the loss has no derivative in it. Set max_norm = None on the trained "
            "module, whose rows are within the norm already, and pass it again."
        )
    part.scale_grad_by_freq, part.sparse = False, False
