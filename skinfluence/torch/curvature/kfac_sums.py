"""Sums over rows that the blocks of K-FAC and EK-FAC are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from skinfluence.torch.curvature.kfac_blocks import (
    DenseBlock,
    DiagonalBlock,
    EigenBlock,
    KroneckerBlock,
    Shapes,
)
from skinfluence.torch.curvature.kfac_rows import LayerRows, LinearRows, LookupRows

# A block of this many parameters is kept whole where its layer has no Kronecker factors.
DENSE = 2000


class Sums(ABC):
    """One block's sums over rows, float64: what a fit records and continues from.

    Parameters
    ----------
    names : tuple of str
    tensors : dict of str to Tensor

    Attributes
    ----------
    kind : str
        What the sums become.
    """

    kind: str

    def __init__(self, names: Sequence[str], tensors: dict[str, Tensor]):
        self.names, self.tensors = tuple(names), tensors

    @abstractmethod
    def add(self, rows: LayerRows, weights: Tensor) -> None:
        """Add some rows with their weights (b,)."""


class BlockSums(Sums):
    """Sums that become a block of the curvature."""

    @classmethod
    @abstractmethod
    def empty(cls, rows: LayerRows) -> BlockSums:
        """Zeros, for rows like these."""

    @abstractmethod
    def basis(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """What the block is made of, decomposed."""

    @abstractmethod
    def block(self, basis: dict[str, Tensor], shapes: Shapes) -> EigenBlock:
        """The block."""


class KroneckerSums(BlockSums):
    """``A = sum w a a' / sum w T`` over rows and positions, ``B = sum w sum_c delta_c delta_c'``.

    Every position of a sequence or an image counts as a row (the expand setting of [1]_), and
    ``B (x) A`` is then the curvature if inputs and derivatives are uncorrelated over rows and
    positions and derivatives at two positions are on average orthogonal.

    References
    ----------
    .. [1] R. Eschenhagen, A. Immer, R. Turner, F. Schneider & P. Hennig (2023), Kronecker-factored
       approximate curvature for modern neural network architectures, NeurIPS, section 3.2.
    """

    kind = "kronecker"

    @classmethod
    def empty(cls, rows: LayerRows) -> KroneckerSums:
        assert isinstance(rows, LinearRows)
        d_in, d_out = rows.a.shape[2] + (rows.bias is not None), rows.delta.shape[3]
        sizes = {"A": (d_in, d_in), "B": (d_out, d_out), "positions": ()}
        return cls(rows.names, {name: _zeros(rows.a, *size) for name, size in sizes.items()})

    def add(self, rows: LayerRows, weights: Tensor) -> None:
        assert isinstance(rows, LinearRows)
        T = rows.a.shape[1]
        self._add_inputs(rows, rows.a.flatten(0, 1), weights.repeat_interleave(T))
        self.tensors["positions"] += T * weights.double().sum()
        delta = rows.delta.flatten(0, 2)
        weighted = (rows.delta * weights[:, None, None]).flatten(0, 2)
        self.tensors["B"] += weighted.T @ delta

    def _add_inputs(self, rows: LinearRows, a: Tensor, weights: Tensor) -> None:
        """``sum w a a'`` of inputs (b, d_in), a bias's constant 1 joined to them."""
        A, d_in = self.tensors["A"], a.shape[1]
        weighted = a * weights[:, None]
        A[:d_in, :d_in] += weighted.T @ a
        if rows.bias is not None:
            ones = weighted.sum(0)
            A[-1, :-1] += ones
            A[:-1, -1] += ones
            A[-1, -1] += weights.double().sum()

    def basis(self, dtype: torch.dtype) -> dict[str, Tensor]:
        a, q_in = eigh(self.tensors["A"] / self.tensors["positions"], dtype, self.names[0])
        b, q_out = eigh(self.tensors["B"], dtype, self.names[0])
        return {"a": a, "b": b, "q_in": q_in, "q_out": q_out}

    def block(self, basis: dict[str, Tensor], shapes: Shapes) -> KroneckerBlock:
        """Eigenvalues of the product are the products of the factors' eigenvalues."""
        values = torch.outer(basis["b"], basis["a"])
        return KroneckerBlock(self.names, shapes, basis["q_in"], basis["q_out"], values)


