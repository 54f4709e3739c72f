"""Kronecker-factored curvature: K-FAC and EK-FAC."""

from __future__ import annotations

from os import PathLike
from typing import Literal

import torch
from torch import Tensor

from skinfluence.torch.curvature.base import Curvature
from skinfluence.torch.curvature.convexity import require_curved
from skinfluence.torch.curvature.kfac_blocks import EigenBlock
from skinfluence.torch.curvature.kfac_fit import FactorFit
from skinfluence.torch.curvature.kfac_inverse import EigenInverse
from skinfluence.torch.curvature.kfac_roots import ROOTS
from skinfluence.torch.objective import NetworkObjective
from skinfluence.torch.resume import NoRecord, Record, check_functions, fingerprint

# Sums whose eigenvectors EK-FAC can take.
BASES = {"marginal": "marginal", "kfac": "kronecker"}


class Kfac(Curvature):
    """Gauss-Newton matrix with one block a layer, each ``B (x) A``: K-FAC [1]_ [2]_.

    For a linear map with inputs a (its bias's constant 1 joined to them) and derivatives delta of
    the outputs, ``A = mean a a'`` and ``B = sum w_i sum_c delta_ic delta_ic'``, where the c run
    over a square root of the loss's Hessian in the network's outputs: the exact generalised
    Gauss-Newton matrix, which is the expected Fisher matrix of cross entropy, with neither sampled
    labels nor cross terms between classes. What is lost against
    :class:`~skinfluence.torch.GaussNewton` are the blocks between layers, and the
    correlation of a and delta over rows; one linear layer under squared error loses nothing.
    Weights of a sequence or a convolution count every position as a row; layers used several
    times, every use.

    Parameters of other layers (normalisation, embeddings, what is formed row by row) have a dense
    block of the Gauss-Newton matrix while it has at most 2,000 of them, and its diagonal beyond.

    Parameters
    ----------
    objective : NetworkObjective
        What the network was trained to minimise, as the explainer hands it over.
    fisher : {"expected", "empirical"}, default="expected"
        Derivatives of the outputs under the loss's Hessian, or the gradient at the row's own
        label. The second is one backward pass, and another matrix: where the model fits its rows
        the gradients vanish, and it with them.
    resume : path-like or None, default=None
        Directory in which sums over finished blocks of rows are recorded, and continued from.
    progress : bool, default=False
        Show a tqdm bar.

    Attributes
    ----------
    layer_blocks : list of EigenBlock
        With the penalty.
    gradients : RowGradients
        Of the rows' losses: it knows which layers have factors.

    See Also
    --------
    Ekfac : The nearest matrix with the same eigenvectors, for one more pass over the rows.
    GaussNewton : What is approximated.

    Notes
    -----
    A penalty that differs between the parameters of a layer (a bias without one) is no multiple
    of the identity there; its diagonal in the factors' basis is kept.

    References
    ----------
    .. [1] J. Martens & R. Grosse (2015), Optimizing neural networks with Kronecker-factored
       approximate curvature, ICML.
    .. [2] R. Grosse & J. Martens (2016), A Kronecker-factored approximate Fisher matrix for
       convolution layers, ICML.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> from skinfluence import InfluenceExplainer
    >>> from skinfluence.torch import Kfac
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier((3,), alpha=0.1, solver="lbfgs", max_iter=2000, random_state=0)
    >>> net = net.fit(X, y)
    >>> first, second = (
    ...     InfluenceExplainer(net, curvature=kind, damping=0.01).fit(X, y).self_influence()
    ...     for kind in (Kfac, "ggn")
    ... )
    >>> bool(np.corrcoef(first, second)[0, 1] > 0.5)
    True
    """

    psd = True

    def __init__(
        self,
        objective: NetworkObjective,
        *,
        fisher: Literal["expected", "empirical"] = "expected",
        resume: str | PathLike[str] | None = None,
        progress: bool = False,
    ):
        super().__init__(objective)
        if fisher not in ROOTS:
            raise ValueError(
                f"fisher={fisher!r} is none of {', '.join(map(repr, ROOTS))}. The first is the "
                "Gauss-Newton matrix; the second takes the gradients of the rows' own labels."
            )
        if fisher == "expected":
            require_curved(objective)
        record = NoRecord()
        if resume is not None:
            record = Record(resume, fingerprint(objective, fisher=fisher, **self._options()))
            check_functions(record, objective)
        fit = FactorFit(objective, fisher, record=record, progress=progress)
        self.gradients = fit.gradients
        self.layer_blocks = [self._penalised(block) for block in self._fit(fit)]

    def _fit(self, fit: FactorFit) -> list[EigenBlock]:
        return fit.blocks()

    def _options(self) -> dict[str, str]:
        """What the sums depend on beside the objective."""
        return {"kind": "kfac"}

    def _penalised(self, block: EigenBlock) -> EigenBlock:
        """The penalty's c added to the eigenvalues, exactly where it is the same for all."""
        penalty = self.objective.penalty_curvature()
        if penalty is None:
            return block
        parts = self.network.split(penalty[None])
        own = torch.cat([parts[name].flatten() for name in block.names])
        same = bool((own == own[0]).all())
        added = own[0] if same else block.rotated_diagonal(parts)
        return block.with_values(block.values + added, penalty="exact" if same else "mean")

    def __call__(self, V: Tensor) -> Tensor:
        parts, found = self.network.split(V), torch.empty_like(V)
        for block in self.layer_blocks:
            for name, values in block.back(block.values * block.rotate(parts)).items():
                found[:, self.network.spans[name]] = values.flatten(1)
        return found

    def diagonal(self) -> Tensor:
        """Diagonal of the matrix, (p,), exact."""
        found = torch.empty_like(self.network.theta)
        for block in self.layer_blocks:
            for name, values in block.diagonal().items():
                found[self.network.spans[name]] = values.flatten()
        return found

    def trace(self) -> float:
        """Sum of the eigenvalues; that of the Gauss-Newton matrix itself for :class:`Ekfac`."""
        return float(sum(block.values.double().sum() for block in self.layer_blocks))

    def inverse(self, damping: float) -> EigenInverse:
        """Invert with ``W damping`` added to every eigenvalue, exactly for this matrix.

        Parameters
        ----------
        damping : float
            In units of a mean loss.

        Returns
        -------
        inverse : EigenInverse
            Without damping a pseudo-inverse.
        """
        total = self.objective.total_weight
        return EigenInverse(self.network, self.layer_blocks, total_weight=total, damping=damping)


