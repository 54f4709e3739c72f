"""Gradients of the rows of a network, block by block."""

from __future__ import annotations

from collections.abc import Iterator

from sklearn import get_config
from torch import Tensor

from skinfluence.torch.data import Batch, Rows
from skinfluence.torch.gradients.block import GradientBlock
from skinfluence.torch.gradients.capture import RowValue
from skinfluence.torch.gradients.factors import Dense, Factor
from skinfluence.torch.gradients.fallback import row_by_row
from skinfluence.torch.gradients.footprint import elements_per_row, keep_freed_memory
from skinfluence.torch.gradients.routes import find_routes
from skinfluence.torch.network import Network

# Beyond these bytes of temporaries blocks fall out of a CPU's caches; but fewer rows than FEWEST
# are not taken for it, since the cost of a call is shared by the rows of a block.
CACHED, FEWEST = 32 * 2**20, 128
# Where there is no such cache to keep, a block is still bounded.
MOST = 4096


class RowGradients:
    """Gradients of each row's value in the explained parameters of a network.

    Known layers give theirs as factors (input and back-propagated derivative); every route is
    held against autograd's own gradient of a weighted sum on a few rows, and the parameters for
    which it differs (used elsewhere too, or by a forward that the layer's own does not describe)
    go row by row, as do those of unknown layers.

    Parameters
    ----------
    network : Network
    value : callable
        ``value(outputs, y) -> (b,)``: a loss, or another target.
    probe : Batch
        A few rows to try the routes on.

    Attributes
    ----------
    layers : dict of str to nn.Module
        Layers whose gradients come as factors, by their path in ``network.module``. Modules that
        share all their parameters are each in it; their uses belong together.
    owners : dict of str to dict
        For each of the layers, names of its explained parameters by the attribute they sit in,
        such as ``{"weight": "0.weight", "bias": "0.bias"}``.
    formed : tuple of str
        Parameters whose gradients are formed row by row.
    loop : bool
        Whether those are formed in a loop over the rows, because ``vmap`` cannot.
    overwritten : bool
        Whether the forward overwrites outputs of its layers, so that they are copied.

    Raises
    ------
    ValueError
        If rows see each other, so that none has a gradient of its own.
    """

    def __init__(self, network: Network, value: RowValue, probe: Batch):
        self.network, self.value = network, value
        self._routes = find_routes(network, value, probe)
        self.layers, self.owners = self._routes.layers, self._routes.owners
        self._owners = self.owners
        self.formed, self.loop = self._routes.formed, self._routes.loop
        self.overwritten = self._routes.overwritten
        self._row_bytes = self._measure(probe[:4])
        keep_freed_memory()

    def block(self, batch: Batch) -> GradientBlock:
        """Gradients of some rows."""
        values, factors = self._factors(batch)
        if self.formed:
            formed = row_by_row(self.network, self.formed, batch, self.value, loop=self.loop)
            factors.append(Dense(formed))
        return GradientBlock(self.network, factors, values)

    def _factors(self, batch: Batch) -> tuple[Tensor, list[Factor]]:
        return self._routes.factors(batch)

    def block_size(self, like: Batch | None = None) -> int:
        """Rows of a block: within caches if it can be, within ``working_memory`` in any case.

        Rows like those of another batch may be of another size, such as those of single draws.
        """
        memory = get_config()["working_memory"] * 2**20
        row_bytes = self._row_bytes if like is None else self._measure(like)
        rows = min(MOST, max(FEWEST, CACHED // row_bytes))
        if self.network.device.type != "cpu":
            rows = MOST
        return max(1, min(rows, int(memory / row_bytes)))

    def _measure(self, probe: Batch) -> int:
        """Bytes of a row's activations, factors and formed gradients."""
        held = sum(factor.n_elements() for factor in self._factors(probe)[1]) // probe.size
        held += sum(self.network.shapes[name].numel() for name in self.formed)
        numbers = 2 * elements_per_row(self.network, probe) + 3 * held
        return max(1, numbers * self.network.theta.element_size())

    def blocks(self, rows: Rows, size: int | None = None) -> Iterator[tuple[slice, GradientBlock]]:
        """Blocks of all rows in order, with where they lie."""
        n = rows.shape[0]
        size = self.block_size() if size is None else size
        for start in range(0, n, size):
            part = slice(start, min(start + size, n))
            yield part, self.block(rows.take(part))
