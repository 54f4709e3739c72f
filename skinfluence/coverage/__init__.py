"""Which estimators of scikit-learn are explained, by what, and why the others are not."""

from __future__ import annotations

from skinfluence.coverage.lines import Line, line_of
from skinfluence.coverage.trial import Trial, example_of, rows_for, try_out

__all__ = ["Line", "Trial", "example_of", "line_of", "rows_for", "try_out"]
