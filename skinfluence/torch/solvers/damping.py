"""How much is added to the eigenvalues of a curvature that is not known to be definite."""

from __future__ import annotations

from skinfluence.torch.curvature import Curvature

# Share of the mean eigenvalue.
SHARE = 0.1


def automatic_damping(curvature: Curvature) -> float:
    """Damping where none was asked for and no matrix is formed, in units of a mean loss.

    None where a penalty on every explained parameter keeps a positive semidefinite curvature
    definite; otherwise a tenth of the mean eigenvalue, as is common for Kronecker-factored
    curvatures [1]_.

    References
    ----------
    .. [1] R. Grosse et al. (2023), Studying large language model generalization with influence
       functions, section 2.2.
    """
    decay = curvature.objective.decay
    if curvature.psd and decay is not None and bool((decay > 0).all()):
        return 0.0
    return share_of_mean(curvature.trace(), curvature.n_params, curvature.objective.total_weight)


def share_of_mean(trace: float, n_params: int, total_weight: float) -> float:
    """A tenth of the mean eigenvalue, in units of a mean loss."""
    return max(SHARE * float(trace) / (n_params * total_weight), 0.0)
