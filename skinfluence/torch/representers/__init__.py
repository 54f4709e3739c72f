"""Networks as features and a linear layer, which representers decompose."""

from skinfluence.torch.representers.engine import NetworkRepresenters

__all__ = ["NetworkRepresenters"]
