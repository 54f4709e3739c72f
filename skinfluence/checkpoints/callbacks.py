"""Recording the iterations of estimators that call scikit-learn's callbacks."""

from __future__ import annotations

from typing import Any

from skinfluence import _compat


class FitRecording:
    """Keeps what an estimator would be if its fit stopped after each iteration.

    Parameters
    ----------
    recorder : CheckpointRecorder
    """

    def __init__(self, recorder: Any):
        self.recorder = recorder
        self._latest: Any = None

    def setup(self, estimator: Any, context: Any) -> None:
        if self.recorder.checkpoints:
            raise ValueError(
                f"The recorder holds {len(self.recorder.checkpoints)} checkpoints, and a fit of "
                f"{type(estimator).__name__} begins anew. Give each fit a recorder of its own."
            )
        self._latest = None

    def teardown(self, estimator: Any, context: Any) -> None:
        if self._latest is not None:
            self.recorder._course.offer(self._latest, last=True)
        self._latest = None

    def on_fit_task_begin(
        self, estimator: Any, context: Any, *, X: Any = None, fitted_estimator: Any = None
    ) -> None:
        if X is not None:
            self.recorder._course.note_rows(X.shape[0])
        if fitted_estimator is not None and self._latest is None:
            self._latest = fitted_estimator
            self.recorder._course.offer(fitted_estimator)

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, fitted_estimator: Any = None
    ) -> None:
        # The task without a parent is the whole fit, and ends where the last iteration did.
        if fitted_estimator is None or context.parent is None:
            return
        self._latest = fitted_estimator
        self.recorder._course.ledger.add(1, None, None)
        self.recorder._course.offer(fitted_estimator)


def fit_recording(recorder: Any) -> FitRecording:
    """A callback, where scikit-learn has callbacks.

    Raises
    ------
    ImportError
        Before scikit-learn 1.9.
    """
    if not _compat.HAS_CALLBACKS:
        raise ImportError(
            "scikit-learn calls callbacks from version 1.9 on, and this one is older. Record by "
            "partial_fit, or update scikit-learn."
        )
    return FitRecording(recorder)
