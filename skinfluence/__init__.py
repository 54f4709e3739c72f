"""Exact influence of the training rows on fitted density estimators, in scikit-learn's terms."""

__all__ = ["__version__"]

__version__ = "0.1.0.dev0"