class MarginalSums(KroneckerSums):
    """``A = sum w_i sum_c g_ic' g_ic`` and ``B = sum w_i sum_c g_ic g_ic'``, g (d_out, d_in).

    The partial traces of the layer's own Gauss-Newton block, a first step from the identity
    towards the nearest Kronecker product [1]_. A row counts by its curvature: where inputs and
    derivatives depend on each other (rows that are fitted well have none of the second), the
    eigenvectors are nearer to the block's than those of factors that count every row alike. For
    one use a row ``A = sum w_i (sum_c |delta_ic|^2) a_i a_i'``, which costs no more.

    References
    ----------
    .. [1] D. Morwani, I. Shapira, N. Vyas, E. Malach, S. Kakade & L. Janson (2025), A new
       perspective on Shampoo's preconditioner, ICLR, section 3.
    """

    kind = "marginal"

    def add(self, rows: LayerRows, weights: Tensor) -> None:
        assert isinstance(rows, LinearRows)
        self.tensors["positions"].fill_(1.0)  # sums, not means
        if rows.a.shape[1] == 1:
            a, delta = rows.a[:, 0], rows.delta[:, :, 0]
            one = float(rows.bias is not None)
            self._add_inputs(rows, a, weights * delta.square().sum((0, 2)))
            scaled = delta * (weights * (a.square().sum(1) + one))[:, None]
            self.tensors["B"] += scaled.flatten(0, 1).T @ delta.flatten(0, 1)
            return
        a = rows.a if rows.bias is None else _with_ones(rows.a)
        for delta in rows.delta:
            g = delta.transpose(1, 2) @ a  # (b, d_out, d_in)
            scaled = g * weights[:, None, None]
            self.tensors["A"] += scaled.flatten(0, 1).T @ g.flatten(0, 1)
            self.tensors["B"] += torch.einsum("boi,bpi->op", scaled, g)

    def block(self, basis: dict[str, Tensor], shapes: Shapes) -> KroneckerBlock:
        """Eigenvalues of the product, with the trace of the layer's block."""
        values = torch.outer(basis["b"], basis["a"])
        values /= basis["a"].sum().clamp(min=torch.finfo(values.dtype).tiny)
        return KroneckerBlock(self.names, shapes, basis["q_in"], basis["q_out"], values)


class DenseSums(BlockSums):
    """``sum w_i sum_c g_ic g_ic'`` of a small block."""

    kind = "dense"

    @classmethod
    def empty(cls, rows: LayerRows) -> DenseSums:
        assert not isinstance(rows, LinearRows)
        k = rows.n_params
        return cls(rows.names, {"G": _zeros(rows.gradients, k, k)})

    def add(self, rows: LayerRows, weights: Tensor) -> None:
        assert not isinstance(rows, LinearRows)
        g = rows.gradients
        self.tensors["G"] += (g * weights[:, None]).flatten(0, 1).T @ g.flatten(0, 1)

    def basis(self, dtype: torch.dtype) -> dict[str, Tensor]:
        values, q = eigh(self.tensors["G"], dtype, self.names[0])
        return {"values": values, "q": q}

    def block(self, basis: dict[str, Tensor], shapes: Shapes) -> DenseBlock:
        return DenseBlock(self.names, shapes, basis["q"], basis["values"])


