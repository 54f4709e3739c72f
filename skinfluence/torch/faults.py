"""What makes a network's influence meaningless, found on a few rows before any work is done."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from skinfluence.torch.data import Batch, Rows
from skinfluence.torch.losses import RowLoss
from skinfluence.torch.network import Network

# Rows that are tried, and how many of them alone.
PROBE, ALONE = 8, 3
# Rows that are run together where all are.
BLOCK = 256
# Relative differences that rounding explains: sums in another order, kernels chosen by batch size,
# which on a GPU may keep 10 bits only.
ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-4}
COARSE = 1e-2
# What a forward raises on rows that it cannot take.
FAILURES = (
    RuntimeError,
    TypeError,
    ValueError,
    IndexError,
    KeyError,
    AttributeError,
    AssertionError,
)


def check(network: Network, loss: RowLoss, rows: Rows) -> tuple[str, ...]:
    """Run a network on a few rows, and refuse what would give wrong numbers.

    Parameters
    ----------
    network : Network
    loss : RowLoss
    rows : Rows
        Training rows.

    Returns
    -------
    unused : tuple of str
        Explained parameters that none of the rows tried depends on. A warning names those that
        are not part of the computation at all.

    Raises
    ------
    ValueError
        If the forward fails on integers, does not return a tensor with a row for each row, returns
        NaN, changes its state or its inputs, differs from one call to the next, lets rows see each
        other, or has no gradient.
    """
    batch, outputs = check_forward(network, rows)
    with torch.no_grad():
        losses = _losses(loss, outputs, batch.y)
    _check_finite(losses, "loss", losses.isfinite())
    return _unused(network, loss, batch)


def check_forward(network: Network, rows: Rows) -> tuple[Batch, Tensor]:
    """A few rows and the outputs at them, or what :func:`check` refuses without a loss."""
    # A copy: blocks of rows at hand are views of them.
    batch = rows.take(slice(0, PROBE)).map(torch.clone)
    with torch.no_grad():
        _check_state(network, batch)
        outputs = outputs_of(network, batch)
        _check_repeats(network, outputs, batch)
        _check_alone(network, outputs, batch)
    return batch, outputs


def check_values(
    network: Network, target: Callable[[Tensor, Tensor | None], Tensor], rows: Any, *, what: str
) -> None:
    """Refuse rows at which what is asked about is no number: one forward over all of them.

    Parameters
    ----------
    network : Network
    target : callable
        A loss, or another value of each row.
    rows : Rows or Queries
    what : str
        What the values are called in messages.

    Raises
    ------
    ValueError
        If the forward fails at a row, or its value or slope is NaN or infinite; it names the
        rows.
    """
    n = rows.shape[0]
    found = []
    with torch.no_grad():
        for start in range(0, n, BLOCK):
            batch = rows.take(slice(start, min(start + BLOCK, n)))
            found.append(target(outputs_at(network, batch, start), batch.y).detach())
            _check_inputs(batch, ~found[-1].isfinite(), start)
            if bool(found[-1].isfinite().all()):  # else the values are refused below
                _check_slopes(network, target, batch, start)
    values = torch.cat(found) if found else torch.zeros(0)
    _check_finite(values, what, values.isfinite())


def outputs_at(network: Network, batch: Batch, start: int) -> Tensor:
    """Outputs of rows from number `start` on, or the row at which there are none."""
    try:
        return network.outputs(batch)
    except FAILURES:
        for i in range(batch.size):
            try:
                network.outputs(batch[i : i + 1])
            except FAILURES as own:
                error, start = own, start + i
                break
        raise ValueError(
            f"The forward fails at row {start}: {_first_line(error)}. Pass rows as in training; "
            "a whole number must be a position in the table of its embedding."
        ) from error


def _check_slopes(
    network: Network, target: Callable[[Tensor, Tensor | None], Tensor], batch: Batch, start: int
) -> None:
    """Refuse rows with NaN or infinity among their inputs, unless the module is made for them."""
    bad = torch.zeros(batch.size, dtype=torch.bool)
    for i in _odd(batch).nonzero()[:, 0].tolist():
        row = batch[i : i + 1]
        leaves = {name: p.clone().requires_grad_() for name, p in network.params().items()}
        with torch.enable_grad():
            value = target(network.outputs(row, leaves), row.y).sum()
        if not value.requires_grad:
            continue
        slopes = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
        bad[i] = not all(bool(slope.isfinite().all()) for slope in slopes if slope is not None)
    _check_inputs(batch, bad, start)


def _odd(batch: Batch) -> Tensor:
    """Which rows have NaN or infinity among their inputs, (b,)."""
    odd = torch.zeros(batch.size, dtype=torch.bool)
    for x in batch.inputs:
        if x.is_floating_point():
            odd |= ~x.reshape(batch.size, -1).isfinite().all(1).cpu()
    return odd


def _check_inputs(batch: Batch, failed: Tensor, start: int = 0) -> None:
    """Say that the inputs are to blame, for rows at which there is no value or slope."""
    if not bool(failed.any()):
        return
    bad = [str(start + i) for i in (_odd(batch) & failed.cpu()).nonzero()[:, 0].tolist()]
    if bad:
        raise ValueError(
            f"X holds NaN or infinity at row{'s' if len(bad) > 1 else ''} {_some(bad)}, where the "
            "network has no derivative. Leave such rows out, or fill in what is missing."
        )


def outputs_of(network: Network, batch: Batch, *, finite: bool = True) -> Tensor:
    """Outputs of some rows, or what is wrong with them; with `finite` also that they are NaN."""
    outputs = _run(network, batch)
    _check_outputs(network, outputs, batch)
    good = outputs.isfinite().flatten(1).all(1)
    _check_inputs(batch, ~good)
    if finite:
        _check_finite(outputs, "output", good)
    return outputs


def _run(network: Network, batch: Batch) -> Any:
    """Outputs, or the reason why there are none where it is a known one."""
    try:
        return network.outputs(batch)
    except FAILURES as error:
        whole = [x.dtype for x in batch.inputs if not x.is_floating_point()]
        if whole:
            raise ValueError(
                f"The forward fails on inputs of type {whole[0]} ({_first_line(error)}). Integers "
                "and booleans stay what they are, for embeddings, whose table they must not "
                "exceed; if the module takes numbers, pass "
                f'X.astype("{str(network.dtype).rpartition(".")[2]}").'
            ) from error
        raise ValueError(
            f"The forward fails on the first {batch.size} rows: {_first_line(error)}. Pass X as "
            "the module takes it: rows first, several inputs as a tuple or a dict."
        ) from error


def _losses(loss: RowLoss, outputs: Tensor, y: Tensor | None) -> Tensor:
    try:
        return loss(outputs, y)
    except (RuntimeError, IndexError, TypeError) as error:
        targets = "no y" if y is None else f"y of shape {tuple(y.shape)} and type {y.dtype}"
        raise ValueError(
            f"The loss fails on outputs of shape {tuple(outputs.shape)} and {targets}: "
            f"{_first_line(error)}. Pass y as in training, or the loss that was trained on."
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def _check_outputs(network: Network, outputs: Any, batch: Batch) -> None:
    name = type(network.module).__name__
    if not isinstance(outputs, Tensor):
        raise ValueError(
            f"{name} returns a {type(outputs).__name__}, and one tensor is needed. Wrap it in a "
            "Module whose forward picks that tensor, e.g. self.inner(x).logits or "
            "self.inner(x)[0]."
        )
    if not outputs.ndim or len(outputs) != batch.size:
        raise ValueError(
            f"{name} returns shape {tuple(outputs.shape)} for {batch.size} rows, and outputs need "
            "one row for each. Wrap it so that rows come first, and keep the loss out of it."
        )
    if outputs.dtype != network.dtype:
        raise ValueError(
            f"{name} has parameters of type {network.dtype} and returns {outputs.dtype}. Take "
            "autocast (there or around this call), rounding and argmax away: derivatives go "
            "through outputs."
        )


def _check_finite(values: Tensor, what: str, good: Tensor) -> None:
    bad = torch.nonzero(~good)[:, 0].tolist()
    if bad:
        raise ValueError(
            f"The {what} is {float(values[bad[0]].flatten()[0]):.3g} or holds such a number at "
            f"row{'s' if len(bad) > 1 else ''} {_some([*map(str, bad)])}, where it has no "
            "derivative. Leave such rows out, or see whether training diverged."
        )


def _check_state(network: Network, batch: Batch) -> None:
    """Refuse forwards that write into buffers, parameters or inputs."""
    before = {name: value.clone() for name, value in _state(network).items()}
    inputs = batch.map(torch.clone)
    _run(network, inputs)
    after = _state(network)
    # A table that the first forward fills in and keeps is no harm.
    changed = [name for name in before if name in after and _differ(after[name], before[name])]
    if changed:
        raise ValueError(
            f"The forward of {type(network.module).__name__} changes {_some(changed)} in "
            "evaluation mode, so that results depend on what was asked before. Guard the update "
            "with `if self.training`."
        )
    if any(_differ(a, b) for a, b in zip(inputs.inputs, batch.inputs, strict=True)):
        raise ValueError(
            f"The forward of {type(network.module).__name__} changes its input in place, and so "
            "the training rows. Write x = x / 255 instead of x /= 255."
        )


def _state(network: Network) -> dict[str, Tensor]:
    return {**dict(network.module.named_parameters()), **dict(network.module.named_buffers())}


def _differ(a: Tensor, b: Tensor) -> bool:
    return not torch.equal(a.nan_to_num(), b.nan_to_num())


def _check_repeats(network: Network, outputs: Tensor, batch: Batch) -> None:
    gap = _gap(network.outputs(batch), outputs)
    if gap > ROUNDING[network.dtype]:
        raise ValueError(
            f"Two forwards of {type(network.module).__name__} on the same rows differ by "
            f"{100 * gap:.2g} % of the outputs, though it is in evaluation mode. Dropout or noise "
            "that does not follow the mode (F.dropout without training=self.training), or a "
            "hidden state that is kept: switch it off."
        )


def _check_alone(network: Network, outputs: Tensor, batch: Batch) -> None:
    """Refuse networks in which a row's output depends on the rows beside it."""
    coarse = network.device.type != "cpu" and network.dtype == torch.float32
    allowed = COARSE if coarse else ROUNDING[network.dtype]
    for i in range(min(ALONE, batch.size)):
        try:
            alone = network.outputs(batch[i : i + 1])
        except FAILURES as error:
            raise ValueError(
                f"The forward fails on row {i} alone ({_first_line(error)}), so that rows see "
                "each other. Use batch normalisation with running statistics, and nothing else "
                "that needs several rows."
            ) from error
        if isinstance(alone, Tensor) and alone.shape != (1, *outputs.shape[1:]):
            raise ValueError(
                f"{type(network.module).__name__} returns shape {tuple(alone.shape)} for one row "
                f"and {tuple(outputs.shape)} for {batch.size}: squeeze() without an axis, or a "
                "reshape, drops that of the rows. Name the axis: squeeze(-1)."
            )
        gap = _gap(alone, outputs[i : i + 1], outputs)
        if gap > allowed:
            raise ValueError(
                f"The output of row {i} differs by {100 * gap:.2g} % between that row alone and "
                f"a batch of {batch.size}: rows see each other (batch normalisation without "
                "running statistics, a softmax over rows, a recurrent layer that takes the axis "
                "of rows for time), and no row has a gradient of its own. Use statistics of the "
                "training rows, held fixed, and batch_first=True."
            )


