"""Words, recurrent layers and attention."""

from __future__ import annotations

from tests.conftest import import_optional

torch = import_optional("torch")

from torch import nn  # noqa: E402

from tests.test_torch.network_table import Apply, Chain, network, rows, words  # noqa: E402

# -- words ----------------------------------------------------------------------------------------


@network
def text():
    class Text(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.out = nn.Embedding(6, 4, padding_idx=0), nn.Linear(4, 3)

        def forward(self, x):
            seen = (x != 0)[..., None]
            return self.out((self.embed(x) * seen).sum(1) / seen.sum(1).clamp(min=1))

    return Text(), words(6, 8)


@network
def one_word():
    return nn.Sequential(nn.Embedding(4, 5), nn.Tanh(), nn.Linear(5, 3)), words(4)


@network
def embedding_scaled_by_frequency():
    layers = (nn.Embedding(4, 5, scale_grad_by_freq=True), Apply(lambda x: x.sum(1)))
    return nn.Sequential(*layers, nn.Linear(5, 3)), words(4, 6)


@network
def embedding_bag():
    return nn.Sequential(nn.EmbeddingBag(6, 4), nn.Linear(4, 3)), words(6, 5)


# -- sequences ------------------------------------------------------------------------------------


def _recurrent(kind, **kwargs):
    layer = kind(3, 4, batch_first=True, **kwargs)
    width = (kwargs.get("proj_size") or 4) * (1 + bool(kwargs.get("bidirectional")))
    return Chain(layer, Apply(lambda x: x[:, -1] + x.mean(1)), nn.Linear(width, 3)), rows(5, 3)


@network
def rnn():
    return _recurrent(nn.RNN, nonlinearity="relu")


@network
def gru():
    return _recurrent(nn.GRU)


@network
def gru_deep():
    return _recurrent(nn.GRU, num_layers=2, bidirectional=True)


@network
def lstm():
    return _recurrent(nn.LSTM)


@network
def lstm_deep():
    return _recurrent(nn.LSTM, num_layers=2, bidirectional=True, dropout=0.3)


@network
def lstm_without_bias():
    return _recurrent(nn.LSTM, bias=False)


@network
def lstm_projected():
    return _recurrent(nn.LSTM, proj_size=2)


@network
def lstm_time_first():
    """A sequence's positions come before the rows within the network."""
    layers = (Apply(lambda x: x.transpose(0, 1)), nn.Linear(3, 3), nn.LSTM(3, 4))
    return Chain(*layers, Apply(lambda x: x[-1]), nn.Linear(4, 3)), rows(5, 3)


@network
def gru_last_state():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru, self.out = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 3)

        def forward(self, x):
            return self.out(self.gru(x)[1][0])

    return Last(), rows(5, 3)


@network
def lstm_cell():
    class Cell(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.out = nn.LSTMCell(3, 4), nn.Linear(4, 3)

        def forward(self, x):
            state = None
            for t in range(x.shape[1]):
                state = self.cell(x[:, t], state)
            return self.out(state[0])

    return Cell(), rows(5, 3)


@network
def attention():
    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.attend = nn.MultiheadAttention(4, 2, batch_first=True)
            self.out = nn.Linear(4, 3)

        def forward(self, x):
            return self.out(self.attend(x, x, x)[0].mean(1))

    return Attends(), rows(5, 4)


@network
def cross_attention():
    """Keys and values of their own widths, and a mask."""

    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.attend = nn.MultiheadAttention(
                4, 2, kdim=3, vdim=2, batch_first=True, add_bias_kv=True
            )
            self.out = nn.Linear(4, 3)

        def forward(self, x):
            mask = torch.ones(5, 5, dtype=torch.bool).triu(1)
            q, k, v = x, x[..., :3].tanh(), x[..., 2:].cos()
            return self.out(self.attend(q, k, v, attn_mask=mask)[0].mean(1))

    return Attends(), rows(5, 4)


@network
def transformer():
    layer = nn.TransformerEncoderLayer(4, 2, dim_feedforward=6, batch_first=True)
    return Chain(layer, Apply(lambda x: x.mean(1)), nn.Linear(4, 3)), rows(5, 4)


@network
def language_model():
    """An encoder over words with a mask, norms first."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(6, 4)
            self.place = nn.Parameter(torch.zeros(5, 4))
            layer = nn.TransformerEncoderLayer(4, 2, 6, norm_first=True, batch_first=True)
            self.encode = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.out = nn.Linear(4, 3)

        def forward(self, x):
            mask = nn.Transformer.generate_square_subsequent_mask(5, dtype=self.place.dtype)
            hidden = self.encode(self.embed(x) + self.place, mask=mask, is_causal=True)
            return self.out(hidden[:, -1])

    return Model(), words(6, 5)
