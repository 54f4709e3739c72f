"""Gradients of the rows of a network, block by block."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from sklearn import get_config
from torch import Tensor, nn

from skinfluence.torch.data import Batch, Rows
from skinfluence.torch.gradients.block import GradientBlock
from skinfluence.torch.gradients.capture import RowValue, capture
from skinfluence.torch.gradients.factors import Dense, Factor
from skinfluence.torch.gradients.fallback import row_by_row
from skinfluence.torch.gradients.layers import LAYERS, Names, Use
from skinfluence.torch.network import Network

# Rows that the layer-wise route is tried on before it is trusted.
PROBE = 4
# Relative difference from autograd's own gradient above which a layer goes row by row.
AGREES = {torch.float64: 1e-9, torch.float32: 1e-3}


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
        Layers whose gradients come as factors.
    formed : tuple of str
        Parameters whose gradients are formed row by row.
    """

    def __init__(self, network: Network, value: RowValue, probe: Batch):
        self.network, self.value = network, value
        self.layers: dict[str, nn.Module] = {}
        self._owners: dict[str, Names] = {}
        self.loop = False
        self._known_layers()
        probe = probe[:PROBE]
        self._check(probe)
        self.formed = self._not_covered()
        self._row_bytes = self._measure(probe)

    # -- which route for which parameter ----------------------------------------------------------

    def _known_layers(self) -> None:
        """Layers by what they own: who shares a parameter shares all, or goes row by row."""
        module = self.network.module
        by_id = {id(p): name for name, p in module.named_parameters()}
        for path, part in module.named_modules():
            own = {key: by_id[id(p)] for key, p in part.named_parameters(recurse=False)}
            names = {key: name for key, name in own.items() if name in self.network.spans}
            if type(part) in LAYERS and names:
                self.layers[path] = part
                self._owners[path] = names
        for path, names in list(self._owners.items()):
            if any(self._clash(names, other) for other in self._owners.values()):
                self._drop(path)

    def _clash(self, mine: Names, theirs: Names) -> bool:
        return mine != theirs and bool(set(mine.values()) & set(theirs.values()))

    def _drop(self, path: str) -> None:
        self.layers.pop(path, None)

    def _not_covered(self) -> tuple[str, ...]:
        covered = {name for path in self.layers for name in self._owners[path].values()}
        return tuple(name for name in self.network.names if name not in covered)

    def _check(self, probe: Batch) -> None:
        """Compare with autograd on a few rows, and give up the layers that differ."""
        weights = torch.linspace(1.0, 2.0, probe.size).to(self.network.theta)
        truth = self._by_autograd(probe, weights)
        block = GradientBlock(self.network, self._factors(probe)[1], weights)
        found = self.network.split(block.adjoint(weights[None]))
        scale = AGREES[self.network.dtype] * max(float(t.norm()) for t in truth.values())
        for path, names in list(self._owners.items()):
            if path in self.layers and any(
                float((found[name][0] - truth[name]).norm()) > scale for name in names.values()
            ):
                self._drop(path)

    def _by_autograd(self, probe, weights):
        leaves = {name: p.clone().requires_grad_() for name, p in self.network.params().items()}
        with torch.enable_grad():
            total = self.value(self.network.outputs(probe, leaves), probe.y) @ weights
        found = torch.autograd.grad(total, list(leaves.values()), materialize_grads=True)
        return dict(zip(leaves, found, strict=True))

    # -- blocks -----------------------------------------------------------------------------------

    def block(self, batch: Batch) -> GradientBlock:
        """Gradients of some rows."""
        values, factors = self._factors(batch)
        if self.formed:
            formed = row_by_row(self.network, self.formed, batch, self.value, loop=self.loop)
            factors.append(Dense(formed))
        return GradientBlock(self.network, factors, values)

    def _factors(self, batch: Batch) -> tuple[Tensor, list[Factor]]:
        values, uses = capture(self.network, self.layers, batch, self.value)
        together: dict[tuple[str, ...], list[Use]] = {}
        handlers = {}
        for path, module in self.layers.items():
            names = self._owners[path]
            key = tuple(names.values())
            together.setdefault(key, []).extend(uses[path])
            handlers[key] = (LAYERS[type(module)], module, names)
        return values, [
            handle(module, together[key], names)
            for key, (handle, module, names) in handlers.items()
            if together[key]
        ]

    def block_size(self) -> int:
        """Rows of a block that keeps its temporaries within scikit-learn's ``working_memory``."""
        return max(1, int(get_config()["working_memory"] * 2**20 / max(1, self._row_bytes)))

    def _measure(self, probe: Batch) -> int:
        """Bytes that a row's factors and formed gradients take."""
        _, factors = self._factors(probe)
        held = sum(f.n_elements() for f in factors) // probe.size
        held += sum(self.network.shapes[name].numel() for name in self.formed)
        return 3 * held * self.network.theta.element_size()

    def blocks(self, rows: Rows, size: int | None = None) -> Iterator[tuple[slice, GradientBlock]]:
        """Blocks of all rows in order, with where they lie."""
        n = rows.shape[0]
        size = self.block_size() if size is None else size
        for start in range(0, n, size):
            part = slice(start, min(start + size, n))
            yield part, self.block(rows.take(part))
