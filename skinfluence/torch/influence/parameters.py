"""Parameters by name."""

from __future__ import annotations

import re

import numpy as np

from skinfluence.torch.network import Network

# Names are strings of their own; more of them than this are not written out.
NAMED = 200_000


def parameter_names(network: Network) -> np.ndarray:
    """``layer.weight[0,3]`` of every explained parameter, (p,).

    Of more than 200,000 parameters the names are those of the tensors, as often as they have
    entries.
    """
    if network.n_params > NAMED:
        counts = [shape.numel() for shape in network.shapes.values()]
        return np.repeat(np.asarray(network.names), counts)
    found = []
    for name, shape in network.shapes.items():
        found += [f"{name}[{','.join(map(str, at))}]" if at else name for at in np.ndindex(*shape)]
    return np.asarray(found)


def positions_of(network: Network, target: str) -> np.ndarray:
    """Positions that ``"params"`` or ``"coef:NAME"`` asks about.

    NAME is a parameter of the module ("fc.weight"), or one entry of it ("fc.weight[0,3]").
    """
    if target == "params":
        return np.arange(network.n_params)
    name = target.removeprefix("coef:")
    if name in network.spans:
        span = network.spans[name]
        return np.arange(span.start, span.stop)
    entry = re.fullmatch(r"(.+)\[([\d,\s]+)\]", name)
    if entry and entry[1] in network.spans:
        at = tuple(int(part) for part in entry[2].split(","))
        shape = tuple(network.shapes[entry[1]])
        if len(at) == len(shape) and all(i < size for i, size in zip(at, shape, strict=True)):
            offset = int(np.ravel_multi_index(at, shape))
            return np.array([network.spans[entry[1]].start + offset])
    names = ", ".join(network.names[:8])
    more = ", ..." if len(network.names) > 8 else ""
    raise ValueError(
        f"target={target!r} names no explained parameter. There are {names}{more}; an entry is "
        f"'coef:{network.names[0]}[0,0]'."
    )
