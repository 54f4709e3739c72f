"""A private copy of a module, and its explained parameters as one row vector."""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from skinfluence.torch.data import Batch
from skinfluence.torch.replicas import open_up


class Network:
    """A module at fixed parameters, as a function of some of them.

    The module is copied, so that neither its mode, its gradients nor later training meet what
    happens here; the copy is in evaluation mode, where rows do not see each other (batch
    normalisation) and nothing is random (dropout).

    Conventions. Vectors over the explained parameters are rows: V is (M, p), the parameters one
    after the other in the order of ``names``, each flattened as it is stored.

    Parameters
    ----------
    module : nn.Module
    params : None, "last_layer" or sequence of str, default=None
        Which parameters are explained: all, those of the last module that has any, or those whose
        names match one of the patterns ("fc*", "encoder.*.weight").

    Attributes
    ----------
    module : nn.Module
        The copy.
    names : tuple of str
    shapes : dict of str to torch.Size
    spans : dict of str to slice
        Where each parameter lies in a vector.
    theta : Tensor of shape (p,)
    """

    def __init__(self, module: nn.Module, *, params: str | Sequence[str] | None = None):
        self.module = private_copy(module)
        every = dict(self.module.named_parameters())
        if not every:
            raise ValueError(
                f"{type(module).__name__} has no parameters, so no training row has moved any. "
                "Pass the module that was trained."
            )
        self.names = tuple(chosen_names(self.module, every, params))
        kinds = {(every[name].dtype, every[name].device) for name in self.names}
        if len(kinds) > 1:
            raise ValueError(
                f"The explained parameters are of several types or on several devices "
                f"({', '.join(sorted(f'{t} on {d}' for t, d in kinds))}). Move the module to one, "
                "e.g. module.to('cpu', torch.float32)."
            )
        self.dtype, self.device = kinds.pop()
        self.shapes = {name: every[name].shape for name in self.names}
        self.spans, stop = {}, 0
        for name in self.names:
            self.spans[name] = slice(stop, stop + every[name].numel())
            stop = self.spans[name].stop
        self.n_params = stop
        self.theta = torch.cat([every[name].detach().reshape(-1) for name in self.names])

    def split(self, V: Tensor) -> dict[str, Tensor]:
        """Vectors (M, p), parameter by parameter: views of shape (M, \\*shape)."""
        return {
            name: V[:, self.spans[name]].unflatten(1, shape or (1,))
            if len(shape) != 1
            else V[:, self.spans[name]]
            for name, shape in self.shapes.items()
        }

    def params(self, theta: Tensor | None = None) -> dict[str, Tensor]:
        """Parameters by name, views of one vector (p,); the fitted ones by default."""
        theta = self.theta if theta is None else theta
        return {name: theta[self.spans[name]].view(self.shapes[name]) for name in self.names}

    def outputs(self, batch: Batch, params: Mapping[str, Tensor] | None = None) -> Tensor:
        """Outputs of the rows of a batch, (b, ...), at other parameters where given."""
        if params is None:
            return self.module(*batch.args, **batch.kwargs)
        return functional_call(self.module, dict(params), batch.args, batch.kwargs)


def private_copy(module: nn.Module) -> nn.Module:
    """Copy in evaluation mode that overwrites no activation and tracks no gradient."""
    twin: nn.Module = copy.deepcopy(module).eval().requires_grad_(False)
    for part in twin.modules():
        if getattr(part, "inplace", False) is True:
            part.inplace = False
    open_up(twin)
    return twin


def chosen_names(
    module: nn.Module, every: Mapping[str, Any], params: str | Sequence[str] | None
) -> list[str]:
    """Names of the parameters to explain, in the module's order."""
    if params is None:
        return list(every)
    if params == "last_layer":
        last = list(every)[-1].rpartition(".")[0]
        return [name for name in every if name.rpartition(".")[0] == last]
    patterns = [params] if isinstance(params, str) else list(params)
    for pattern in patterns:
        if not fnmatch.filter(every, pattern):
            raise ValueError(
                f"params names {pattern!r}, and {type(module).__name__} has no such parameter. "
                f"It has {', '.join(list(every)[:6])}{', ...' if len(every) > 6 else ''}."
            )
    return [n for n in every if any(fnmatch.fnmatchcase(n, pattern) for pattern in patterns)]
