"""The named errors and warnings of skinfluence."""

__all__ = [
    "DegenerateDeletionWarning",
    "IncompleteTraceWarning",
    "NotStationaryWarning",
    "UnsupportedEstimatorError",
]


class UnsupportedEstimatorError(TypeError):
    """The estimator cannot be explained by this explainer; the message names one that can.

    Raised by ``fit`` before any work is done.
    """


class NotStationaryWarning(UserWarning):
    """The fitted parameters are not a stationary point of the estimator's own objective.

    Scores are computed at a privately polished copy of the parameters. The warning says how far
    the fit was from that point: either these rows did not train the estimator, or its tolerance
    is loose. Refit with a smaller ``tol`` or pass the rows the estimator was fitted on.
    """


class DegenerateDeletionWarning(UserWarning):
    """Some deletions leave a model that is degenerate or did not converge.

    The rows are listed in the explainer's ``flagged_rows_``, or in the report of
    ``score_influence(..., return_report=True)``; their scores are finite or infinite, never NaN,
    and less reliable than the others.
    """


class IncompleteTraceWarning(UserWarning):
    """Scores along a training path do not add up to what the training did to the loss.

    A few rows have told so when the explainer was fitted. Steps were too large for gradients to
    say where they lead, or of another length than the recorded rates, or the checkpoints are too
    far apart. Ranks may still be right, and sizes are not: ``validate(X, y)`` says how far off
    they are. Train with smaller rates, or record more checkpoints.
    """
