"""Pictures of influence. matplotlib is imported when something is drawn."""

from skinfluence.displays._agreement import AgreementDisplay
from skinfluence.displays._bubble import InfluenceBubbleDisplay
from skinfluence.displays._detection import DetectionCurveDisplay
from skinfluence.displays._image_grid import ImageGridDisplay
from skinfluence.displays._index import InfluenceIndexDisplay
from skinfluence.displays._influence import InfluenceDisplay
from skinfluence.displays._self_influence import SelfInfluenceDisplay

__all__ = [
    "AgreementDisplay",
    "DetectionCurveDisplay",
    "ImageGridDisplay",
    "InfluenceBubbleDisplay",
    "InfluenceDisplay",
    "InfluenceIndexDisplay",
    "SelfInfluenceDisplay",
]
