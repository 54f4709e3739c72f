"""Judging scores: agreement with real refits, and what they find."""

from skinfluence.metrics._agreement import Agreement, agreement
from skinfluence.metrics._curve import RetrainingCurve
from skinfluence.metrics._datamodeling import LinearDatamodelingScore, linear_datamodeling_score
from skinfluence.metrics._detection import detection_auc, detection_curve
from skinfluence.metrics._proponents import identical_class_rate, self_proponent_rate
from skinfluence.metrics._refits import leave_one_out
from skinfluence.metrics._retraining import relabel_curve, removal_curve
from skinfluence.metrics._subsets import retrain_on_subsets
from skinfluence.metrics._table import DetectionTable, detection_table
from skinfluence.metrics._top import top_k_overlap

__all__ = [
    "Agreement",
    "DetectionTable",
    "LinearDatamodelingScore",
    "RetrainingCurve",
    "agreement",
    "detection_auc",
    "detection_curve",
    "detection_table",
    "identical_class_rate",
    "leave_one_out",
    "linear_datamodeling_score",
    "relabel_curve",
    "removal_curve",
    "retrain_on_subsets",
    "self_proponent_rate",
    "top_k_overlap",
]
