"""Influence on linear models of scikit-learn."""
