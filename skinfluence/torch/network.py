"""A private copy of a module, and its explained parameters as one row vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from skinfluence.torch.data import Batch, Rows
from skinfluence.torch.modules import chosen_names, matches, private_copy, some


class Network:
    """A module at fixed parameters, as a function of some of them.

    The module is copied, so that neither its mode, its gradients nor later training meet what
    happens here; the copy is in evaluation mode, where rows do not see each other (batch
    normalisation) and nothing is random (dropout).

    Conventions. Vectors over the explained parameters are rows: V is (M, p), the parameters one
    after the other in the order of ``names``, each flattened as it is stored. A parameter that
    several layers share is there once, under its first name.

    Parameters
    ----------
    module : nn.Module
        Compiled modules and DataParallel are unwrapped.
    params : None, "last_layer" or sequence of str, default=None
        Which parameters are explained: all that training moved (those with ``requires_grad``, or
        all where none has), those of the last module that has any, or those whose names match one
        of the patterns ("fc*", "encoder.*.weight").
    head : callable, default=None
        What is done to the module's outputs before the loss sees them, from tensor to tensor.

    Attributes
    ----------
    module : nn.Module
        The copy.
    names : tuple of str
    every : tuple of str
        Names of all parameters, explained or not.
    aliases : mapping of str to sequence of str
        All names that each of them has: layers may share it.
    shapes : dict of str to torch.Size
    spans : dict of str to slice
        Where each parameter lies in a vector.
    n_params : int
        p.
    theta : Tensor of shape (p,)
    dtype, device
        Of the explained parameters.
    flat : bool
        Whether the module gives one number a row, (b,), which is a column here, (b, 1).
    """

    flat = False

    def __init__(
        self,
        module: nn.Module,
        *,
        params: str | Sequence[str] | None = None,
        head: Callable[[Tensor], Tensor] | None = None,
    ):
        self.module, trained, self.aliases = private_copy(module)
        if head is not None:
            # A hook, so that it runs wherever the module does, and no parameter changes its name.
            self.module.register_forward_hook(_After(head))
        every = dict(self.module.named_parameters())
        self.every = tuple(every)
        self.names = tuple(chosen_names(self.module, trained, params, self.aliases))
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

    def as_columns(self, rows: Rows) -> None:
        """Make a vector of outputs, (b,), a column from now on, if a few rows show that it is one.

        A forward that fails is left to the checks that name the reason.
        """
        batch = rows.take(slice(0, 2)).map(torch.clone)
        try:
            with torch.no_grad():
                found = self.outputs(batch)
        except Exception:  # whatever the user's code raises
            return
        if isinstance(found, Tensor) and found.shape == (batch.size,):
            self.flat = True
            self.module.register_forward_hook(_After(_column))

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

    def spread(self, values: float | Mapping[str, float] | None, what: str) -> Tensor | None:
        """Numbers >= 0 given by name or pattern, for each entry of a vector, (p,).

        Parameters
        ----------
        values : float, mapping of str to float, or None
            One number for all parameters, or numbers by name or pattern, of which the last that
            matches counts; parameters that none matches have 0.
        what : str
            What the numbers are called in messages.

        Returns
        -------
        numbers : Tensor of shape (p,) or None
            None where all are 0.
        """
        if values is None:
            return None
        given: dict[str, Any] = dict(values) if isinstance(values, Mapping) else {"*": values}
        found = torch.zeros_like(self.theta)
        for pattern, value in given.items():
            if not isinstance(value, Real) or not 0 <= float(value) < float("inf"):
                raise ValueError(
                    f"{what} is {value!r} for {pattern!r}, and a penalty is a finite number that "
                    "is not negative. Pass what the optimiser was given."
                )
            if not any(self._is_called(name, pattern) for name in self.every):
                raise ValueError(
                    f"{what} names {pattern!r}, and the module has no such parameter. "
                    f"It has {some(self.every)}."
                )
            for name in self.names:
                if self._is_called(name, pattern):
                    found[self.spans[name]] = value
        return found if bool(found.any()) else None

    def _is_called(self, name: str, pattern: str) -> bool:
        return matches(self.aliases.get(name, [name]), [pattern])


def _column(outputs: Tensor) -> Tensor:
    """A vector as a column; so is a number, which ``squeeze()`` leaves of a single row."""
    vector = isinstance(outputs, Tensor) and outputs.ndim < 2
    return outputs.reshape(-1, 1) if vector else outputs


class _After:
    """What follows a module's forward, as a hook that is pickled."""

    def __init__(self, head: Callable[[Tensor], Tensor]):
        self.head = head

    def __call__(self, module: nn.Module, args: tuple, outputs: Tensor) -> Tensor:
        return self.head(outputs)