class DiagonalSums(BlockSums):
    """``sum w_i sum_c g_ic^2`` of a block too large to keep whole."""

    kind = "diagonal"

    @classmethod
    def empty(cls, rows: LayerRows) -> DiagonalSums:
        assert not isinstance(rows, LinearRows)
        like = rows.delta if isinstance(rows, LookupRows) else rows.gradients
        return cls(rows.names, {"values": _zeros(like, rows.n_params)})

    def add(self, rows: LayerRows, weights: Tensor) -> None:
        assert not isinstance(rows, LinearRows)
        self.tensors["values"] += rows.squares(weights)

    def basis(self, dtype: torch.dtype) -> dict[str, Tensor]:
        return {"values": self.tensors["values"].to(dtype)}

    def block(self, basis: dict[str, Tensor], shapes: Shapes) -> DiagonalBlock:
        return DiagonalBlock(self.names, shapes, basis["values"])


class CorrectionSums(Sums):
    """``lambda = sum w_i sum_c ((Q' g_ic))^2``: the block's own diagonal in the factors' basis.

    It is the diagonal matrix nearest to ``Q' G Q`` [1]_. With positions the square is of their
    sum, so cross terms of positions and of repeated uses are in it.

    References
    ----------
    .. [1] T. George, C. Laurent, X. Bouthillier, N. Ballas & P. Vincent (2018), Fast approximate
       natural gradient descent in a Kronecker-factored eigenbasis, NeurIPS, section 3.
    """

    kind = "corrections"

    def __init__(self, basis: KroneckerBlock):
        self.basis = basis
        super().__init__(basis.names, {"values": _zeros(basis.values, *basis.values.shape)})

    def add(self, rows: LayerRows, weights: Tensor) -> None:
        assert isinstance(rows, LinearRows)
        a, values = self.basis.rotate_inputs(rows.a), self.tensors["values"]
        if a.shape[1] == 1:
            squares = (rows.delta[:, :, 0] @ self.basis.q_out).square().sum(0)
            values += (squares * weights[:, None]).T @ a[:, 0].square()
            return
        for delta in rows.delta @ self.basis.q_out:
            g = delta.transpose(1, 2) @ a  # (b, d_out, d_in)
            values += torch.einsum("boi,b->oi", g.square(), weights)

    def corrected(self) -> KroneckerBlock:
        """The block with its eigenvalues replaced."""
        return self.basis.with_values(self.tensors["values"].to(self.basis.values.dtype))


SUMS: dict[str, type[BlockSums]] = {
    KroneckerSums.kind: KroneckerSums,
    MarginalSums.kind: MarginalSums,
    DenseSums.kind: DenseSums,
    DiagonalSums.kind: DiagonalSums,
}


def kind_for(rows: LayerRows, linear: str) -> str:
    """Which sums a layer is given: those called `linear` where it has inputs and derivatives."""
    if isinstance(rows, LinearRows):
        return linear
    return "dense" if rows.n_params <= DENSE else "diagonal"


def eigh(matrix: Tensor, dtype: torch.dtype, name: str) -> tuple[Tensor, Tensor]:
    """Eigenvalues (not below 0) and vectors of a sum of squares, in the network's type.

    Raises
    ------
    ValueError
        If the sums hold NaN or infinity.
    """
    if not bool(torch.isfinite(matrix).all()):
        raise ValueError(
            f"The Kronecker factors of {name!r} are not finite, so some row's activations or "
            "derivatives are NaN or infinite there. Look for rows whose loss is not finite."
        )
    symmetric = 0.5 * (matrix + matrix.T)
    try:
        # No LAPACK knows half precision.
        values, vectors = torch.linalg.eigh(
            symmetric.to(torch.promote_types(dtype, torch.float32))
        )
    except torch.linalg.LinAlgError:  # float32 can fail to converge where float64 does not
        values, vectors = torch.linalg.eigh(symmetric)
    return values.clamp(min=0).to(dtype), vectors.to(dtype)


def _zeros(like: Tensor, *size: int) -> Tensor:
    return torch.zeros(size, dtype=torch.float64, device=like.device)


def _with_ones(a: Tensor) -> Tensor:
    return torch.cat([a, torch.ones_like(a[..., :1])], -1)