def _gap(a: Any, b: Tensor, scale: Tensor | None = None) -> float:
    """Largest difference, relative to the largest output; infinite for another shape."""
    if a.shape != b.shape:
        return float("inf")
    size = float((b if scale is None else scale).abs().max())
    return float((a - b).abs().max()) / (size or 1.0)


def _unused(network: Network, loss: RowLoss, batch: Batch) -> tuple[str, ...]:
    leaves = {name: p.clone().requires_grad_() for name, p in network.params().items()}
    with torch.enable_grad():
        losses = loss(network.outputs(batch, leaves), batch.y)
        total = losses @ torch.linspace(1.0, 2.0, len(losses)).to(losses)
    if not losses.requires_grad:
        raise ValueError(
            f"No gradient reaches the parameters of {type(network.module).__name__} from its "
            "loss: the forward or the loss detaches them, or runs under no_grad. Take that out."
        )
    slopes = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    absent = [name for name, slope in zip(leaves, slopes, strict=True) if slope is None]
    zero = [
        name
        for name, slope in zip(leaves, slopes, strict=True)
        if slope is not None and not bool(slope.any())
    ]
    if absent:
        warnings.warn(
            f"The loss does not depend on {_some(absent)}: no training row has influence through "
            "them, and they only add to the memory. Leave them out by params=.",
            UserWarning,
            stacklevel=3,
        )
    return tuple(name for name in leaves if name in absent or name in zero)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
