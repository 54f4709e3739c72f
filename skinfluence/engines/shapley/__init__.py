"""Shapley values of the training rows of nearest-neighbour models."""
