"""Influence along the path of training: gradient products added up over checkpoints."""
