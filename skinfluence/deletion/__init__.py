"""Exact deletion without an objective: one model family a file."""
