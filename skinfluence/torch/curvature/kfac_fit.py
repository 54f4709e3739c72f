"""The passes over the training rows that K-FAC and EK-FAC take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from skinfluence._loops import progress_bar, slices
from skinfluence.torch.curvature.base import activations_per_row, rows_within_memory
from skinfluence.torch.curvature.kfac_blocks import DiagonalBlock, EigenBlock, KroneckerBlock
from skinfluence.torch.curvature.kfac_roots import ROOTS
from skinfluence.torch.curvature.kfac_rows import FormedRows, LayerRows, LinearRows, layer_rows
from skinfluence.torch.curvature.kfac_sums import (
    DENSE,
    SUMS,
    BlockSums,
    CorrectionSums,
    Sums,
    kind_for,
)
from skinfluence.torch.gradients import RowGradients
from skinfluence.torch.objective import NetworkObjective
from skinfluence.torch.resume import NoRecord

# Rows of a block above which nothing gets faster, nor beyond bytes that leave a CPU's caches;
# but fewer than FEWEST are not taken for it.
BLOCK, CACHED, FEWEST = 512, 128 * 2**20, 16
# Rows that routes are tried on.
PROBE = 4

Names = tuple[str, ...]


class FactorFit:
    """Sums over rows, layer by layer, and the blocks made of them.

    Parameters
    ----------
    objective : NetworkObjective
    fisher : str
        A name of ``ROOTS``.
    record : NoRecord
        Where finished parts are kept.
    progress : bool
    """

    def __init__(
        self, objective: NetworkObjective, fisher: str, *, record: NoRecord, progress: bool
    ):
        self.objective, self.network = objective, objective.network
        self.roots, self.record, self.progress = ROOTS[fisher], record, progress
        probe = objective.rows.take(slice(0, min(objective.n_train, PROBE)))
        self.gradients = RowGradients(self.network, objective.loss, probe)

    def blocks(self, factors: str = "kronecker") -> list[EigenBlock]:
        """Blocks of the curvature; `factors` is the kind of sums where a layer has any."""
        sums: dict[Names, BlockSums] = {}
        done = self._restore(sums)
        for layers, weights, stop in self._passed("factors", done):
            for rows in layers:
                if rows.names not in sums:
                    sums[rows.names] = SUMS[kind_for(rows, factors)].empty(rows)
                sums[rows.names].add(rows, weights)
            self._keep("factors", sums, stop)
        blocks = [self._block(i, each) for i, each in enumerate(sums.values())]
        return blocks + self._unused({name for block in blocks for name in block.names})

    def corrected(self, blocks: list[EigenBlock]) -> list[EigenBlock]:
        """The same blocks, those of Kronecker factors with their own diagonal in that basis."""
        sums = {b.names: CorrectionSums(b) for b in blocks if isinstance(b, KroneckerBlock)}
        done = self._continue("corrections", sums)
        for layers, weights, stop in self._passed("corrections", done):
            for rows in layers:
                if rows.names in sums:
                    sums[rows.names].add(rows, weights)
            self._keep("corrections", sums, stop)
        return [sums[b.names].corrected() if b.names in sums else b for b in blocks]

    # -- rows -------------------------------------------------------------------------------------

    def _passed(self, stage: str, done: int) -> Iterator[tuple[Iterator[LayerRows], Tensor, int]]:
        """Blocks of the rows from `done` on: the layers' shares, the weights, where they end."""
        parts = slices(self.objective.n_train - done, self._block_size())
        for part in progress_bar(
            parts, total=len(parts), enabled=self.progress, desc=f"Kronecker {stage}"
        ):
            rows = slice(part.start + done, part.stop + done)
            yield self._layers(rows), self.objective.block_weights(rows), rows.stop

    def _layers(self, rows: slice) -> Iterator[LayerRows]:
        batch = self.objective.rows.take(rows)
        return layer_rows(self.gradients, batch, self.objective.loss, self.roots)

    def _block_size(self) -> int:
        """Rows whose temporaries fit: activations and K derivatives, a gradient where T > 1."""
        held, K = 0, 1
        for rows in self._layers(slice(0, 1)):
            if isinstance(rows, LinearRows):
                K = max(K, len(rows.delta))
                T, d_in = rows.a.shape[1:]
                gradient = d_in * rows.delta.shape[3] if T > 1 else 0
                held += 3 * (rows.a.numel() + rows.delta.numel() + gradient)
            elif isinstance(rows, FormedRows):
                held += 3 * rows.gradients.numel()
            else:
                held += 3 * min(rows.n_params * len(rows.delta), DENSE * len(rows.delta))
        probe = self.objective.rows.take(slice(0, min(2, self.objective.n_train)))
        held += (1 + K) * activations_per_row(self.network, probe)
        row_bytes = held * self.network.theta.element_size()
        cached = max(FEWEST, CACHED // row_bytes)
        return min(BLOCK, cached, rows_within_memory(row_bytes))

    # -- blocks -----------------------------------------------------------------------------------

    def _block(self, i: int, sums: BlockSums) -> EigenBlock:
        basis = self.record.once(f"basis-{i}", lambda: sums.basis(self.network.dtype))
        return sums.block(self._here(basis), self.network.shapes)

    def _unused(self, covered: set[str]) -> list[EigenBlock]:
        """Zeros for parameters that no row's output depends on."""
        shapes, theta = self.network.shapes, self.network.theta
        return [
            DiagonalBlock((name,), shapes, theta.new_zeros(shapes[name].numel()))
            for name in self.network.names
            if name not in covered
        ]

    # -- record -----------------------------------------------------------------------------------

    def _keep(self, stage: str, sums: Mapping[Names, Sums], done: int) -> None:
        layers = [[type(each).kind, *each.names] for each in sums.values()]
        self.record.keep(
            stage,
            lambda: {
                f"{i}.{key}": tensor
                for i, each in enumerate(sums.values())
                for key, tensor in each.tensors.items()
            },
            {"done": done, "layers": layers},
            last=done == self.objective.n_train,
        )

    def _restore(self, sums: dict[Names, BlockSums]) -> int:
        """Fill the sums of a fit that was stopped; rows that are in them already."""
        found = self.record.load("factors")
        if found is None:
            return 0
        for i, (kind, *names) in enumerate(found[1]["layers"]):
            sums[tuple(names)] = SUMS[kind](names, self._numbered(found[0], i))
        return int(found[1]["done"])

    def _continue(self, stage: str, sums: dict[Names, CorrectionSums]) -> int:
        found = self.record.load(stage)
        if found is None:
            return 0
        for i, each in enumerate(sums.values()):
            each.tensors = self._numbered(found[0], i)
        return int(found[1]["done"])

    def _numbered(self, tensors: Mapping[str, Tensor], i: int) -> dict[str, Tensor]:
        head = f"{i}."
        return self._here(
            {k.removeprefix(head): t for k, t in tensors.items() if k.startswith(head)}
        )

    def _here(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {key: tensor.to(self.network.device) for key, tensor in tensors.items()}
