"""Losses of a row as functions of its outputs, one family a file."""

from skinfluence.objectives.losses.base import PointLoss
from skinfluence.objectives.losses.logistic import Logistic, Softmax
from skinfluence.objectives.losses.squared import SquaredError

__all__ = ["Logistic", "PointLoss", "Softmax", "SquaredError"]
