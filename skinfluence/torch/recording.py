"""States of modules and their optimisers, and the learning rates of each step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from skinfluence.checkpoints.checkpoint import Checkpoint, OptimizerInfo, State
from skinfluence.checkpoints.estimators import check_shapes
from skinfluence.checkpoints.stored import Shape, shapes_of
from skinfluence.torch.modules import HALVES, check_module, check_parameters, unwrapped

# What training loops call the state dict where they save more than it.
WRAPPINGS = ("state_dict", "model_state_dict", "model")

Names = dict[int, str]


def module_of(model: Any) -> nn.Module:
    """Module inside wrappers, or of a net or an estimator that has one."""
    if not isinstance(model, nn.Module) and isinstance(getattr(model, "module_", None), nn.Module):
        model = model.module_
    check_module(model)
    module = unwrapped(model)
    check_parameters(module)
    return module


def shapes(model: Any) -> dict[str, Shape]:
    """Shape of each parameter, by name; shared ones under their first."""
    return {name: tuple(p.shape) for name, p in module_of(model).named_parameters()}


def layout(model: Any) -> tuple[dict[str, Shape], dict[str, Shape], set[str]]:
    """Shapes of parameters and of buffers by name, and further names of shared parameters."""
    module = module_of(model)
    own = shapes(module)
    every = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    return own, {name: tuple(b.shape) for name, b in module.named_buffers()}, every - set(own)


def arrays_of(state_dict: Any) -> dict[str, NDArray[Any]]:
    """Arrays of a state dict, or of what a training loop saves around it."""
    return {name: as_array(t) for name, t in state_dict_of(state_dict, "The dict").items()}


def snapshot(model: Any, optimizer: Optimizer | None = None) -> State:
    """Copy of a module's parameters and buffers, and of the optimiser's state of them.

    Half-precision numbers are kept as float32, which holds them exactly.
    """
    module = module_of(model)
    parameters = {name: as_array(p) for name, p in module.named_parameters()}
    buffers = {name: as_array(b) for name, b in _kept_buffers(module).items()}
    state = None if optimizer is None else _optimizer_state(optimizer, _names(module))
    return State(parameters, buffers, state)


def restore(state: State | Checkpoint, model: Any, optimizer: Optimizer | None = None) -> None:
    """Put arrays back into a module and an optimiser, in their own types and on their devices."""
    module = module_of(model)
    own = dict(module.named_parameters())
    theirs = shapes_of(state.parameters)
    check_shapes("The checkpoint", theirs, shapes(module), type(module).__name__)
    buffers = dict(module.named_buffers())
    with torch.no_grad():
        for name, p in own.items():
            p.copy_(torch.as_tensor(state.parameters[name]))
        for name, values in state.buffers.items():
            if name in buffers:
                buffers[name].copy_(torch.as_tensor(values))
    if optimizer is not None and state.optimizer is not None:
        _restore_optimizer(state.optimizer, optimizer, _names(module))


def state_dict_of(found: Any, where: str) -> dict[str, Tensor]:
    """Tensors by name, out of the wrapping of a training loop."""
    found = _unwrapped(found, where)
    if not isinstance(found, Mapping) or not found:
        raise ValueError(
            f"{where} holds a {type(found).__name__}, and a state dict is needed: tensors by "
            "name. Save module.state_dict()."
        )
    tensors = {str(name): t for name, t in found.items() if isinstance(t, Tensor)}
    # What a module keeps beside its arrays may be anything.
    others = [
        n for n, t in found.items() if str(n) not in tensors and "_extra_state" not in str(n)
    ]
    if others:
        raise ValueError(
            f"{where} holds {others[0]!r}, which is no tensor, so that it is no state dict. Save "
            "module.state_dict(), or put it under 'state_dict'."
        )
    return tensors


def _unwrapped(found: Any, where: str) -> Any:
    """What is under a usual name, or the only state dict beside other things."""
    for key in WRAPPINGS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or any(isinstance(t, Tensor) for t in found.values()):
        return found
    inside = [key for key, value in found.items() if _is_state_dict(value)]
    if len(inside) > 1:
        raise ValueError(
            f"{where} holds several state dicts, under {', '.join(map(repr, inside))}. Load it by "
            "torch.load, and pass the one that is meant."
        )
    return found[inside[0]] if inside else found


def _is_state_dict(value: Any) -> bool:
    tensors = isinstance(value, Mapping) and all(isinstance(t, Tensor) for t in value.values())
    return tensors and len(value) > 0


def as_array(values: Tensor) -> NDArray[Any]:
    """Copy of a tensor as an array."""
    values = values.detach()
    values = values.to("cpu", torch.float32 if values.dtype in HALVES else values.dtype, copy=True)
    return values.numpy()


def _names(module: nn.Module) -> Names:
    return {id(p): name for name, p in module.named_parameters()}


def _kept_buffers(module: nn.Module) -> dict[str, Tensor]:
    """Buffers that a module saves; others it makes anew."""
    saved = set(module.state_dict())
    return {name: b for name, b in module.named_buffers() if name in saved}


def _optimizer_state(optimizer: Optimizer, names: Names) -> dict[str, dict[str, NDArray[Any]]]:
    found: dict[str, dict[str, NDArray[Any]]] = {}
    for p, state in optimizer.state.items():
        if id(p) in names:
            kept = {key: _array_of(value) for key, value in state.items()}
            found[names[id(p)]] = {k: v for k, v in kept.items() if v is not None}
    return found


def _array_of(value: Any) -> NDArray[Any] | None:
    if isinstance(value, Tensor):
        return as_array(value)
    return np.array(value) if isinstance(value, Real) else None


def _restore_optimizer(
    state: Mapping[str, Mapping[str, NDArray[Any]]], optimizer: Optimizer, names: Names
) -> None:
    for group in optimizer.param_groups:
        for p in group["params"]:
            kept = state.get(names.get(id(p), ""))
            if kept:
                optimizer.state[p] = {key: _value_of(values, p) for key, values in kept.items()}


def _value_of(values: NDArray[Any], p: Tensor) -> Any:
    """What an optimiser keeps of a parameter: in its type, but for counts of steps."""
    if values.shape == tuple(p.shape) and values.ndim:
        return torch.as_tensor(values).to(p.device, p.dtype, copy=True)
    if values.dtype in (np.int64, np.float64, np.bool_) and not values.ndim:
        return values.item()
    return torch.as_tensor(values).clone()


class Tally:
    """Counts the steps of an optimiser, and adds up its rates, as they happen.

    Parameters
    ----------
    model : nn.Module, or what has one
    optimizer : Optimizer
    before : int, default=0
        Steps of this training that were made before, after which momentum is there.

    Attributes
    ----------
    info : OptimizerInfo
    model, optimizer
    steps : int
        Since they were taken.
    """

    def __init__(self, model: Any, optimizer: Any, *, before: int = 0):
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"The optimiser is a {type(optimizer).__name__}, and learning rates are taken "
                "from those of torch. Pass learning_rate=, that of each step, instead."
            )
        self.model, self.optimizer = model, optimizer
        self._module = module_of(model)
        self._names = _names(self._module)
        if not any(id(p) in self._names for g in optimizer.param_groups for p in g["params"]):
            raise ValueError(
                f"The optimiser moves no parameter of this {type(self._module).__name__}. Pass "
                "the one that trains it, made after the module was moved or compiled."
            )
        self._kind = kind(optimizer)
        self._move = MOVES.get(self._kind, _rate)
        self.info = OptimizerInfo(self._kind, self._by_name(_options))
        self.steps = 0
        n_groups = len(optimizer.param_groups)
        self._sums: list[float | None] = [0.0] * n_groups
        self._rates: list[float | None] = [None] * n_groups
        # What momentum carries of a gradient that stays the same, by group.
        self._carried = [_carried(group, optimizer, before) for group in optimizer.param_groups]
        self._handle = optimizer.register_step_post_hook(self._after_step)

    def follows(self, model: Any, optimizer: Any) -> bool:
        """Whether it counts for this module and this optimiser."""
        same = optimizer is self.optimizer
        return same and (model is self.model or module_of(model) is self._module)

    def started(self) -> bool:
        """Whether the optimiser seems to have made a step: it has state, or gradients."""
        groups = self.optimizer.param_groups
        return any(self.optimizer.state.values()) or any(
            p.grad is not None for group in groups for p in group["params"]
        )

    def take(self) -> tuple[int, dict[str, float] | None, dict[str, float] | None]:
        """Steps since the last call, the sums of their rates, and the rates of the last."""
        steps, sums = self.steps, self._sums
        self.steps, self._sums = 0, [0.0] * len(sums)
        if not steps:
            return 0, {}, None
        rates = None if None in self._rates else self._spread(self._rates)
        return steps, None if None in sums else self._spread(sums), rates

    def close(self) -> None:
        """Count no more."""
        self._handle.remove()

    def made(self, steps: int) -> None:
        """Count steps that were made before they could be seen, at the present rates."""
        for _ in range(steps):
            self._after_step(self.optimizer)

    def _after_step(self, optimizer: Optimizer, *_: Any) -> None:
        self.steps += 1
        groups = optimizer.param_groups
        new = [0.0] * (len(groups) - len(self._sums))  # groups may be added while training
        self._sums, self._rates = [*self._sums, *new], [*self._rates, *new]
        self._carried += new
        for k, group in enumerate(groups):
            so_far, (rate, self._carried[k]) = self._sums[k], self._move(group, self._carried[k])
            self._rates[k] = rate
            self._sums[k] = None if so_far is None or rate is None else so_far + rate

    def _spread(self, values: list[Any]) -> dict[str, float]:
        """Numbers of groups, by parameter."""
        return {
            self._names[id(p)]: value
            for value, group in zip(values, self.optimizer.param_groups, strict=True)
            for p in group["params"]
            if id(p) in self._names
        }

    def _by_name(self, of: Callable[[Mapping[str, Any]], Any]) -> dict[str, Any]:
        return self._spread([of(group) for group in self.optimizer.param_groups])


def kind(optimizer: Optimizer) -> str:
    """Name of torch's class that makes the steps; that of one's own, if that does."""
    # By the function: torch wraps it anew in classes that only inherit it.
    steps = type(optimizer).step
    for cls in type(optimizer).__mro__:
        if cls.__module__.startswith("torch.optim") and steps.__module__.startswith("torch.optim"):
            return cls.__name__
    return type(optimizer).__name__


def _options(group: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers among the options of a group, the rate apart."""
    plain = {
        key: value for key, value in group.items() if key not in ("params", "lr", "initial_lr")
    }
    return {
        key: value
        for key, value in plain.items()
        if isinstance(value, bool | int | float)
        or (isinstance(value, tuple) and all(isinstance(v, Real) for v in value))
    }


