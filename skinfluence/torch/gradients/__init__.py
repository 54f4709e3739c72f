"""Per-row gradients as operators: products with them, and never n x p of them."""

from skinfluence.torch.gradients.block import GradientBlock
from skinfluence.torch.gradients.capture import capture_outputs
from skinfluence.torch.gradients.factors import Dense, Factor, Outer
from skinfluence.torch.gradients.rows import RowGradients

__all__ = ["Dense", "Factor", "GradientBlock", "Outer", "RowGradients", "capture_outputs"]
