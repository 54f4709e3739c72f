"""Judging scores: agreement with real refits, and what they find."""

from skinfluence.metrics._agreement import Agreement, agreement
from skinfluence.metrics._detection import detection_auc, detection_curve

__all__ = ["Agreement", "agreement", "detection_auc", "detection_curve"]
