"""From a fitted support vector machine to its problems."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.svm import SVC, SVR, NuSVC, NuSVR, OneClassSVM

from skinfluence.deletion.base import Array
from skinfluence.deletion.svm.kernel import Indices, Kernel, KernelRows
from skinfluence.deletion.svm.problems import (
    Margin,
    NuMargin,
    NuTube,
    OneClass,
    Problem,
    Tube,
    boxes,
)
from skinfluence.objectives.encoding import class_positions, real_targets
from skinfluence.objectives.rebalance import Rebalance

# The machines that are read.
MACHINES = (SVC, NuSVC, SVR, NuSVR, OneClassSVM)


@dataclass(frozen=True)
class Machine:
    """A fitted support vector machine, taken apart.

    Parameters
    ----------
    model : estimator
    kernel : Kernel
    problems : list of Problem
        One, or one a pair of classes in the order of ``decision_function_shape="ovo"``.
    classes : ndarray of shape (n_classes,) or None
    pairs : list of tuple of int
        Positive and negative class of each problem; empty without classes.
    codes : ndarray of int of shape (n_train,)
        Class of each training row; -1 for rows of no weight, and without classes.
    """

    model: Any
    kernel: Kernel
    problems: list[Problem]
    classes: NDArray[Any] | None
    pairs: list[tuple[int, int]]
    codes: Indices


@dataclass(frozen=True)
class _Rows:
    """Training rows that carry weight, and what the fit says of them."""

    positions: Indices
    weights: Array
    dual: Array  # (n_machines, n) as in dual_coef_, zeros for other rows
    kernel: Kernel


def read_machine(
    model: Any, X: Any, y: Any, sample_weight: Array | None, *, fixed_class_weights: bool = False
) -> Machine:
    """Problems of a fitted machine.

    Parameters
    ----------
    model : SVC, NuSVC, SVR, NuSVR or OneClassSVM
        Fitted.
    X : ndarray or sparse array of shape (n_train, p)
        The rows it was fitted on; the kernel matrix of the training rows where it is precomputed.
    y : array-like of shape (n_train,) or None
    sample_weight : ndarray of shape (n_train,) or None
    fixed_class_weights : bool, default=False
        Hold "balanced" class weights where they are.

    Raises
    ------
    ValueError
        If the machine keeps other rows than these, or the nu-form has no tube.
    UnsupportedEstimatorError
        If the kernel has negative eigenvalues on these rows.
    """
    kernel = Kernel(model, X)
    rows = _kept_rows(model, X, sample_weight, kernel)
    if isinstance(model, SVC | NuSVC):
        codes = class_positions(y, model.classes_)
        rebalance = None
        if isinstance(model, SVC) and isinstance(model.class_weight, str):
            rebalance = Rebalance(codes, np.ones(len(codes)))
        if fixed_class_weights:
            rebalance = None
        problems = _pairs(model, rows, codes, rebalance)
        pairs = pairs_of(len(model.classes_))
        held = np.full(len(codes), -1, dtype=np.intp)
        held[rows.positions] = codes[rows.positions]
        return Machine(model, kernel, problems, model.classes_, pairs, held)
    kernel_rows = KernelRows(kernel, rows.positions)
    none = np.full(kernel.n_train, -1, dtype=np.intp)
    if isinstance(model, OneClassSVM):
        return Machine(model, kernel, [_one_class(model, rows, kernel_rows)], None, [], none)
    targets = real_targets(y, 1)[rows.positions]
    build = _nu_tube if isinstance(model, NuSVR) else _tube
    return Machine(model, kernel, [build(model, rows, kernel_rows, targets)], None, [], none)


def _kept_rows(model, X, sample_weight, kernel):
    n_train = X.shape[0]
    if model.shape_fit_[0] != n_train:
        raise ValueError(
            f"X has {n_train} rows, and {type(model).__name__} was fitted on "
            f"{model.shape_fit_[0]}. Pass the rows it was fitted on."
        )
    weights = np.ones(n_train) if sample_weight is None else sample_weight
    # libsvm drops rows of weight 0 before it numbers the others.
    positions = np.flatnonzero(weights > 0)
    found = positions[np.minimum(model.support_, len(positions) - 1)]
    if kernel.name in ("precomputed", "callable") and (found != model.support_).any():
        raise ValueError(
            f"Some rows have weight 0, and with a {kernel.name} kernel {type(model).__name__} "
            "reads the wrong columns of the kernel matrix then: it numbers its support vectors "
            "without them. Leave these rows out and refit."
        )
    _check_stored(model, X, found, kernel)
    dual = model.dual_coef_
    dual = dual.toarray() if sparse.issparse(dual) else np.asarray(dual)
    every = np.zeros((dual.shape[0], n_train))
    every[:, found] = dual
    return _Rows(positions, weights[positions], every[:, positions], kernel)


def _check_stored(model, X, support, kernel):
    """Refuse rows that are not those that the machine keeps."""
    if kernel.name in ("precomputed", "callable"):
        return
    stored, given = model.support_vectors_, X[support]
    if sparse.issparse(stored) or sparse.issparse(given):
        worst = (
            abs(sparse.csr_array(stored) - sparse.csr_array(given)).max() if len(support) else 0
        )
    else:
        worst = np.abs(stored - given).max(initial=0.0)
    size = abs(stored).max() if len(support) else 0.0
    if worst > 1e-6 * size:
        raise ValueError(
            f"The support vectors that {type(model).__name__} keeps are not among these rows at "
            "the positions it names, so other rows, another order of them, or other sample "
            "weights trained it. Pass X and sample_weight as they were passed to fit."
        )


def pairs_of(n_classes: int) -> list[tuple[int, int]]:
    """Positive and negative class of each problem, in libsvm's order.

    Of two classes scikit-learn turns the sign, so that the second is the positive one.
    """
    if n_classes == 2:
        return [(1, 0)]
    return list(combinations(range(n_classes), 2))


def _pairs(model, rows, codes, rebalance):
    """One problem a pair of classes."""
    own = codes[rows.positions]
    weights = _class_weights(model)
    problems: list[Problem] = []
    for pair in pairs_of(len(weights)):
        inside = np.flatnonzero(np.isin(own, pair))
        share = 2.0 * len(inside) / (len(weights) * len(own))
        kernel = KernelRows(rows.kernel, rows.positions[inside], min(1.0, share))
        part = _Rows(
            rows.positions[inside],
            rows.weights[inside],
            _dual_of(rows.dual[:, inside], own[inside], *sorted(pair))[None],
            rows.kernel,
        )
        side = np.where(own[inside] == pair[0], 1.0, -1.0)
        if isinstance(model, NuSVC):
            problems.append(_nu_margin(model, part, kernel, side))
        else:
            limits = part.weights * weights[own[inside]]
            problems.append(_margin(model, part, kernel, side, limits, rebalance))
    return problems


def _dual_of(dual, own, first, second):
    """Coefficients of the rows of a pair: row l of `dual` is against the l-th other class."""
    return np.where(own == first, dual[second - 1], dual[first])


def _class_weights(model):
    weights = getattr(model, "class_weight_", None)
    return np.ones(len(model.classes_)) if weights is None else np.asarray(weights)


def _margin(model, rows, kernel, side, limits, rebalance):
    programme = boxes(kernel, sides=side, limits=model.C * limits, p=side.copy(), c=np.zeros(1))
    return Margin(rows.positions, rows.weights, programme, rows.dual[0], rebalance)


def _nu_margin(model, rows, kernel, side):
    # libsvm's nu-form leaves class weights alone, and divides by the margin at the end.
    total = model.nu * rows.weights.sum()
    programme = boxes(
        kernel,
        sides=side,
        limits=rows.weights.copy(),
        p=np.zeros(len(side)),
        c=0.5 * total * np.array([1.0, -1.0]),
        group=(side < 0).astype(np.intp),
    )
    fitted = rows.dual[0] * (total / np.abs(rows.dual[0]).sum())
    return NuMargin(rows.positions, rows.weights, programme, fitted, model.nu)


def _tube(model, rows, kernel, y):
    n, limits, beta = len(y), model.C * rows.weights, rows.dual[0]
    if model.epsilon == 0:
        # Both variables of a row would be the same one.
        programme = boxes(kernel, sides=np.ones(n), limits=limits, p=y.copy(), c=np.zeros(1))
        programme.lo = -limits
        return Tube(rows.positions, rows.weights, programme, beta)
    programme = boxes(
        kernel,
        sides=np.repeat([1.0, -1.0], n),
        limits=np.tile(limits, 2),
        p=np.concatenate([y - model.epsilon, y + model.epsilon]),
        c=np.zeros(1),
    )
    fitted = np.concatenate([np.maximum(beta, 0.0), np.minimum(beta, 0.0)])
    return Tube(rows.positions, rows.weights, programme, fitted)


def _nu_tube(model, rows, kernel, y):
    n, beta = len(y), rows.dual[0]
    total = model.nu * model.C * rows.weights.sum()
    if np.abs(beta).sum() < (1.0 - 1e-6) * total:
        raise ValueError(
            f"NuSVR(nu={model.nu}) fitted a tube of width 0: fewer rows than that share lie "
            "outside any other. Its coefficients are not unique then. Lower nu, or use "
            "SVR(epsilon=0)."
        )
    programme = boxes(
        kernel,
        sides=np.repeat([1.0, -1.0], n),
        limits=np.tile(model.C * rows.weights, 2),
        p=np.tile(y, 2),
        c=0.5 * total * np.array([1.0, -1.0]),
        group=np.repeat([0, 1], n),
    )
    fitted = np.concatenate([np.maximum(beta, 0.0), np.minimum(beta, 0.0)])
    return NuTube(rows.positions, rows.weights, programme, fitted, model.nu * model.C)


def _one_class(model, rows, kernel):
    total = model.nu * rows.weights.sum()
    n = len(rows.weights)
    programme = boxes(
        kernel,
        sides=np.ones(n),
        limits=rows.weights.copy(),
        p=np.zeros(n),
        c=np.array([total]),
    )
    return OneClass(rows.positions, rows.weights, programme, rows.dual[0], model.nu)


def last_of_their_class(codes: Indices) -> list[int]:
    """Rows that are all of a class that carries weight."""
    held = np.flatnonzero(codes >= 0)
    counts = np.bincount(codes[held])
    return held[counts[codes[held]] == 1].tolist()
