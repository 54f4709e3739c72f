"""The user's module as a private copy that can be differentiated, and what it must be for that."""

from __future__ import annotations

import copy
import difflib
import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from skinfluence.torch.replicas import open_up

HALVES = (torch.float16, torch.bfloat16)
# Wrappers and the attribute that holds what they wrap, by the wrapper's name: torch.compile's is
# private, and the others must not be imported where torch is built without them.
WRAPPERS = {
    "OptimizedModule": "_orig_mod",
    "DataParallel": "module",
    "DistributedDataParallel": "module",
}


# All names of each parameter, by the first of them: layers may share it.
Aliases = Mapping[str, Sequence[str]]


def private_copy(module: Any) -> tuple[nn.Module, frozenset[str], Aliases]:
    """Copy of a module in evaluation mode, and the names of the parameters training moved.

    The copy overwrites no activation and tracks no gradient; wrappers of ``torch.compile`` and of
    parallel training are taken off, half-precision parameters are computed in float32, and what
    lives on an MPS device, which has no float64 to add sums up in, is computed on the CPU.

    Returns
    -------
    module : nn.Module
    trained : frozenset of str
        Parameters with ``requires_grad``; all, where none has.
    aliases : mapping of str to sequence of str
    """
    check_module(module)
    module = unwrapped(module)
    check_parameters(module)
    twin = _copied(module)
    moved = {id(p) for p in twin.parameters() if p.requires_grad}
    twin.eval().requires_grad_(False)
    _unwrap_parts(twin)
    trained = {n: id(p) in moved for n, p in twin.named_parameters() if p.is_floating_point()}
    aliases = _aliases(twin)
    open_up(twin)
    if any(p.dtype in HALVES for p in twin.parameters()):
        twin.float()
    if any(p.device.type == "mps" for p in twin.parameters()):
        twin.cpu()
    return twin, frozenset(name for name in trained if trained[name] or not moved), aliases


def _aliases(module: nn.Module) -> Aliases:
    found: dict[int, list[str]] = {}
    for name, p in module.named_parameters(remove_duplicate=False):
        found.setdefault(id(p), []).append(name)
    return {names[0]: names for names in found.values()}


def _unwrap_parts(module: nn.Module) -> None:
    """Take wrappers off the parts too, and let none write into its input."""
    for path, part in list(module.named_modules()):
        if getattr(part, "inplace", False) is True:
            part.inplace = False
        part._compiled_call_impl = None
        parent, _, name = path.rpartition(".")
        if path and unwrapped(part) is not part:
            setattr(module.get_submodule(parent), name, unwrapped(part))


def unwrapped(module: nn.Module) -> nn.Module:
    """Module inside the wrappers of ``torch.compile`` and of parallel training."""
    while type(module).__name__ in WRAPPERS:
        module = getattr(module, WRAPPERS[type(module).__name__])
    return module


def _copied(module: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(module, _without_graphs(module))
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise TypeError(
            f"{type(module).__name__} cannot be copied ({str(error).rstrip('.')}), and it is a "
            "copy that is explained. Take what belongs to training (a trainer, loaders, kept "
            "losses) out of the module's attributes."
        ) from error


def _without_graphs(module: nn.Module) -> dict[int, Any]:
    """What deepcopy shall take for tensors that were computed (weights of an old weight_norm)."""
    return {
        id(value): value.detach().clone()
        for part in module.modules()
        for value in vars(part).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }


def check_module(module: Any) -> None:
    """Refuse what is no module that can be called with other parameters."""
    if isinstance(module, str):
        raise TypeError(
            f"The model is a path ({module!r}), and files are not opened here. Build the module "
            "and load its parameters: module.load_state_dict(torch.load(path, "
            "weights_only=True))."
        )
    if isinstance(module, Mapping):
        raise TypeError(
            "The model is a dict, probably a state_dict, which does not say how outputs are "
            "computed. Build the module and call its load_state_dict."
        )
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"The model is a {type(module).__name__}, and a torch.nn.Module is needed. Wrap the "
            "function in a Module that owns its parameters."
        )
    if isinstance(module, torch.jit.ScriptModule):
        raise TypeError(
            f"{type(module).__name__} is a TorchScript module, which cannot be run at other "
            "parameters. Pass the module that it was scripted or traced from."
        )


