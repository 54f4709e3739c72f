"""Derivatives of a model's outputs in the values of its training rows, refitting included."""
