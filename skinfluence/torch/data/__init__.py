"""Rows of a network: inputs and targets, taken block by block."""

from skinfluence.torch.data.reading import RowReader
from skinfluence.torch.data.rows import Batch, FetchedRows, Rows

__all__ = ["Batch", "FetchedRows", "RowReader", "Rows"]
