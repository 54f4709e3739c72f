"""What a network does to the outputs of a layer."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

Kind = Literal["relu", "sigmoid", "identity", "other"]

# Functions that hand the same numbers on, where they do.
PASSING = frozenset(
    [
        "view",
        "reshape",
        "flatten",
        "unflatten",
        "squeeze",
        "unsqueeze",
        "contiguous",
        "clone",
        "detach",
        "to",
        "type",
        "type_as",
        "float",
        "double",
        "cat",
        "stack",
        "hstack",
        "concat",
        "dropout",
        "alpha_dropout",
        "feature_alpha_dropout",
        "__get__",
    ]
)


class Watching(TorchFunctionMode):
    """Sees which functions take a tensor, in modules, as methods or as functions of torch.

    What hands the same numbers on (a reshape, dropout in evaluation mode) is looked through.

    Attributes
    ----------
    found : set of str
        What the numbers go through: "relu", "sigmoid", or "other".
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: set[Kind] = set()
        self._known: list[tuple[Tensor, Kind]] = []

    def follow(self, output: Tensor) -> None:
        """Watch this tensor from now on."""
        self._known.append((output, "identity"))

    def what_is(self, output: Tensor) -> Kind:
        """What a tensor has in it: the numbers watched, what relu made of them, or neither."""
        for known, kind in self._known:
            if known is output:
                return kind
        return "other" if self.found else "identity"  # nobody was seen to change them

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        given = [*args, *kwargs.values()]
        given += [part for value in given if isinstance(value, tuple | list) for part in value]
        taken = [known for known in self._known if any(known[0] is value for value in given)]
        before = taken[0][0].clone() if taken else None  # the function may overwrite it
        result = func(*args, **kwargs)
        if before is not None and isinstance(result, Tensor):
            self._note(taken[0][1], _kind(func, args, kwargs), before, result)
        return result

    def _note(self, was: Kind, kind: Kind, before: Tensor, result: Tensor) -> None:
        # Overwritten in place, the tensor holds what came out.
        self._known = [known for known in self._known if known[0] is not result]
        if kind == "identity" and _same(before, result):
            self._known.append((result, was))
            return
        kind = "other" if kind == "identity" else kind
        if was == "identity":
            self.found.add(kind)
            self._known.append((result, kind))


def _same(before: Tensor, result: Tensor) -> bool:
    return result.numel() == before.numel() and torch.equal(
        result.reshape(-1), before.reshape(-1).to(result.dtype)
    )


def _kind(func: Any, args: tuple, kwargs: dict) -> Kind:
    name = getattr(func, "__name__", "")
    if name in PASSING:
        return "identity"
    if name in ("relu", "relu_"):
        return "relu"
    if name in ("sigmoid", "sigmoid_"):
        return "sigmoid"
    if name.rstrip("_") in ("clamp", "clip", "clamp_min"):
        low = args[1] if len(args) > 1 else kwargs.get("min")
        high = args[2] if len(args) > 2 else kwargs.get("max")
        if high is None and not isinstance(low, Tensor) and low == 0:
            return "relu"
    return "other"
