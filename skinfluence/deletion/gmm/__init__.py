"""Exact and approximate deletion for Gaussian mixtures.

statistics: whitened coordinates and the M step, one class a covariance type. sample: batched E
steps. implicit: the linear answer of EM to a deletion. refit: sweeps to EM's limit. polish: the
limit of EM for one model. em: plain EM, the slow truth. well_separated: the teaching formulas.
"""

from .deletion import METHODS, GMMDeletion
from .well_separated import well_separated_first_order

__all__ = ["METHODS", "GMMDeletion", "well_separated_first_order"]
