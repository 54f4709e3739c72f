"""Parameters by name."""

from __future__ import annotations

import re

import numpy as np

from skinfluence.torch.network import Network

# Names are strings of their own; more of them than this are not written out.
NAMED = 20_000


def parameter_names(network: Network) -> np.ndarray:
    """``layer.weight[0,3]`` of every explained parameter, (p,).

    Of more than 20,000 parameters, names of the tensors alone, (n_tensors,).
    """
    if network.n_params > NAMED:
        return np.asarray(network.names)
    return names_at(network, np.arange(network.n_params))


def names_at(network: Network, positions: np.ndarray) -> np.ndarray:
    """Names of the parameters at some positions, (len(positions),)."""
    tensors = list(network.names)
    starts = np.array([network.spans[name].start for name in tensors])
    of = np.searchsorted(starts, positions, side="right") - 1
    found = []
    for position, tensor in zip(positions, of, strict=True):
        name = tensors[tensor]
        shape = tuple(network.shapes[name])
        at = np.unravel_index(position - starts[tensor], shape) if shape else ()
        found.append(f"{name}[{','.join(map(str, at))}]" if shape else name)
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
