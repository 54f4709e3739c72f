"""What a network does to the outputs of a hidden layer."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

Kind = Literal["relu", "sigmoid", "identity"]


class Watching(TorchFunctionMode):
    """Sees which functions take a tensor, in modules, as methods or as functions of torch.

    What hands the same numbers on (a reshape, dropout in evaluation mode) is looked through.

    Attributes
    ----------
    found : set of str
        "relu", "sigmoid", or "identity" for any other use of the numbers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: set[Kind] = set()
        self._followed: list[Tensor] = []

    def follow(self, output: Tensor) -> None:
        """Watch this tensor from now on."""
        self._followed.append(output)

    @property
    def activation(self) -> Kind:
        """The only function that the numbers go through, "identity" if there are several."""
        return next(iter(self.found)) if len(self.found) == 1 else "identity"

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        given = [*args, *kwargs.values()]
        given += [part for value in given if isinstance(value, tuple | list) for part in value]
        own = [t for t in self._followed if any(t is value for value in given)]
        before = own[0].clone() if own else None  # the function may overwrite it
        result = func(*args, **kwargs)
        if before is not None and isinstance(result, Tensor):
            self._note(_kind(func, args, kwargs), before, result)
        return result

    def _note(self, kind: Kind, before: Tensor, result: Tensor) -> None:
        same = result.numel() == before.numel() and torch.equal(
            result.reshape(-1), before.reshape(-1).to(result.dtype)
        )
        if kind == "identity" and same:
            self._followed.append(result)
        else:
            self.found.add(kind)
            # Overwritten in place, the tensor holds what came out.
            self._followed = [t for t in self._followed if t is not result]


def _kind(func: Any, args: tuple, kwargs: dict) -> Kind:
    name = getattr(func, "__name__", "").rstrip("_")
    if name == "sigmoid":
        return "sigmoid"
    if name == "relu":
        return "relu"
    if name in ("clamp", "clip", "clamp_min"):
        low = args[1] if len(args) > 1 else kwargs.get("min")
        high = args[2] if len(args) > 2 else kwargs.get("max")
        if high is None and not isinstance(low, Tensor) and low == 0:
            return "relu"
    return "identity"
