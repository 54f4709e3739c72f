"""Exact deletion from support vector machines, by the path of their optimum."""
