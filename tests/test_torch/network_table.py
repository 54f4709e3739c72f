"""The table of small networks, and how one is entered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.conftest import import_optional

torch = import_optional("torch")

from torch import nn  # noqa: E402

from skinfluence.torch.data import Rows  # noqa: E402

N_ROWS, N_CLASSES = 7, 3
Built = tuple[nn.Module, Rows, str]
Builder = Callable[..., Built]

# name -> builder(dtype) -> (module in evaluation mode, rows, name of the loss)
NETWORKS: dict[str, Builder] = {}


def network(builder: Callable[[], tuple[nn.Module, Any]]) -> Callable[[], tuple[nn.Module, Any]]:
    """Enter a function that returns a module and its input; three outputs are classes."""

    def build(dtype: Any = torch.float64) -> Built:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(sum(map(ord, builder.__name__)))
            module, X = builder()
            module = module.to(dtype).eval()
            with torch.no_grad():
                for p in module.parameters():  # no zero biases, no unit scales
                    p.add_(0.1 * torch.randn(p.shape, dtype=torch.float64).to(dtype))
            X = X.to(dtype) if X.is_floating_point() else X
            with torch.no_grad():
                outputs = module(X)
            if outputs.ndim == 2 and outputs.shape[1] == N_CLASSES:
                return module, Rows(X, torch.randint(0, N_CLASSES, (N_ROWS,))), "cross_entropy"
            y = torch.randn(outputs.shape, dtype=torch.float64).to(dtype)
            return module, Rows(X, y), "squared_error"

    NETWORKS[builder.__name__] = build
    return builder


class Chain(nn.Sequential):
    """A sequence, of which recurrent parts hand on their outputs and not their states."""

    def forward(self, x):
        for part in self:
            x = part(x)
            x = x[0] if isinstance(x, tuple) else x
        return x


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def rows(*shape):
    """Numbers of the rows, (n, *shape)."""
    return torch.randn(N_ROWS, *shape, dtype=torch.float64)


def words(high, *shape):
    """Whole numbers below `high` of the rows, (n, *shape)."""
    return torch.randint(0, high, (N_ROWS, *shape))
