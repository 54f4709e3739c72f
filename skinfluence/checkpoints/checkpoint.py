"""One state of a model on its way, and what moved it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Checkpoint:
    """State of a model after some steps of its training.

    As a rule one of many: :class:`Checkpoints` knows which part of the way it stands for.

    Parameters
    ----------
    step : int
        Steps of the optimiser before it, or calls of ``partial_fit``; 0 is the state before
        training.
    parameters : mapping of str to ndarray
        By the model's names. Of a recorded directory they are read when they are looked at.
    buffers : mapping of str to ndarray, optional
        What a module keeps beside its parameters, as the running means of batch normalisation.
    optimizer : mapping of str to mapping of str to ndarray, or None, default=None
        State of the optimiser by parameter, ``optimizer["0.weight"]["exp_avg_sq"]``.
    learning_rate : mapping of str to float, or None, default=None
        Learning rate of the last step, by parameter, as it counts in `path`.
    path : mapping of str to float, or None, default=None
        Sum of the learning rates of all steps so far, by parameter: how far a gradient that stays
        the same has moved it, which is ``1 / (1 - m)`` times as far in the long run where steps
        have momentum m.
    loss : float or None, default=None
        As it was told to the recorder: as a rule that of the last batch.

    See Also
    --------
    Checkpoints : Those of one training, and each one's share of the path.

    Examples
    --------
    >>> from skinfluence.checkpoints import Checkpoint
    >>> Checkpoint(3, {"weight": np.zeros((1, 2))}, path={"weight": 0.3})
    Checkpoint(step=3, path=0.3)
    """

    step: int
    parameters: Arrays
    buffers: Arrays = field(default_factory=dict)
    optimizer: Mapping[str, Arrays] | None = None
    learning_rate: Mapping[str, float] | None = None
    path: Mapping[str, float] | None = None
    loss: float | None = None

    def __repr__(self) -> str:
        shown = [f"step={self.step}"]
        if self.path:
            least, most = min(self.path.values()), max(self.path.values())
            shown.append(f"path={least:.4g}" + (f"..{most:.4g}" if most > least else ""))
        if self.loss is not None:
            shown.append(f"loss={self.loss:.4g}")
        return f"Checkpoint({', '.join(shown)})"


@dataclass(frozen=True)
class OptimizerInfo:
    """What moved the parameters.

    Steps of "SGD" add up to changes of a loss as they are; those of "Adam" and its like do when
    gradients are divided by what it divided them by.

    Parameters
    ----------
    name : str
        Of torch's class ("SGD", "Adam", ...); scikit-learn's estimators have "SGD" or "Adam". An
        optimiser of one's own, or one whose ``step`` is, has the name of its class. Where several
        kinds took turns, "Adam and SGD".
    options : mapping of str to mapping of str to object
        By parameter, the options of its group: ``options["0.weight"]["betas"]``.

    See Also
    --------
    Checkpoints : Where it is found.

    Examples
    --------
    >>> from skinfluence.checkpoints import OptimizerInfo
    >>> OptimizerInfo("SGD", {"weight": {"momentum": 0.9}}).options["weight"]["momentum"]
    0.9
    """

    name: str
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def after(before: OptimizerInfo | None, info: OptimizerInfo) -> OptimizerInfo:
    """What moved the parameters, where another optimiser did before."""
    if before is None:
        return info
    names = dict.fromkeys([*before.name.split(" and "), info.name])
    return OptimizerInfo(" and ".join(names), {**before.options, **info.options})


@dataclass(frozen=True)
class State:
    """Arrays of a model and its optimiser, copied."""

    parameters: dict[str, NDArray[Any]]
    buffers: dict[str, NDArray[Any]] = field(default_factory=dict)
    optimizer: dict[str, dict[str, NDArray[Any]]] | None = None

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter."""
        return {name: np.shape(values) for name, values in self.parameters.items()}
