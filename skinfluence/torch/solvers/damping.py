"""How much is added to the eigenvalues of a curvature that is not known to be definite."""

from __future__ import annotations

from skinfluence.torch.curvature import Curvature

# Share of the mean eigenvalue.
SHARE = 0.1


def automatic_damping(curvature: Curvature) -> float:
    """Damping where none was asked for and no matrix is formed, in units of a mean loss.

    A tenth of the mean eigenvalue, as is common for Kronecker-factored curvatures [1]_. A penalty
    on every explained parameter of a positive semidefinite curvature counts: what is added is
    what its smallest weight decay falls short of that, often nothing. (A decay of 1e-4 makes a
    matrix definite, and conjugate gradients still do not converge.)

    References
    ----------
    .. [1] R. Grosse et al. (2023), Studying large language model generalization with influence
       functions, section 2.2.
    """
    objective = curvature.objective
    share = share_of_mean(curvature.trace(), curvature.n_params, objective.total_weight)
    held = 0.0
    if curvature.psd and objective.decay is not None:
        held = float(objective.decay.min())
    return max(share - held, 0.0)


def share_of_mean(trace: float, n_params: int, total_weight: float) -> float:
    """A tenth of the mean eigenvalue, in units of a mean loss."""
    return max(SHARE * float(trace) / (n_params * total_weight), 0.0)
