"""Which training rows are responsible: exact and approximate influence with scikit-learn's API."""

from skinfluence.explainers.gmm import GMMInfluence
from skinfluence.explainers.influence import InfluenceExplainer
from skinfluence.explainers.kde import KDEInfluence
from skinfluence.explainers.knn import KNNInfluence
from skinfluence.explainers.pyod import PyODAdapter
from skinfluence.explainers.representer import RepresenterExplainer
from skinfluence.explainers.shapley import KNNShapley
from skinfluence.explainers.sketch import InfluenceSketch
from skinfluence.explainers.tracin import TracInExplainer
from skinfluence.polishing import polish

__version__ = "0.1.0.dev0"

__all__ = [
    "GMMInfluence",
    "InfluenceExplainer",
    "InfluenceSketch",
    "KDEInfluence",
    "KNNInfluence",
    "KNNShapley",
    "PyODAdapter",
    "RepresenterExplainer",
    "TracInExplainer",
    "polish",
]
