"""Modules with an evidence lower bound: variational auto-encoders and their like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.torch import faults
from skinfluence.torch.data import Batch, RowReader, Rows
from skinfluence.torch.losses import RowLoss
from skinfluence.torch.models.rows import row_weights
from skinfluence.torch.network import Network
from skinfluence.torch.objective import Draws, NetworkObjective
from skinfluence.torch.tracing.draws import PILOT, DrawnRows, with_noise, without_noise

# Method of the module whose gradient is taken, by how it is estimated.
METHODS = {"reparameterized": "elbo", "score": "elbo_score"}
# Rows and draws on which it is tried whether a module takes several draws at once. The numbers
# differ, so that noise cannot be broadcast the wrong way unnoticed.
ROWS, DRAWS = 3, 2


def read_elbo(
    module: nn.Module,
    X: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    params: str | Sequence[str] | None = None,
    gradient: str = "reparameterized",
) -> NetworkObjective:
    """Objective of a module that has ``elbo(x, noise) -> (b,)``, to be maximised.

    The row's loss is minus the mean of the bound over draws of standard normal noise. The network
    of the objective takes ``(x, noise)`` with noise (b, n_draws, \\*shape), and gives that mean,
    (b,). A module may take several draws of a row itself, with noise of the same shape, so that
    its encoder runs once; whether it does is tried on a few rows against one draw at a time.

    Parameters
    ----------
    module : nn.Module
        With ``noise_shape``, the shape of one draw for one row, or ``latent_dim``.
    X : array-like, Tensor, Dataset or DataLoader
    y : object
        Ignored, as unsupervised estimators do.
    sample_weight : array-like of shape (n,), default=None
    params : None, "last_layer" or sequence of str, default=None
        Which parameters are explained.
    gradient : {"reparameterized", "score"}, default="reparameterized"
        "score" takes the gradient of ``elbo_score(x, noise)`` instead: the same mean, and a
        variance that is larger by orders of magnitude.

    Returns
    -------
    objective : NetworkObjective
        Its rows hold no noise: :class:`skinfluence.torch.tracing.draws.DrawnRows` adds it.
    """
    method = _method_of(module, gradient)
    shape = _noise_shape(module)
    network = Network(module, params=params)
    read_rows = InputReader(network.dtype, network.device)
    rows = read_rows(X)
    bound = Bound(network.module, method, shared=False)
    network.module.forward = bound
    tried = DrawnRows(rows, Draws(shape, network.dtype, False), DRAWS, seed=0, stream=PILOT)
    network.as_columns(tried)
    _check_bound(bound, tried.take(slice(0, ROWS)))
    faults.check(network, NegativeBound(), tried)
    bound.shared = _takes_several(network, tried.take(slice(0, ROWS)))
    return NetworkObjective(
        network,
        NegativeBound(),
        rows,
        row_weights(sample_weight, rows.shape[0]),
        read_rows=read_rows.for_queries(rows),
        stochastic=Draws(shape, network.dtype, bound.shared),
    )


class NegativeBound(RowLoss):
    """Minus the bound, which is all that the network puts out, (b, 1)."""

    convex = False

    def __call__(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        return -outputs[:, 0]


class InputReader(RowReader):
    """A reader of rows that have no targets, whatever is passed as y."""

    def __call__(self, X: Any, y: Any = None) -> Rows:
        return super().__call__(X)


@dataclass(eq=False)
class Bound:
    """The forward of a module's copy: its bound, averaged over the draws of each row.

    It takes the place of the copy's own forward, so that parameters keep their names.

    Parameters
    ----------
    module : nn.Module
    method : str
        Name of the method that computes the bound.
    shared : bool
        Whether it takes all draws of a row at once.
    """

    module: nn.Module
    method: str
    shared: bool

    def __call__(self, *args: Tensor, **kwargs: Tensor) -> Tensor:
        inputs, noise = without_noise(Batch(args, None, kwargs))
        b, m = noise.shape[:2]
        if m == 1:
            return self._of(inputs, noise[:, 0])
        if self.shared:
            return self._of(inputs, noise)
        repeated = inputs.map(lambda x: x[:, None].expand(b, m, *x.shape[1:]).flatten(0, 1))
        return self._of(repeated, noise.flatten(0, 1)).view(b, m).mean(1)

    def _of(self, inputs: Batch, noise: Tensor) -> Tensor:
        batch, size = with_noise(inputs, noise), len(noise)
        found = getattr(self.module, self.method)(*batch.args, **batch.kwargs)
        if not isinstance(found, Tensor) or found.shape != (size,):
            kind = f"a {type(found).__name__}"
            if isinstance(found, Tensor):
                kind = f"a tensor of shape {tuple(found.shape)}"
            raise NoBound(
                f"{type(self.module).__name__}.{self.method} returned {kind} for {size} rows, "
                f"and the bound of each row is needed, a tensor of shape ({size},). Sum over "
                "dimensions and pixels, and leave the mean over rows out."
            )
        return found


class NoBound(ValueError):
    """What a module returns is no bound of each row."""


def _method_of(module: nn.Module, gradient: str) -> str:
    if gradient not in METHODS:
        raise ValueError(
            f"gradient={gradient!r} is none of {', '.join(map(repr, METHODS))}. Leave the "
            "default, which has the smaller variance."
        )
    method, name = METHODS[gradient], type(module).__name__
    if not callable(getattr(module, "elbo", None)):
        raise UnsupportedEstimatorError(
            f"{name} has no method elbo(x, noise), so that its bound is not known. Give it one "
            "that returns the bound of each row, (n_rows,), to be maximised."
        )
    if not callable(getattr(module, method, None)):
        raise UnsupportedEstimatorError(
            f"{name} has no method {method}(x, noise), which gradient={gradient!r} "
            "differentiates. Give it one, or leave gradient='reparameterized'."
        )
    return method


def _noise_shape(module: nn.Module) -> tuple[int, ...]:
    shape = getattr(module, "noise_shape", None)
    if shape is None:
        shape = getattr(module, "latent_dim", None)
    if shape is None:
        raise UnsupportedEstimatorError(
            f"{type(module).__name__} does not say what noise its elbo takes. Give it an "
            "attribute noise_shape, the shape of one draw for one row, e.g. (16,), or latent_dim."
        )
    return tuple(map(int, shape)) if isinstance(shape, Sequence) else (int(shape),)


def _check_bound(bound: Bound, batch: Batch) -> None:
    """Refuse methods that do not take noise, do not use it, or return no bound of each row."""
    name = f"{type(bound.module).__name__}.{bound.method}"
    _check_arguments(bound, batch, name)
    with torch.no_grad():
        try:
            once, again = (bound(*batch.args, **batch.kwargs) for _ in range(2))
        except NoBound:
            raise
        except faults.FAILURES:
            return  # which is said with the rows, like that of any forward
    if not torch.equal(once.nan_to_num(), again.nan_to_num()):
        raise ValueError(
            f"{name} gives other values for the same rows and the same noise: it draws numbers of "
            "its own. Let it take them from its second argument, and have dropout follow the mode."
        )


def _check_arguments(bound: Bound, batch: Batch, name: str) -> None:
    inputs, noise = without_noise(batch)
    call = with_noise(inputs, noise[:, 0])
    try:
        arguments = signature(getattr(bound.module, bound.method))
    except (TypeError, ValueError):  # scripted methods have none
        return
    try:
        arguments.bind(*call.args, **call.kwargs)
    except TypeError as error:
        shape = ", ".join(map(str, ("n_rows", *noise.shape[2:])))
        raise ValueError(
            f"{name} has the arguments {arguments}, and is called as {bound.method}(x, noise) "
            f"({error}). Give it noise, ({shape}) of standard normal numbers, in the place of "
            "draws of its own."
        ) from None


def _takes_several(network: Network, batch: Batch) -> bool:
    """Whether several draws of a row at once give the mean of those draws one by one."""
    bound: Any = network.module.forward
    with torch.no_grad():
        apart = network.outputs(batch)
        bound.shared = True
        try:
            together = network.outputs(batch)
        except faults.FAILURES:
            return False
        finally:
            bound.shared = False
    allowed = faults.ROUNDING.get(network.dtype, faults.COARSE) * (1.0 + apart.abs().max())
    return bool(((together - apart).abs() <= allowed).all())
