"""Losses of a row as functions of its outputs, one family a file."""

from skinfluence.objectives.losses.base import PointLoss
from skinfluence.objectives.losses.deviance import HalfDeviance
from skinfluence.objectives.losses.huber import ConcomitantHuber
from skinfluence.objectives.losses.logistic import Logistic, Softmax
from skinfluence.objectives.losses.matching import Rectified, SoftLogistic, SoftSoftmax
from skinfluence.objectives.losses.scalar import (
    EpsilonInsensitive,
    Hinge,
    Huber,
    ModifiedHuber,
    Pinball,
    ScalarLoss,
    SquaredEpsilonInsensitive,
    SquaredHinge,
)
from skinfluence.objectives.losses.squared import SquaredError

__all__ = [
    "ConcomitantHuber",
    "EpsilonInsensitive",
    "HalfDeviance",
    "Hinge",
    "Huber",
    "Logistic",
    "ModifiedHuber",
    "Pinball",
    "PointLoss",
    "Rectified",
    "ScalarLoss",
    "SoftLogistic",
    "SoftSoftmax",
    "Softmax",
    "SquaredEpsilonInsensitive",
    "SquaredError",
    "SquaredHinge",
]
