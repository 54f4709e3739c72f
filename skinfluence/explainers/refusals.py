"""What is no estimator, said in one sentence instead of with all its weights."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import ismethod
from typing import Any

from skinfluence._compat import InvalidParameterError
from skinfluence._seen import is_module

_LOAD = "Build the module, call module.load_state_dict(...), and pass the module."


def refuse_no_estimator(estimator: Any) -> None:
    """Refuse objects that people pass for the trained module.

    Raises
    ------
    InvalidParameterError
        A ValueError and TypeError that says what the object is, and what to pass.
    """
    if estimator is None or isinstance(estimator, type) or _can_be_read(estimator):
        return
    raise InvalidParameterError(f"estimator is {_what(estimator)}")


def _can_be_read(estimator: Any) -> bool:
    return hasattr(estimator, "fit") or is_module(estimator)


def _what(estimator: Any) -> str:
    kind = type(estimator).__name__
    if isinstance(estimator, str) or hasattr(estimator, "__fspath__"):
        return f"the path {str(estimator)!r}, and files are not opened here. {_LOAD}"
    if isinstance(estimator, Mapping):
        return (
            f"a {kind} of {len(estimator)} entries, perhaps a state_dict, which does not say how "
            f"outputs are computed. {_LOAD}"
        )
    if hasattr(estimator, "param_groups"):
        return f"the optimiser {kind}. Pass the module whose parameters it trained."
    if ismethod(estimator):
        owner = type(estimator.__self__).__name__
        return (
            f"the method {estimator.__name__} of {owner}, and the object itself is needed. Pass "
            f"the {owner}."
        )
    if isinstance(estimator, list | tuple):
        return (
            f"a {kind} of {len(estimator)} objects, and one model is explained at a time. Pass "
            "one of them, or the module that holds these parameters."
        )
    if callable(estimator):
        return (
            f"a function ({kind}), which owns no parameters. Pass the torch.nn.Module, or an "
            "estimator with fit."
        )
    return (
        f"a {kind}, which is neither an estimator with fit nor a torch.nn.Module. Pass the "
        "trained model itself."
    )
