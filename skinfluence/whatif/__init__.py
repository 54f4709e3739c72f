"""What if: answers about sets of training rows."""

from skinfluence.whatif._flip import Flip

__all__ = ["Flip"]
