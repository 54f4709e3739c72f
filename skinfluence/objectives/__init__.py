"""What a fitted estimator minimised: one family of estimators a file, found by a registry."""

from skinfluence.objectives import (  # noqa: F401  (they register themselves)
    elastic_net,
    glm,
    huber,
    logistic,
    meta,
    quantile,
    ridge,
    sgd,
    svm,
)
from skinfluence.objectives.objective import Objective, build, build_all
from skinfluence.objectives.problem import LinearFit, Problem
from skinfluence.objectives.registry import Reader, Rows, reader_of, register, registered

__all__ = [
    "LinearFit",
    "Objective",
    "Problem",
    "Reader",
    "Rows",
    "build",
    "build_all",
    "reader_of",
    "register",
    "registered",
]
