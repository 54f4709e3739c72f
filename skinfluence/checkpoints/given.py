"""What users pass for checkpoints, as checkpoints of their model."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import numpy as np

from skinfluence.checkpoints import estimators, models
from skinfluence.checkpoints.checkpoint import Arrays, Checkpoint
from skinfluence.checkpoints.estimators import check_shapes
from skinfluence.checkpoints.reading import read_checkpoints
from skinfluence.checkpoints.recorder import CheckpointRecorder
from skinfluence.checkpoints.sequence import Checkpoints
from skinfluence.checkpoints.stored import Shape, renamed, shapes_of

# What wrappers put before names: of parallel training, of torch.compile, of Lightning.
PREFIXES = ("module.", "_orig_mod.", "model.")


def as_checkpoints(given: Any, model: Any = None) -> Checkpoints:
    """Checkpoints, whatever they were passed as, under the names of a model's parameters.

    Parameters
    ----------
    given : Checkpoints, CheckpointRecorder, path or paths, or a sequence
        Of state dicts, modules, fitted estimators or checkpoints; or a single one of these.
    model : nn.Module, skorch net or estimator, or None, default=None
        Whose checkpoints they are: parameters and buffers are told apart by it, and another
        architecture is refused. An unfitted estimator, which has no parameters yet, is not
        compared.

    Returns
    -------
    checkpoints : Checkpoints
        Single states that nothing else is known of have steps 1, 2, ...

    Raises
    ------
    ValueError
        If there are none, or they are of another architecture.

    See Also
    --------
    read_checkpoints : The same of files, before there is a model.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.checkpoints import as_checkpoints
    >>> as_checkpoints([{"w": np.zeros(2)}, {"w": np.ones(2)}])
    <2 checkpoints at steps 1, 2>
    """
    found = _collected(given)
    if not len(found):
        raise ValueError(
            "There are no checkpoints. Record the training (CheckpointRecorder), or pass state "
            "dicts or files."
        )
    if model is None or not has_parameters(model):
        return found
    architecture = Architecture(type(model).__name__, *models.layout(model))
    return found.replaced(architecture.of(item) for item in found)


def has_parameters(model: Any) -> bool:
    """Whether a model's arrays are there: modules have them, estimators once fitted."""
    if estimators.known(model):
        return hasattr(model, "coef_") or hasattr(model, "coefs_")
    return models.is_module(model) or models.is_module(getattr(model, "module_", None))


def _collected(given: Any) -> Checkpoints:
    if isinstance(given, CheckpointRecorder):
        return given.checkpoints
    if isinstance(given, Checkpoints):
        return given
    if isinstance(given, Checkpoint):
        return Checkpoints([given])
    if isinstance(given, str | PathLike):
        return read_checkpoints(given)
    if isinstance(given, Mapping) or has_parameters(given):
        return Checkpoints([_one(given, 1)])
    if not isinstance(given, Iterable):
        raise TypeError(
            f"{given!r} is passed for checkpoints, and is none. Pass a CheckpointRecorder, its "
            "checkpoints, a directory, or a list of files, state dicts or models. (How many of "
            "them are used is n_checkpoints=.)"
        )
    several = list(given)
    if several and all(isinstance(one, str | PathLike) for one in several):
        return read_checkpoints(several)
    _check_copies(several)
    return Checkpoints([_one(one, k) for k, one in enumerate(several, start=1)])


def _check_copies(several: list[Any]) -> None:
    """Refuse states that are the same arrays twice: they hold the last state of them all."""
    seen: dict[tuple[int, ...], int] = {}
    for position, one in enumerate(several, start=1):
        places = () if isinstance(one, Checkpoint) else _places(one)
        if any(places) and places in seen:
            raise ValueError(
                f"Checkpoints {seen[places]} and {position} are the same arrays, and so one state "
                "and not two: state_dict() copies nothing, and training goes on to change what "
                "it returned. Pass copies (copy.deepcopy(module.state_dict())), or record the "
                "training with a CheckpointRecorder."
            )
        seen[places] = position


def _places(given: Any) -> tuple[int, ...]:
    """Where the arrays of a state lie in memory."""
    if models.is_module(given):
        given = given.state_dict()
    if isinstance(given, Mapping):
        return tuple(place for values in given.values() for place in _places(values))
    if isinstance(given, np.ndarray):
        return (given.__array_interface__["data"][0],)
    if hasattr(given, "data_ptr"):
        return (given.data_ptr(),)
    return (id(given),) if has_parameters(given) else ()


def _one(given: Any, position: int) -> Checkpoint:
    if isinstance(given, Checkpoint):
        return given
    if isinstance(given, Mapping):
        return Checkpoint(position, models.arrays_of(given))
    if not has_parameters(given):
        raise TypeError(
            f"Checkpoint {position} is a {type(given).__name__}, and state dicts, modules, fitted "
            "estimators and paths are read, all of one kind. Pass one of these."
        )
    state = models.snapshot(given, optimizer_state=False)
    return Checkpoint(position, state.parameters, state.buffers)


@dataclass(frozen=True)
class Architecture:
    """Names and shapes of a model's arrays.

    Parameters
    ----------
    owner : str
        What the model is called in messages.
    parameters, buffers : dict of str to tuple of int
    aliases : set of str
        Further names of shared parameters.
    """

    owner: str
    parameters: dict[str, Shape]
    buffers: dict[str, Shape]
    aliases: set[str]

    def of(self, item: Checkpoint) -> Checkpoint:
        """A checkpoint under the model's names, its parameters and buffers told apart."""
        names = self._without_prefixes(item.parameters)
        # A shared parameter is saved under each of its names, and is one.
        own = {new: old for new, old in names.items() if new not in self.aliases}
        # In the order of the model, which files do not keep.
        order = dict.fromkeys([*self.parameters, *own])
        parameters = {n: own[n] for n in order if n in own and n not in self.buffers}
        buffers = item.buffers
        if not buffers:
            kept = {n: own[n] for n in self.buffers if n in own}
            buffers = renamed(item.parameters, kept)
        found = replace(item, parameters=renamed(item.parameters, parameters), buffers=buffers)
        where = f"The checkpoint of step {item.step}"
        self._check_not_inside(where, names)
        check_shapes(where, shapes_of(found.parameters), self.parameters, self.owner)
        # A module's own buffers stand in for those that were not saved.
        known = {name: self.buffers[name] for name in buffers if name in self.buffers}
        check_shapes(where, shapes_of(buffers), known, self.owner)
        return found

    def _check_not_inside(self, where: str, names: Collection[str]) -> None:
        """Name the prefix where a checkpoint is of something that has the model inside."""
        first = next(iter(names), "").partition(".")[0] + "."
        inside = {name.removeprefix(first) for name in names if name.startswith(first)}
        if inside >= set(self.parameters) and not set(names) >= set(self.parameters):
            raise ValueError(
                f"{where} is of a module that has the {self.owner} inside, as {first[:-1]!r}. "
                f"Pass its part: {{name.removeprefix({first!r}): values for name, values in "
                f"state_dict.items() if name.startswith({first!r})}}."
            )

    def _without_prefixes(self, arrays: Arrays) -> dict[str, str]:
        """Names in a state dict by the model's, without what wrappers put before them."""
        own = {*self.parameters, *self.buffers, *self.aliases}
        found = {}
        for name in arrays:
            short = name
            while short not in own and short.startswith(PREFIXES):
                short = short.partition(".")[2]
            found[short] = name
        return found
