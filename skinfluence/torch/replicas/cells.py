"""Cells of recurrent layers, which a user's own loop calls step by step."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from skinfluence.torch.replicas.recurrent import gru_step, lstm_step, rnn_step, tied_linear


class _OpenCell(nn.RNNCellBase):
    """What the three cells share: two linear maps, ``ih`` and ``hh``."""

    fused: type[nn.RNNCellBase]
    n_states = 1

    @classmethod
    def take_over(cls, cell: Any) -> None:
        """Make a cell one of this class: everything it holds stays."""
        cell.__class__ = cls
        cell.add_module("ih", tied_linear(cell.weight_ih, cell.bias_ih))
        cell.add_module("hh", tied_linear(cell.weight_hh, cell.bias_hh))
        cell.train(cell.training)

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        if input.ndim != 2:
            return self.fused.forward(self, input, hx)
        if hx is None:
            zeros = input.new_zeros(len(input), self.hidden_size)
            hx = zeros if self.n_states == 1 else (zeros, zeros)
        hidden = hx if isinstance(hx, Tensor) else hx[0]
        return self._step(self.ih(input), self.hh(hidden), hx)

    def _step(self, from_input: Tensor, from_hidden: Tensor, hx: Any) -> Any:
        raise NotImplementedError


class OpenRNNCell(_OpenCell, nn.RNNCell):
    """A step of Elman's network."""

    fused = nn.RNNCell

    def _step(self, from_input, from_hidden, hx):
        return rnn_step(from_input, from_hidden, self.nonlinearity)


class OpenGRUCell(_OpenCell, nn.GRUCell):
    """A step of gated recurrent units."""

    fused = nn.GRUCell

    def _step(self, from_input, from_hidden, hx):
        return gru_step(from_input, from_hidden, hx)


class OpenLSTMCell(_OpenCell, nn.LSTMCell):
    """A step of long short-term memory."""

    fused, n_states = nn.LSTMCell, 2

    def _step(self, from_input, from_hidden, hx):
        return lstm_step(from_input, from_hidden, hx[1])
