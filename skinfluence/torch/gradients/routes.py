"""Which way the gradient of each parameter is found: tried on a few rows, then kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from skinfluence.torch.data import Batch
from skinfluence.torch.gradients.capture import RowValue, capture
from skinfluence.torch.gradients.factors import Factor
from skinfluence.torch.gradients.fallback import row_by_row
from skinfluence.torch.gradients.layers import LAYERS, Names, Use
from skinfluence.torch.network import Network

# Rows that the routes are tried on. One would not do: positions and rows could be confused.
FEWEST, MOST = 2, 4
# Difference from autograd above which a route is given up: relative to the parameter's own
# gradient, and to the largest of all, whose rounding reaches the others.
AGREES = {torch.float64: (1e-9, 1e-13), torch.float32: (1e-3, 1e-6)}
COARSE = (1e-2, 1e-4)  # half precision


@dataclass
class Routes:
    """How the gradients of a network are found; see the attributes of ``RowGradients``."""

    network: Network
    value: RowValue
    layers: dict[str, nn.Module] = field(default_factory=dict)
    owners: dict[str, Names] = field(default_factory=dict)
    formed: tuple[str, ...] = ()
    loop: bool = False
    overwritten: bool = False
    channels_last: bool = False

    def capture(self, batch: Batch) -> tuple[Tensor, dict[str, list[Use]]]:
        """A pass forward and back, as this network needs it."""
        return capture(
            self.network,
            self.layers,
            batch,
            self.value,
            overwritten=self.overwritten,
            channels_last=self.channels_last,
        )

    def factors(self, batch: Batch) -> tuple[Tensor, list[Factor]]:
        """Values (b,) and the gradients of the known layers; parameters tied as a whole once."""
        values, uses = self.capture(batch)
        together: dict[tuple[str, ...], tuple[str, list[Use]]] = {}
        for path in self.layers:
            key = tuple(self.owners[path].values())
            together.setdefault(key, (path, []))[1].extend(uses[path])
        return values, [
            LAYERS[type(self.layers[path])](self.layers[path], seen, self.owners[path])
            for path, seen in together.values()
            if seen
        ]

    def drop(self, paths: Iterable[str]) -> None:
        """Give layers up: their parameters go row by row."""
        for path in list(paths):
            del self.layers[path], self.owners[path]

    def give_up_the_rest(self) -> None:
        """Parameters that no layer covers are formed."""
        covered = {name for names in self.owners.values() for name in names.values()}
        self.formed = tuple(name for name in self.network.names if name not in covered)


def find_routes(network: Network, value: RowValue, probe: Batch) -> Routes:
    """Try every route on a few rows, against autograd's gradient of a weighted sum of values."""
    probe = _enough(probe)
    _rows_are_apart(network, value, probe)
    routes = Routes(network, value)
    _known_layers(routes)
    _overwriting(routes, probe)
    _layout(routes, probe)
    weights = torch.linspace(1.0, 2.0, probe.size).to(network.theta)
    truth = _by_autograd(routes, probe, weights)
    _try_layers(routes, probe, weights, truth)
    routes.give_up_the_rest()
    if routes.formed:
        _try_fallback(routes, probe, weights, truth)
    return routes


def _enough(probe: Batch) -> Batch:
    probe = probe[:MOST]
    rows = torch.arange(max(FEWEST, probe.size)) % probe.size
    return probe.map(lambda values: values[rows.to(values.device)])


def _rows_are_apart(network: Network, value: RowValue, probe: Batch) -> None:
    """Refuse a network whose rows see each other: no row would have a gradient of its own."""
    with torch.no_grad():
        beside = value(network.outputs(probe), probe.y)
        # Not one row by itself: some forwards squeeze that axis away, or refuse it.
        rows = (probe[[i, i]] for i in range(probe.size))
        alone = torch.stack([value(network.outputs(row), row.y)[0] for row in rows])
    relative, _ = AGREES.get(network.dtype, COARSE)
    apart = (beside - alone).abs() <= relative * (1.0 + beside.abs().max())
    if not bool(apart.all()) and bool(torch.isfinite(beside).all()):
        i = int(apart.logical_not().nonzero()[0])
        raise ValueError(
            f"Row {i} has the value {float(alone[i]):.6g} beside a copy of itself and "
            f"{float(beside[i]):.6g} beside {probe.size - 1} others: rows see each other, so "
            "none has an influence of its own. Replace what mixes them (statistics of "
            "the batch, batch normalisation without running statistics, sums over the first "
            "axis), or put rows first in every tensor."
        )


# -- known layers ---------------------------------------------------------------------------------


