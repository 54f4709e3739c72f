"""States of a model on its way: recorded, read, and chosen among."""

from skinfluence.checkpoints.checkpoint import Checkpoint, OptimizerInfo
from skinfluence.checkpoints.given import as_checkpoints
from skinfluence.checkpoints.reading import read_checkpoints
from skinfluence.checkpoints.recorder import CheckpointRecorder
from skinfluence.checkpoints.sequence import Checkpoints

__all__ = [
    "Checkpoint",
    "CheckpointRecorder",
    "Checkpoints",
    "OptimizerInfo",
    "as_checkpoints",
    "read_checkpoints",
]
