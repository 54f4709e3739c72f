"""Recording a net of skorch, as one of its callbacks."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any


class SkorchRecording:
    """What skorch calls a callback: by its methods, so that skorch need not be imported.

    Parameters
    ----------
    recorder : CheckpointRecorder
    """

    def __init__(self, recorder: Any):
        self.recorder = recorder

    def initialize(self) -> SkorchRecording:
        self._open = ExitStack()
        return self

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        self._open.close()  # left open by a training that failed
        self._open.enter_context(self.recorder.watch(net.module_, net.optimizer_))

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        self._open.close()

    def on_epoch_begin(self, net: Any, dataset_train: Any = None, **kwargs: Any) -> None:
        if dataset_train is not None:
            self.recorder._course.note_rows(len(dataset_train))

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        pass

    def on_batch_begin(self, net: Any, batch: Any = None, **kwargs: Any) -> None:
        pass

    def on_batch_end(
        self, net: Any, batch: Any = None, training: bool = False, loss: Any = None, **kwargs: Any
    ) -> None:
        if training and loss is not None:
            self.recorder.note_loss(loss)

    def on_grad_computed(
        self, net: Any, named_parameters: Any, training: bool = False, **kwargs: Any
    ) -> None:
        pass

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {"recorder": self.recorder}

    def set_params(self, **params: Any) -> SkorchRecording:
        for name, value in params.items():
            setattr(self, name, value)
        return self
