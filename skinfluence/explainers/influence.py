"""Influence on supervised models that minimise a smooth objective."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import MetaEstimatorMixin
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from skinfluence import _loops, attribution
from skinfluence._compat import Interval, StrOptions, _fit_context, check_weights
from skinfluence._output import labelled
from skinfluence._peel import target_to_model_space
from skinfluence.base import BaseInfluence
from skinfluence.deletion.linear.fit import FittedParts
from skinfluence.exceptions import NotStationaryWarning
from skinfluence.objectives import Rows, reader_of

# Relative gradient above which a fit is not what its objective says, or is far from it.
LOOSE = 3e-2
