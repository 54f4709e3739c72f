"""Per-row gradients as operators: products with them, and never n x p of them."""

from skinfluence.torch.gradients import convolutions, norms
from skinfluence.torch.gradients.block import GradientBlock
from skinfluence.torch.gradients.capture import capture_outputs
from skinfluence.torch.gradients.convolutions import conv_patches
from skinfluence.torch.gradients.factors import Dense, Factor
from skinfluence.torch.gradients.layers import Use
from skinfluence.torch.gradients.lookup import Lookup
from skinfluence.torch.gradients.outer import Outer
from skinfluence.torch.gradients.rows import RowGradients

__all__ = [
    "Dense",
    "Factor",
    "GradientBlock",
    "Lookup",
    "Outer",
    "RowGradients",
    "Use",
    "capture_outputs",
    "conv_patches",
]

# Importing them is what registers their layers.
REGISTERED = (convolutions, norms)
