"""Influence traced through training."""
