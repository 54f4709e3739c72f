"""Who explains an estimator: asked of the explainers themselves, so that nothing is listed twice.

An explainer that does not refuse an estimator explains it. Whoever adds a reader or a family adds
a line here, without touching this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from skinfluence._peel import peel
from skinfluence.base import BaseInfluence
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.explainers.gmm import GMMInfluence
from skinfluence.explainers.influence import InfluenceExplainer
from skinfluence.explainers.kde import KDEInfluence
from skinfluence.explainers.knn import KNNInfluence
from skinfluence.explainers.shapley import KNNShapley
from skinfluence.explainers.tracin import TracInExplainer
from skinfluence.objectives import registered

# In the order of preference: deletions come before other questions.
EXPLAINERS: tuple[type[BaseInfluence], ...] = (
    KDEInfluence,
    GMMInfluence,
    KNNInfluence,
    InfluenceExplainer,
    KNNShapley,
    TracInExplainer,
)


@dataclass(frozen=True)
class Line:
    """What is known about one estimator before anything is fitted.

    Parameters
    ----------
    estimator : estimator
        Unfitted.
    explainers : tuple of type
        Those that take it, the first of them for deletions where there is one; empty where it is
        refused.
    wraps : bool
        Whether it is the estimator inside that is explained, as it would be alone.
    refusal : str or None
        What InfluenceExplainer says where nobody takes it: without torch, also of networks.
    """

    estimator: Any
    explainers: tuple[type[BaseInfluence], ...]
    wraps: bool
    refusal: str | None

    @property
    def name(self) -> str:
        """Name of the class."""
        return type(self.estimator).__name__

    @property
    def quadratic(self) -> bool:
        """Whether Newton steps are refits, as the objective is quadratic."""
        reader = registered().get(type(self.estimator))
        return reader is not None and reader.quadratic


def line_of(estimator: Any) -> Line:
    """The line of an unfitted estimator.

    Parameters
    ----------
    estimator : estimator
        With its defaults; of a wrapper, around something that is explained.
    """
    model = peel(estimator)[1]
    said = {explainer: _refused_by(explainer, estimator, model) for explainer in EXPLAINERS}
    explainers = tuple(explainer for explainer, why in said.items() if why is None)
    wraps = model is not estimator or (
        type(estimator) in registered() and hasattr(estimator, "estimator")
    )
    refusal = None if explainers else said[InfluenceExplainer]
    return Line(estimator, explainers, bool(explainers) and wraps, refusal)


def _refused_by(explainer: Any, estimator: Any, model: Any) -> str | None:
    """Why `explainer` refuses the model inside `estimator`; None where it does not."""
    try:
        explainer(estimator)._check_model(model)
    except (UnsupportedEstimatorError, ImportError) as error:
        return str(error)
    return None
