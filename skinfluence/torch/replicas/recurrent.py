"""Recurrent layers, step by step through linear maps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def tied_linear(weight: nn.Parameter, bias: nn.Parameter | None) -> nn.Linear:
    """A linear layer of parameters that are another's."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = weight
    if bias is not None:
        layer.bias = bias
    return layer


def rnn_step(from_input: Tensor, from_hidden: Tensor, nonlinearity: str) -> Tensor:
    """``tanh(W x + b + U h + c)``, or ReLU."""
    function = torch.tanh if nonlinearity == "tanh" else torch.relu
    return function(from_input + from_hidden)


def gru_step(from_input: Tensor, from_hidden: Tensor, hidden: Tensor) -> Tensor:
    """The next state, with the reset after the product as cuDNN has it."""
    xr, xz, xn = from_input.chunk(3, -1)
    hr, hz, hn = from_hidden.chunk(3, -1)
    update = torch.sigmoid(xz + hz)
    new = torch.tanh(xn + torch.sigmoid(xr + hr) * hn)
    return new + update * (hidden - new)


def lstm_step(from_input: Tensor, from_hidden: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """The next output and the next memory."""
    enter, forget, cell, leave = (from_input + from_hidden).chunk(4, -1)
    memory = torch.sigmoid(forget) * memory + torch.sigmoid(enter) * torch.tanh(cell)
    return torch.sigmoid(leave) * torch.tanh(memory), memory


class _OpenRecurrent(nn.RNNBase):
    """What RNN, GRU and LSTM share: directions, layers, layouts."""

    fused: type[nn.RNNBase]

    @classmethod
    def take_over(cls, layer: Any) -> None:
        """Make a layer one of this class: everything it holds stays."""
        layer.__class__ = cls
        for suffix in layer._suffixes():
            bias = layer.bias
            for kind in ("ih", "hh", "hr"):
                weight = getattr(layer, f"weight_{kind}_{suffix}", None)
                if weight is not None:
                    own = bias and kind != "hr"
                    shift = getattr(layer, f"bias_{kind}_{suffix}") if own else None
                    layer.add_module(f"{kind}_{suffix}", tied_linear(weight, shift))
        layer.train(layer.training)

    def _suffixes(self) -> list[str]:
        ends = ("", "_reverse") if self.bidirectional else ("",)
        return [f"l{k}{end}" for k in range(self.num_layers) for end in ends]

    def forward(self, input: Any, hx: Any = None) -> Any:
        if not isinstance(input, Tensor) or input.ndim != 3:
            return self.fused.forward(self, input, hx)
        # Rows first from here on, whatever the caller's layout.
        x = input if self.batch_first else input.transpose(0, 1)
        directions = 2 if self.bidirectional else 1
        ends: list[tuple[Tensor, ...]] = []
        for k in range(self.num_layers):
            if k and self.dropout:
                x = F.dropout(x, self.dropout, self.training)
            outs = []
            for suffix in self._suffixes()[k * directions : (k + 1) * directions]:
                state = self._start(x, hx, len(ends))
                out, end = self._run(x, state, suffix)
                outs.append(out)
                ends.append(end)
            x = torch.cat(outs, -1) if directions == 2 else outs[0]
        last = tuple(torch.stack(parts) for parts in zip(*ends, strict=True))
        return x if self.batch_first else x.transpose(0, 1), self._handed_on(last)

    def _run(self, x: Tensor, state: tuple[Tensor, ...], suffix: str):
        """One direction of one layer: outputs (b, T, d) and the last state."""
        backwards = suffix.endswith("_reverse")
        gates = getattr(self, f"ih_{suffix}")(x)
        hidden = getattr(self, f"hh_{suffix}")
        outs = []
        for t in range(x.shape[1])[:: -1 if backwards else 1]:
            state = self._step(gates[:, t], hidden(state[0]), state, suffix)
            outs.append(state[0])
        return torch.stack(outs[::-1] if backwards else outs, 1), state

    def _start(self, x: Tensor, hx: Any, position: int) -> tuple[Tensor, ...]:
        if hx is not None:
            return tuple(part[position] for part in (hx if isinstance(hx, tuple) else (hx,)))
        sizes = self._state_sizes()
        return tuple(x.new_zeros(len(x), size) for size in sizes)

    def _state_sizes(self) -> tuple[int, ...]:
        return (self.hidden_size,)

    def _handed_on(self, last: tuple[Tensor, ...]) -> Any:
        return last[0]

    def _step(self, from_input: Tensor, from_hidden: Tensor, state, suffix: str):
        raise NotImplementedError


class OpenRNN(_OpenRecurrent, nn.RNN):
    """Elman's network."""

    fused = nn.RNN

    def _step(self, from_input, from_hidden, state, suffix):
        return (rnn_step(from_input, from_hidden, self.nonlinearity),)


class OpenGRU(_OpenRecurrent, nn.GRU):
    """Gated recurrent units."""

    fused = nn.GRU

    def _step(self, from_input, from_hidden, state, suffix):
        return (gru_step(from_input, from_hidden, state[0]),)


class OpenLSTM(_OpenRecurrent, nn.LSTM):
    """Long short-term memory, with the optional projection of its output."""

    fused = nn.LSTM

    def _step(self, from_input, from_hidden, state, suffix):
        out, memory = lstm_step(from_input, from_hidden, state[1])
        if self.proj_size:
            out = getattr(self, f"hr_{suffix}")(out)
        return out, memory

    def _state_sizes(self):
        return self.proj_size or self.hidden_size, self.hidden_size

    def _handed_on(self, last):
        return last
