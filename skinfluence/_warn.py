"""Warnings that point at the line of the user."""

from __future__ import annotations

import sys
import warnings

# Who stands between the user's line and ours: decorators, searches, their workers.
_BETWEEN = {"skinfluence", "sklearn", "joblib"}


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the first frame outside this package and what calls it, however deep it lies."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and _package(frame) in _BETWEEN:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def _package(frame):
    return frame.f_globals.get("__name__", "").partition(".")[0]