class Ekfac(Kfac):
    """Kronecker eigenvectors with the Gauss-Newton matrix's own diagonal in them: EK-FAC [1]_.

    ``lambda = sum_i w_i sum_c (Q' g_ic)^2``: of all matrices with these eigenvectors, the nearest
    to each layer's block. Its trace is that of the Gauss-Newton matrix.

    Parameters
    ----------
    objective : NetworkObjective
        What the network was trained to minimise, as the explainer hands it over.
    basis : {"marginal", "kfac"}, default="marginal"
        Whose eigenvectors: of the partial traces of each layer's block, in which rows count by
        their curvature, or of K-FAC's factors, in which they count alike. The second is the
        method as published; the first is nearer to the Gauss-Newton matrix at the same cost
        where layers are used once a row, and at some more in convolutions and sequences.
    fisher : {"expected", "empirical"}, default="expected"
        As in :class:`Kfac`.
    resume : path-like or None, default=None
        Directory in which sums over finished blocks of rows are recorded, and continued from.
    progress : bool, default=False
        Show a tqdm bar.

    Attributes
    ----------
    layer_blocks : list of EigenBlock
        With the penalty.
    gradients : RowGradients
        Of the rows' losses: it knows which layers have factors.

    See Also
    --------
    Kfac : One pass over the rows less.
    GaussNewton : What is approximated.

    References
    ----------
    .. [1] T. George, C. Laurent, X. Bouthillier, N. Ballas & P. Vincent (2018), Fast approximate
       natural gradient descent in a Kronecker-factored eigenbasis, NeurIPS.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> from skinfluence import InfluenceExplainer
    >>> from skinfluence.torch import Ekfac
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier((3,), alpha=0.1, solver="lbfgs", max_iter=2000, random_state=0)
    >>> net = net.fit(X, y)
    >>> first, second = (
    ...     InfluenceExplainer(net, curvature=kind, damping=0.01).fit(X, y).self_influence()
    ...     for kind in (Ekfac, "ggn")
    ... )
    >>> bool(np.corrcoef(first, second)[0, 1] > 0.9)
    True
    """

    def __init__(
        self,
        objective: NetworkObjective,
        *,
        basis: Literal["marginal", "kfac"] = "marginal",
        fisher: Literal["expected", "empirical"] = "expected",
        resume: str | PathLike[str] | None = None,
        progress: bool = False,
    ):
        if basis not in BASES:
            raise ValueError(f"basis={basis!r} is none of {', '.join(map(repr, BASES))}.")
        self.basis = basis
        super().__init__(objective, fisher=fisher, resume=resume, progress=progress)

    def _fit(self, fit: FactorFit) -> list[EigenBlock]:
        return fit.corrected(fit.blocks(BASES[self.basis]))

    def _options(self) -> dict[str, str]:
        return {"kind": "ekfac", "basis": self.basis}
