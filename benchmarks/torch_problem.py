"""A linear classifier of scikit-learn as a torch module with its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass
class TorchProblem:
    """Rows, queries, and a linear layer with the fitted coefficients.

    Two classes are one output and 0/1 targets (n, 1); several are one output each.
    """

    net: Any
    X: Any
    y: Any
    Xq: Any
    yq: Any
    binary: bool

    @classmethod
    def of(cls, rows: tuple, model: Any, dtype: str) -> TorchProblem:
        """Tensors of (X, y, Xq, yq) and the layer of a model without an intercept."""
        import torch

        X, y, Xq, yq = rows
        kind = getattr(torch, dtype)
        binary = len(model.coef_) == 1
        net = torch.nn.Linear(X.shape[1], len(model.coef_), bias=False).to(kind)
        with torch.no_grad():
            net.weight.copy_(torch.as_tensor(model.coef_))

        def targets(values):
            values = torch.as_tensor(np.searchsorted(model.classes_, values))
            return values.to(kind)[:, None] if binary else values

        return cls(
            net,
            torch.as_tensor(X, dtype=kind),
            targets(y),
            torch.as_tensor(Xq, dtype=kind),
            targets(yq),
            binary,
        )

    @property
    def n(self) -> int:
        """Number of training rows."""
        return len(self.X)

    @property
    def n_parameters(self) -> int:
        """Number of coefficients."""
        return self.net.weight.numel()

    def dataset(self) -> Any:
        """Training rows."""
        import torch

        return torch.utils.data.TensorDataset(self.X, self.y)

    def loader(self, batch_size: int) -> Any:
        """Training rows in batches, in order."""
        import torch

        return torch.utils.data.DataLoader(self.dataset(), batch_size=batch_size)

    def query_loader(self) -> Any:
        """Queries in one batch."""
        import torch

        queries = torch.utils.data.TensorDataset(self.Xq, self.yq)
        return torch.utils.data.DataLoader(queries, batch_size=len(self.Xq))

    def _loss(self, reduction):
        import torch

        kind = torch.nn.BCEWithLogitsLoss if self.binary else torch.nn.CrossEntropyLoss
        return kind(reduction=reduction)

    @property
    def mean_loss(self) -> Any:
        """Mean of the losses."""
        return self._loss("mean")

    @property
    def sum_loss(self) -> Any:
        """Sum of the losses."""
        return self._loss("sum")

    @property
    def each_loss(self) -> Any:
        """Every loss."""
        return self._loss("none")
