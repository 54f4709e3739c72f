"""Why an estimator is refused, and what to take instead: one sentence each, by family.

The engines and explainers that refuse an estimator look the sentence up here, and so does the
documentation. Nothing of the package is imported, so that whoever refuses may ask.
"""

from __future__ import annotations

from skinfluence.reasons import (  # noqa: F401  (they register themselves)
    clusters,
    ensembles,
    latent,
    predictors,
    transformers,
    wrappers,
)
from skinfluence.reasons.refusal import Refusal, message_of, reason_of, reasons

__all__ = ["Refusal", "message_of", "reason_of", "reasons"]
