"""All families of exact models: importing this module registers them."""

from __future__ import annotations

from typing import Any

from skinfluence.deletion.closed import (  # noqa: F401  (they register themselves)
    bayes_families,
    calibration,
    centroids,
    covariance,
    discriminant_families,
    dummy,
    factor_analysis,
    gaussian_bayes,
    gaussian_process,
    iterated,
    kernel_ridge,
    neighbours,
    pca,
)
from skinfluence.deletion.closed.base import Family, find_family, registered
from skinfluence.deletion.svm import family as svm  # noqa: F401
from skinfluence.exceptions import UnsupportedEstimatorError

__all__ = ["family_of", "find_family", "registered"]


def family_of(estimator: Any) -> Family:
    """The family of an estimator that has one."""
    family = find_family(estimator)
    if family is None:
        raise UnsupportedEstimatorError(
            f"{type(estimator).__name__} is no estimator whose deletions are exact. There are "
            f"{', '.join(sorted(cls.__name__ for cls in registered()))}."
        )
    return family