def _known_layers(routes: Routes) -> None:
    """Layers by what they own: who shares a parameter shares all, or goes row by row."""
    module, spans = routes.network.module, routes.network.spans
    by_id = {id(p): name for name, p in module.named_parameters()}
    kinds: dict[str, set[tuple[type, tuple[str, ...]]]] = {}
    for path, part in module.named_modules():
        own = {key: by_id[id(p)] for key, p in part.named_parameters(recurse=False)}
        names = {key: name for key, name in own.items() if name in spans}
        for name in names.values():
            if type(part) in LAYERS:
                kinds.setdefault(name, set()).add((type(part), tuple(names.values())))
        if type(part) in LAYERS and names and set(own) <= {"weight", "bias"}:
            routes.layers[path], routes.owners[path] = part, names
    shared = {name for name, seen in kinds.items() if len(seen) > 1}
    routes.drop(p for p, names in routes.owners.items() if shared & set(names.values()))


def _overwriting(routes: Routes, probe: Batch) -> None:
    """Whether the forward overwrites a layer's output, so that its derivative has to be tapped."""

    routes.overwritten = True
    truth = _deltas(routes, probe)
    routes.overwritten = False
    try:
        same = all(map(torch.equal, truth, _deltas(routes, probe)))
    except RuntimeError:  # a leaf of the graph was overwritten
        same = False
    routes.overwritten = not same


def _layout(routes: Routes, probe: Batch) -> None:
    """Whether images may be stored pixel by pixel, which a forward with ``view`` does not take.

    On a CPU and in float32 a small network with pooling runs 2.4 times as fast.
    """
    network = routes.network
    images = any(isinstance(part, nn.Conv2d) for part in network.module.modules())
    if not images or network.device.type != "cpu" or network.dtype != torch.float32:
        return
    truth, (own, of_all) = _deltas(routes, probe), AGREES[network.dtype]
    routes.channels_last = True
    try:
        found = _deltas(routes, probe)
        largest = max((float(t.abs().max()) for t in truth), default=0.0)
        for mine, theirs in zip(found, truth, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=own, atol=of_all * largest)
    except (RuntimeError, AssertionError):
        routes.channels_last = False


def _deltas(routes: Routes, probe: Batch) -> list[Tensor]:
    return [use.delta for seen in routes.capture(probe)[1].values() for use in seen]


def _by_autograd(routes: Routes, probe: Batch, weights: Tensor) -> dict[str, Tensor]:
    network = routes.network
    leaves = {name: p.clone().requires_grad_() for name, p in network.params().items()}
    with torch.enable_grad():
        total = routes.value(network.outputs(probe, leaves), probe.y) @ weights
    if not total.requires_grad:
        return {name: torch.zeros_like(p) for name, p in leaves.items()}
    found = torch.autograd.grad(total, list(leaves.values()), materialize_grads=True)
    return dict(zip(leaves, found, strict=True))


def _try_layers(routes: Routes, probe: Batch, weights: Tensor, truth: dict[str, Tensor]) -> None:
    """Give up the layers whose numbers differ, or that do not see rows first."""
    _, uses = routes.capture(probe)
    mixed = {
        name
        for path, seen in uses.items()
        if any(len(use.input) != probe.size or len(use.delta) != probe.size for use in seen)
        for name in routes.owners[path].values()
    }
    routes.drop(p for p, names in routes.owners.items() if mixed & set(names.values()))
    found: dict[str, Tensor] = {}
    for factor in routes.factors(probe)[1]:
        found.update({name: g[0] for name, g in factor.adjoint(weights[None]).items()})
    wrong = _wrong(routes.network, found, truth)
    routes.drop(p for p, names in routes.owners.items() if wrong & set(names.values()))


def _wrong(network: Network, found: dict[str, Tensor], truth: dict[str, Tensor]) -> set[str]:
    """Parameters whose gradients differ; where none was found it is taken to be zero."""
    own, of_all = AGREES.get(network.dtype, COARSE)
    largest = max(float(t.norm()) for t in truth.values())
    return {
        name
        for name, t in truth.items()
        if float((found.get(name, torch.zeros_like(t)).view_as(t) - t).norm())
        > own * float(t.norm()) + of_all * largest
    }


# -- the others -----------------------------------------------------------------------------------


def _try_fallback(routes: Routes, probe: Batch, weights: Tensor, truth: dict[str, Tensor]) -> None:
    """By vmap if it can and agrees, else in a loop."""
    wanted = {name: truth[name] for name in routes.formed}
    for loop in (False, True):
        try:
            formed = row_by_row(routes.network, routes.formed, probe, routes.value, loop=loop)
        except (RuntimeError, ValueError, TypeError):
            if loop:
                raise
            continue
        routes.loop = loop
        found = {name: torch.tensordot(weights, g, 1) for name, g in formed.items()}
        wrong = _wrong(routes.network, found, wanted)
        if not wrong:
            return
    raise ValueError(
        f"The gradients of rows alone do not add up to that of the rows together, in "
        f"{', '.join(sorted(wrong))}: rows see each other or the forward is not the same twice. "
        "Replace what mixes rows or draws at random, or leave these parameters out by params=."
    )
