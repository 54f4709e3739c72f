"""Second derivatives and Gauss-Newton products of any function of a network's parameters.

Each product can be had in several ways, from the fastest to the one that always works: a way is
chosen by trying it on a few rows, since what forward mode and batching cover depends on the
layers (recurrent layers know neither).

Conventions. Parameters are a dict of tensors, and vectors a dict of as many with M in front.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.func import grad, jvp, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

Params = Mapping[str, Tensor]
Vectors = dict[str, Tensor]
# From (M, *shape) to the same: a symmetric matrix in the space of outputs.
Bend = Callable[[Tensor], Tensor]
Route = TypeVar("Route", bound=Callable[..., Any])


@contextlib.contextmanager
def differentiable_twice() -> Iterator[None]:
    """Keep out the fused kernels (attention, recurrence) that have no second derivative."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            sdpa_kernel(SDPBackend.MATH),
            torch.backends.cudnn.flags(enabled=False),
            warnings.catch_warnings(),
        ):
            # Operations without a batching rule run one after the other: slow, and right.
            warnings.filterwarnings("ignore", message="There is a performance drop")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def first_that_works(routes: Sequence[Route], *args: Any) -> Route:
    """The first of several routes that does not fail.

    Raises
    ------
    ValueError
        If all fail because torch has no second derivative of an operation.
    """
    for route in routes[:-1]:
        try:
            route(*args)
        except (RuntimeError, TypeError):
            continue
        return route
    try:
        routes[-1](*args)
    except NotImplementedError as error:  # "the derivative for '_embedding_bag_backward' is not"
        raise ValueError(
            f"A layer of this network cannot be differentiated twice: {error} Use "
            "curvature='fisher', which needs first derivatives only, or write the layer in "
            "operations that torch can differentiate twice."
        ) from error
    return routes[-1]


# -- Hessian: total(params) -> scalar ------------------------------------------------------------


def forward_over_reverse(total: Callable, at: Params, V: Vectors) -> Vectors:
    """Derivative of the gradient along every vector at once, the primal pass shared."""
    at = dict(at)
    with differentiable_twice():
        found: Vectors = vmap(lambda v: jvp(grad(total), (at,), (v,))[1])(V)
    return found


def reverse_over_reverse(total: Callable, at: Params, V: Vectors) -> Vectors:
    """Gradient of ``<gradient, v>``, batched over the vectors."""
    return _hessian_by_autograd(total, at, V, _batched)


def hessian_one_by_one(total: Callable, at: Params, V: Vectors) -> Vectors:
    """Gradient of ``<gradient, v>``, a vector at a time."""
    return _hessian_by_autograd(total, at, V, _looped)


def _hessian_by_autograd(total, at, V, backward):
    leaves = _leaves(at)
    with torch.enable_grad(), differentiable_twice():
        value = total(leaves)
        slopes = torch.autograd.grad(
            value, list(leaves.values()), create_graph=True, materialize_grads=True
        )
        return backward(slopes, leaves, list(V.values()))


HESSIAN = (forward_over_reverse, reverse_over_reverse, hessian_one_by_one)


# -- Gauss-Newton: outputs(params) -> (b, ...), bend(outputs) -> product --------------------------


def forward_then_reverse(outputs: Callable, bend: Callable, at: Params, V: Vectors) -> Vectors:
    """Forward mode to the outputs, their Hessian there, and back."""
    at = dict(at)
    with differentiable_twice():
        f, back = vjp(outputs, at)
        tangents = vmap(lambda v: jvp(outputs, (at,), (v,))[1])(V)
        found: Vectors = vmap(lambda u: back(u)[0])(bend(f)(tangents))
    return found


def reverse_twice(outputs: Callable, bend: Callable, at: Params, V: Vectors) -> Vectors:
    """``J v`` as the derivative in u of ``<J'u, v>``, batched over the vectors."""
    return _gauss_newton_by_autograd(outputs, bend, at, V, _batched)


def reverse_one_by_one(outputs: Callable, bend: Callable, at: Params, V: Vectors) -> Vectors:
    """``J v`` as the derivative in u of ``<J'u, v>``, a vector at a time."""
    return _gauss_newton_by_autograd(outputs, bend, at, V, _looped)


def _gauss_newton_by_autograd(outputs, bend, at, V, backward):
    leaves = _leaves(at)
    with torch.enable_grad(), differentiable_twice():
        f = outputs(leaves)
        u = torch.zeros_like(f, requires_grad=True)
        slopes = torch.autograd.grad(
            f, list(leaves.values()), u, create_graph=True, materialize_grads=True
        )
        tangents = backward(slopes, {"f": u}, list(V.values()))["f"]
        return backward([f], leaves, [bend(f.detach())(tangents)])


GAUSS_NEWTON = (forward_then_reverse, reverse_twice, reverse_one_by_one)


def _leaves(at: Params) -> Vectors:
    return {name: p.detach().requires_grad_() for name, p in at.items()}


def _batched(values, leaves: Params, cotangents: Sequence[Tensor]) -> Vectors:
    return _gradients(values, leaves, cotangents, is_grads_batched=True)


def _looped(values, leaves: Params, cotangents: Sequence[Tensor]) -> Vectors:
    one = [_gradients(values, leaves, each) for each in zip(*cotangents, strict=True)]
    return {name: torch.stack([found[name] for found in one]) for name in leaves}


def _gradients(values, leaves, cotangents, **options):
    # A value without a graph is constant in the leaves.
    used = [(f, u) for f, u in zip(values, cotangents, strict=True) if f.requires_grad]
    if not used:
        lead = cotangents[0].shape[:1] if options else ()
        return {name: p.new_zeros(*lead, *p.shape) for name, p in leaves.items()}
    found = torch.autograd.grad(
        [f for f, _ in used],
        list(leaves.values()),
        [u for _, u in used],
        retain_graph=True,
        allow_unused=True,
        **options,
    )
    lead = cotangents[0].shape[:1] if options else ()
    return {
        name: p.new_zeros(*lead, *p.shape) if g is None else g.detach()
        for (name, p), g in zip(leaves.items(), found, strict=True)
    }