def check_parameters(module: nn.Module) -> None:
    """Refuse modules whose parameters have no values or no derivatives."""
    for name, part in module.named_modules():
        if "quantized" in type(part).__module__.split("."):
            raise TypeError(
                f"{name or type(module).__name__} is quantised ({type(part).__name__}), and "
                "integers have no gradient. Pass the floating-point module it was made from."
            )
    for name, p in module.named_parameters():
        if isinstance(p, UninitializedParameter):
            raise ValueError(
                f"Parameter {name!r} is lazy and has no values yet, so the module is not trained. "
                "Pass the module after training."
            )
        if p.is_meta:
            raise ValueError(
                f"Parameter {name!r} is on the meta device and has no values. Load the trained "
                "parameters first."
            )
        if type(p).__name__ == "DTensor" or type(p.data).__name__ == "DTensor":
            raise TypeError(
                f"Parameter {name!r} is spread over several processes. Gather the module on one "
                "device first."
            )
        if p.is_complex():
            raise TypeError(
                f"Parameter {name!r} is complex, and only real ones are differentiated. Hold its "
                "real and imaginary parts as two parameters."
            )


def chosen_names(
    module: nn.Module,
    trained: frozenset[str],
    params: str | Sequence[str] | None,
    aliases: Aliases,
) -> list[str]:
    """Names of the parameters to explain, among those that training moved, in module order.

    A pattern may be any name that a shared parameter has, or that of any module that holds it.
    """
    every = [name for name, _ in module.named_parameters()]
    if not trained:
        raise ValueError(
            f"{type(module).__name__} has no parameters, so no training row has moved any. "
            "Pass the module that was trained."
        )
    if params is None:
        return [name for name in every if name in trained]
    if isinstance(params, str) and params == "last_layer":
        return _last_layer(module, trained)
    patterns = [params] if isinstance(params, str) else list(params)
    if not patterns:
        raise ValueError(
            "params is empty, so that nothing is explained. Leave params=None for all parameters, "
            f"or name some of {some(every)}."
        )
    for pattern in patterns:
        _check_pattern(pattern, every, trained, type(module).__name__, aliases)
    return [n for n in every if n in trained and matches(aliases.get(n, [n]), patterns)]


def matches(names: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether a name matches one of the patterns, or lies in a module of that name."""
    return any(
        fnmatch.fnmatchcase(name, pattern) or name.startswith(f"{pattern}.")
        for name in names
        for pattern in patterns
    )


def _last_layer(module: nn.Module, trained: frozenset[str]) -> list[str]:
    """Trained parameters of the last module that has any; shared ones by their first name."""
    names = {id(p): name for name, p in module.named_parameters()}
    last = ""
    for path, part in module.named_modules():
        if any(names[id(p)] in trained for p in part.parameters(recurse=False)):
            # The weight of a parametrised layer sits deeper than its bias.
            last = path.partition(".parametrizations")[0] if "parametrizations" in path else path
    own = {names[id(p)] for p in module.get_submodule(last).parameters()}
    return [name for name in names.values() if name in own & trained]


def _check_pattern(
    pattern: Any, every: Sequence[str], trained: frozenset[str], owner: str, aliases: Aliases
) -> None:
    if not isinstance(pattern, str):
        raise ValueError(
            f"params holds a {type(pattern).__name__}, and names of parameters are needed: "
            f"{some(every)}. Pass names or patterns."
        )
    found = [name for name in every if matches(aliases.get(name, [name]), [pattern])]
    if not found:
        modules = {name.rpartition(".")[0] for name in every} - {""}
        near = difflib.get_close_matches(pattern, [*every, *sorted(modules)], n=1)
        meant = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"params names {pattern!r}, and {owner} has no such parameter. It has {some(every)}."
            f"{meant}"
        )
    if not trained.intersection(found):
        raise ValueError(
            f"params names {pattern!r}, and {some(found)} did not move in training "
            f"(requires_grad is False). Choose among {some(sorted(trained))}."
        )


def some(names: Sequence[str]) -> str:
    """The first of some names, for messages."""
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