# How far a step takes a parameter whose gradient is, and was, 1, and what momentum carries then.
Moved = tuple[float | None, float]


def _rate(group: Mapping[str, Any], carried: float) -> Moved:
    return (float(group["lr"]) if "lr" in group else None), carried


def _with_momentum(group: Mapping[str, Any], carried: float) -> Moved:
    """``lr`` at first, and ``lr (1 - dampening) / (1 - momentum)`` in the long run."""
    rate, momentum = float(group["lr"]), group["momentum"]
    if not momentum:
        return rate, carried
    if momentum >= 1:
        return None, carried
    # The first gradient is not dampened.
    carried = momentum * carried + 1 - group["dampening"] if carried else 1.0
    return rate * (1 + momentum * carried if group["nesterov"] else carried), carried


def _carried(group: Mapping[str, Any], optimizer: Optimizer, steps: int) -> float:
    """What momentum carries after some steps, where an optimiser's state shows that it does."""
    momentum = group.get("momentum", 0.0)
    states = (optimizer.state.get(p, {}) for p in group["params"])
    begun = any(state.get("momentum_buffer") is not None for state in states)
    if not steps or not begun or not 0 < momentum < 1:
        return 0.0
    first = momentum ** (steps - 1)
    return float(first + (1 - group["dampening"]) * (1 - first) / (1 - momentum))


def _unknown(group: Mapping[str, Any], carried: float) -> Moved:
    return None, carried


# A step of L-BFGS is as long as its line search makes it.
MOVES: dict[str, Callable[[Mapping[str, Any], float], Moved]] = {
    "SGD": _with_momentum,
    "LBFGS": _unknown,
}
