"""Deletion of rows of a linear model: first order, Newton step, exact refit."""
