"""How much is added to the eigenvalues of a curvature that is not known to be definite."""

from __future__ import annotations

from typing import Any

import torch

from skinfluence.torch.curvature import Curvature

# Share of the mean eigenvalue.
SHARE = 0.1
# Random vectors of an estimated trace.
DRAWS = 16


def automatic_damping(curvature: Curvature) -> float:
    """Damping where none was asked for, in units of a mean loss.

    None where a penalty on every explained parameter keeps the curvature definite; otherwise a
    tenth of its mean eigenvalue, as is common for Kronecker-factored curvatures [1]_.

    References
    ----------
    .. [1] R. Grosse et al. (2023), Studying large language model generalization with influence
       functions, section 2.2.
    """
    decay = curvature.objective.decay
    if decay is not None and bool((decay > 0).all()):
        return 0.0
    mean = mean_eigenvalue(curvature) / curvature.objective.total_weight
    return max(SHARE * mean, 0.0)


def mean_eigenvalue(curvature: Curvature) -> float:
    """Trace over p, estimated by seeded random signs where the curvature has no better way."""
    own: Any = getattr(curvature, "trace", None)
    if callable(own):
        return float(own()) / curvature.n_params
    theta = curvature.network.theta
    draw = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (DRAWS, curvature.n_params), generator=draw) * 2.0 - 1.0
    V = signs.to(theta.device, theta.dtype)
    return float((V.double() * curvature(V).double()).sum(1).mean()) / curvature.n_params
