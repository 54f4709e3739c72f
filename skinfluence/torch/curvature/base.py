"""The contract of a curvature."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from sklearn import get_config
from torch import Tensor

from skinfluence.torch.data import Batch
from skinfluence.torch.network import Network
from skinfluence.torch.objective import NetworkObjective

# Rows that routes are tried on.
PROBE = 2
# Rows of a block, and numbers of its temporaries, that a CPU is content with.
FEWEST, CACHED = 1024, 2**24
# Rademacher vectors of a stochastic trace.
N_VECTORS = 64


class Curvature(ABC):
    """A symmetric matrix over the explained parameters, as products with vectors.

    The penalty's diagonal c is in it; damping is not. The law: products equal those of
    ``matrix()``, which is symmetric, whatever the blocks that rows come in.

    Conventions. Vectors are rows, V is (M, p), and so are products. They are in the network's
    type.

    Parameters
    ----------
    objective : NetworkObjective
        What the network was trained to minimise, as the explainer hands it over.

    Attributes
    ----------
    psd : bool
        Whether the matrix is known to be positive semidefinite.

    See Also
    --------
    SumOfRows : Curvatures of which every row has a share.
    Kfac : One of which none has.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> from skinfluence import InfluenceExplainer
    >>> from skinfluence.torch import GaussNewton
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier((3,), alpha=0.1, solver="lbfgs", max_iter=2000, random_state=0)
    >>> net = net.fit(X, y)
    >>> kept = []
    >>> def keep(objective):
    ...     kept.append(GaussNewton(objective))
    ...     return kept[0]
    >>> explainer = InfluenceExplainer(net, curvature=keep).fit(X, y)
    >>> A = kept[0].matrix()
    >>> bool(np.isclose(kept[0].trace(), A.trace(), rtol=1e-9))
    True
    """

    psd: bool = False

    def __init__(self, objective: NetworkObjective):
        self.objective, self.network = objective, objective.network

    @property
    def n_params(self) -> int:
        return self.network.n_params

    @abstractmethod
    def __call__(self, V: Tensor) -> Tensor:
        """``A V``, (M, p).

        Raises
        ------
        ValueError
            If a product is not finite.
        """

    def matrix(self, size: int = 256) -> Tensor:
        """Form the matrix itself, by products with unit vectors or in a faster way.

        Parameters
        ----------
        size : int, default=256
            Unit vectors, or rows, at a time.

        Returns
        -------
        matrix : Tensor of shape (p, p)
            Symmetric, with the penalty.
        """
        found = self.network.theta.new_empty(self.n_params, self.n_params)
        for start in range(0, self.n_params, size):
            unit = self.network.theta.new_zeros(min(size, self.n_params - start), self.n_params)
            unit[:, start : start + size].fill_diagonal_(1.0)
            found[start : start + size] = self(unit)
        return 0.5 * (found + found.T)

    def null_directions(self) -> Tensor | None:
        """Find directions that can have no curvature, whatever the rows.

        Returns
        -------
        directions : Tensor of shape (q, p) or None
            Orthonormal; None where none are known.
        """
        return None

    def diagonal(self) -> Tensor | None:
        """Compute the diagonal.

        Returns
        -------
        diagonal : Tensor of shape (p,) or None
            None where it costs as much as the matrix.
        """
        return None

    def trace(self) -> float:
        """Compute the sum of the eigenvalues.

        Exact where the diagonal is known or p is at most 64; otherwise Hutchinson's estimate
        from 64 vectors of signs that are the same at every call [1]_. Its standard deviation is
        below ``0.18 |A - diag A|_F``.

        Returns
        -------
        trace : float
            With the penalty.

        References
        ----------
        .. [1] M. F. Hutchinson (1989), A stochastic estimator of the trace of the influence
           matrix for Laplacian smoothing splines, Communications in Statistics 18.
        """
        known = self.diagonal()
        if known is not None:
            return float(known.double().sum())
        if self.n_params <= N_VECTORS:
            return float(self.matrix().diagonal().double().sum())
        draws = torch.Generator().manual_seed(0)
        signs = torch.randint(0, 2, (N_VECTORS, self.n_params), generator=draws)
        V = (2 * signs - 1).to(self.network.theta)
        return float((V.double() * self(V).double()).sum() / N_VECTORS)


def rows_within_memory(bytes_per_row: float) -> int:
    """Rows whose temporaries fit scikit-learn's ``working_memory``."""
    return max(1, int(get_config()["working_memory"] * 2**20 / max(1.0, bytes_per_row)))


def rows_at_once(network: Network, numbers: int) -> int:
    """Rows of a block whose temporaries are so many numbers each.

    On a CPU some thousand rows are enough to fill matrix products, and more leave its caches.
    """
    rows = rows_within_memory(numbers * network.theta.element_size())
    if network.device.type != "cpu":
        return rows
    return min(rows, max(FEWEST, CACHED // max(1, numbers)))


def shaped(network: Network, V: Tensor) -> dict[str, Tensor]:
    """Vectors (M, p) in the shapes of the parameters themselves, (M, \\*shape) each."""
    return {
        name: V[:, network.spans[name]].reshape(len(V), *shape)
        for name, shape in network.shapes.items()
    }


def joined(network: Network, parts: Mapping[str, Tensor]) -> Tensor:
    """What `shaped` took apart, (M, p)."""
    return torch.cat([parts[name].reshape(len(parts[name]), -1) for name in network.names], 1)


def probe(objective: NetworkObjective) -> Batch:
    """A few training rows, to try routes on."""
    return objective.rows.take(slice(0, min(PROBE, objective.n_train)))


def activations_per_row(network: Network, batch: Batch) -> int:
    """Numbers that one row leaves behind in a forward pass: those kept for the way back."""
    n = batch.size
    both = _kept(network, batch)
    # What does not grow with the rows (parameters) cancels.
    return max(1, (both - _kept(network, batch[: n - 1])) if n > 1 else both)


def _kept(network: Network, batch: Batch) -> int:
    sizes: dict[int, int] = {}

    def pack(values: Tensor) -> Tensor:
        sizes[values.data_ptr()] = max(sizes.get(values.data_ptr(), 0), values.numel())
        return values

    leaves = {name: p.detach().requires_grad_() for name, p in network.params().items()}
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept):
        outputs = network.outputs(batch, leaves)
    return sum(sizes.values()) + outputs.numel()
