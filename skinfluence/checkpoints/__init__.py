"""States of a model on its way: recorded, read, and chosen among."""

from skinfluence.checkpoints.checkpoint import Checkpoint, OptimizerInfo
from skinfluence.checkpoints.recorder import CheckpointRecorder
from skinfluence.checkpoints.sequence import Checkpoints

__all__ = [
    "Checkpoint",
    "CheckpointRecorder",
    "Checkpoints",
    "OptimizerInfo",
]
