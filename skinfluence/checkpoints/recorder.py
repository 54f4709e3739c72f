"""Recording a training while it runs."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from skinfluence.checkpoints import models
from skinfluence.checkpoints.callbacks import fit_recording
from skinfluence.checkpoints.course import Course
from skinfluence.checkpoints.directory import DirectoryStore
from skinfluence.checkpoints.memory import MemoryStore
from skinfluence.checkpoints.plan import check_number, make_plan
from skinfluence.checkpoints.rates import EpochRates, info
from skinfluence.checkpoints.sequence import Checkpoints, described


class CheckpointRecorder:
    """Records states of a model while it is trained, and the learning rates of every step.

    What tracing needs of a training: parameters at some steps, and how far the optimiser went in
    between. Learning rates are added up at every step, also where a schedule changes them;
    states are copied only where they are kept. With momentum m the rate of a step is as much as
    it moves the parameters by if the gradient stays the same: the learning rate at first, and
    ``1 / (1 - m)`` times (with dampening d, ``(1 - d) / (1 - m)`` times) it in the long run.

    For loops of torch, `watch` is all that is needed; `record` is for loops of other kinds,
    `skorch_callback` and `sklearn_callback` for those who train by callbacks, and `partial_fit`
    for MLPClassifier, MLPRegressor, SGDClassifier, SGDRegressor and Perceptron.

    Parameters
    ----------
    directory : path-like or None, default=None
        Where checkpoints are written; one that holds a recording is gone on with, after
        `restore`. With `keep`, all but the newest wait in memory where writing would take more
        than a hundredth of the time. None keeps them in memory.
    every : int, default=1
        Steps from one checkpoint to the next (of `partial_fit`, calls).
    keep : int or None, default=None
        At most so many checkpoints, evenly spaced: the distance between them doubles as the
        training goes on, so that between half of them and all are there at any time. The first
        stays, and `watch` and the callbacks keep the last.
    at : iterable of int or None, default=None
        Just these steps; 0 is the state before training.
    optimizer_state : bool, default=True
        Whether the state of the optimiser is kept: needed to go on with the training, and by
        preconditioners. With Adam it is twice as large as the parameters.
    n_rows : int or None, default=None
        Number of training rows, if it is known; `watch` and `partial_fit` know or ask for it.

    Attributes
    ----------
    checkpoints : Checkpoints
        What has been kept so far.

    See Also
    --------
    read_checkpoints : Reads a directory, or files that something else wrote.
    Checkpoints : Choosing among checkpoints.

    Notes
    -----
    Rates are those of the optimiser, for a loss that is a mean over the rows of a batch. Clipped
    gradients, or a loss that is a sum, are steps of other lengths, which a recorder cannot see.

    Examples
    --------
    Ten passes over the data by SGD, one step a row; the sum of the rates is known exactly.

    >>> import numpy as np
    >>> from sklearn.linear_model import SGDRegressor
    >>> from skinfluence.checkpoints import CheckpointRecorder
    >>> X = np.arange(4.0).reshape(-1, 1)
    >>> model = SGDRegressor(learning_rate="constant", eta0=0.01)
    >>> recorder = CheckpointRecorder()
    >>> for epoch in range(10):
    ...     recorder.partial_fit(model, X, 2 * X[:, 0])
    >>> recorder.checkpoints[-1]
    Checkpoint(step=10, path=0.4)
    """

    def __init__(
        self,
        directory: str | PathLike[str] | None = None,
        *,
        every: int = 1,
        keep: int | None = None,
        at: Iterable[int] | None = None,
        optimizer_state: bool = True,
        n_rows: int | None = None,
    ):
        plan = make_plan(every, keep, at)
        store: MemoryStore | DirectoryStore = MemoryStore()
        if directory is not None:
            store = DirectoryStore(Path(directory), plan.said())
            # What waits to be written is not lost with the recorder, nor at the process's end.
            weakref.finalize(self, _flush, store)
        self._course = Course(plan, store, optimizer_state)
        self._say_rows(n_rows)

    def __repr__(self) -> str:
        store = self._course.store
        where = f" in {store.directory}" if isinstance(store, DirectoryStore) else ""
        return f"<CheckpointRecorder with {described(store.steps, store.optimizer)}{where}>"

    @property
    def checkpoints(self) -> Checkpoints:
        """What has been kept so far."""
        return self._course.store.read()

    def record(
        self,
        model: Any,
        optimizer: Any = None,
        *,
        loss: Any = None,
        learning_rate: float | Mapping[str, float] | None = None,
        step: int | None = None,
    ) -> None:
        """Keep the model's state, if it is due.

        Call it after every step of the optimiser, and once before the first. After the first
        call with an optimiser of torch its steps are counted as they happen, so that later calls
        may be fewer, and may come after a scheduler has changed the rate.

        Parameters
        ----------
        model : nn.Module, skorch net or estimator
            A fitted one, if it is an estimator of scikit-learn.
        optimizer : torch.optim.Optimizer or None, default=None
            Where the learning rates are. Without one, and without `learning_rate`, they are not
            known, and the first call is taken to be before training.
        loss : float or None, default=None
            Kept beside the checkpoint.
        learning_rate : float, mapping of str to float, or None, default=None
            Of the step that was just made, for all parameters or by name; not asked of the
            optimiser then.
        step : int or None, default=None
            Number of this step, where it is not one more than at the last call. Rates of the
            steps between are taken to be those of this one, unless the optimiser was counted.
        """
        if loss is not None:
            self.note_loss(loss)
        if (
            step is not None
            or learning_rate is not None
            or not self._course.counts(model, optimizer)
        ):
            self._course.count(model, optimizer, learning_rate, step)
        self._course.after_step(model, optimizer)

    def keep_last(self, model: Any, optimizer: Any = None) -> None:
        """Keep the model's state at the end of a training, whether it is due or not.

        `watch` and the callbacks do so themselves; loops around `record` and `partial_fit` may.

        Parameters
        ----------
        model : nn.Module, skorch net or estimator
            The one that was recorded.
        optimizer : torch.optim.Optimizer or None, default=None
            The one that was recorded.
        """
        self._course.settle()
        self._course.offer(model, optimizer, last=True)
        self._course.store.flush()

    @contextmanager
    def watch(
        self, module: Any, optimizer: Any, *, n_rows: int | None = None
    ) -> Iterator[CheckpointRecorder]:
        """Record a loop of torch: its first state, what is due after each step, and its last.

        Parameters
        ----------
        module : nn.Module
            The one that is trained, wrapped or not.
        optimizer : torch.optim.Optimizer
            Its ``step`` is followed by a hook, which is taken off at the end.
        n_rows : int or None, default=None
            Number of training rows.

        Yields
        ------
        recorder : CheckpointRecorder
            This one; `note_loss` tells it losses.
        """
        self._say_rows(n_rows)
        if not hasattr(optimizer, "register_step_post_hook"):
            raise TypeError(
                f"watch follows the steps of an optimiser of torch, and this is a "
                f"{type(optimizer).__name__}. Call record(model, learning_rate=...) after each "
                "step instead."
            )
        if self._course.watched:
            raise ValueError(
                "This recorder watches a training already, and follows one optimiser at a time. "
                "Leave the first watch before the next; of optimisers that take turns, call "
                "record(module, optimizer) after each step, or make them groups of one."
            )
        self._course.check_going_on(module)
        self._course.follow(module, optimizer)
        self._course.watched = True
        self._course.offer(module, optimizer)
        handle = optimizer.register_step_post_hook(
            lambda *_: self._course.after_step(module, optimizer)
        )
        try:
            yield self
        finally:
            handle.remove()
            self._course.watched = False
            try:
                # An interrupted training is gone on with from here, too.
                self.keep_last(module, optimizer)
            finally:
                self._course.leave()

    def _say_rows(self, n_rows: int | None) -> None:
        if n_rows is not None:
            check_number(n_rows, "n_rows", "training rows")
            self._course.store.n_rows = int(n_rows)

    def restore(self, model: Any, optimizer: Any = None) -> int:
        """Put the last checkpoint back, so that training and recording go on from there.

        Random numbers and schedulers of learning rates are not recorded, and are the loop's; so
        the rates that the optimiser has stay.

        Parameters
        ----------
        model : nn.Module, skorch net or estimator
            Of the architecture that was recorded; an estimator of scikit-learn needs one call of
            its ``partial_fit`` first, which makes the arrays that are filled.
        optimizer : torch.optim.Optimizer or None, default=None
            Whose state is put back too, where it was kept.

        Returns
        -------
        step : int
            Of the last checkpoint.
        """
        found = self.checkpoints
        if not found:
            raise ValueError(
                "There is no checkpoint to restore yet. Record a training first, or pass the "
                "directory of one."
            )
        last = found[-1]
        models.restore(last, model, optimizer)
        self._course.go_on(last, model, optimizer)
        return last.step

    def note_loss(self, loss: Any) -> None:
        """Tell the loss of the present step, to be kept with the next checkpoint.

        Parameters
        ----------
        loss : float or Tensor
            A tensor is not waited for until it is needed.

        Raises
        ------
        TypeError
            If it is no single number.
        """
        size = loss.numel() if hasattr(loss, "numel") else np.size(loss)
        if size != 1 or not hasattr(loss, "__float__"):
            raise TypeError(
                f"The loss of a step is one number, and {type(loss).__name__} of size {size} is "
                "none. Pass the mean over the batch."
            )
        self._course.loss = loss.detach() if hasattr(loss, "detach") else loss

    def skorch_callback(self) -> Any:
        """Recording as a callback of skorch: ``callbacks=[recorder.skorch_callback()]``.

        It watches the net's optimiser from the beginning of its training to the end, and knows
        the number of its rows. A copy of the net (``clone``, a search) has a copy of the recorder.

        Returns
        -------
        callback : object
            With the methods of skorch's callbacks.
        """
        return models.of_torch("skorch_recording").SkorchRecording(self)

    def sklearn_callback(self) -> Any:
        """Recording as a callback of scikit-learn (1.9 and later).

        As ``LogisticRegression().set_callbacks(recorder.sklearn_callback())``, which keeps the
        iterates of L-BFGS. Such solvers have no learning rates, so that none are recorded.

        Returns
        -------
        callback : object
            A ``sklearn.callback.FitCallback``, for one fit.

        Raises
        ------
        ImportError
            If scikit-learn has no callbacks.
        """
        return fit_recording(self)

    def partial_fit(self, estimator: Any, X: Any, y: Any = None, **kwargs: Any) -> None:
        """Call an estimator's ``partial_fit``, and record what comes of it as one step.

        The rates are those of its own schedule, added up over the rows or batches of the call.

        Parameters
        ----------
        estimator : MLPClassifier, MLPRegressor, SGDClassifier, SGDRegressor or Perceptron
            Fitted so far, or new.
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The training rows, all of them; or a part, if the recorder has been told `n_rows`.
        y : array-like of shape (n_samples,), default=None
            Their targets.
        **kwargs : dict
            Passed on: ``classes``, ``sample_weight``.
        """
        carried = self._course.carried
        rates = EpochRates(estimator, X, kwargs.get("sample_weight"), carried=carried)
        self._course.check_going_on(estimator)
        estimator.partial_fit(X, y, **kwargs)
        names = models.shapes(estimator)
        self._course.store.optimizer = info(estimator, names)
        self._course.note_rows(rates.n)
        self._course.carried = rates.carried
        self._course.loss = getattr(estimator, "loss_", None)
        self._course.ledger.add(
            1, rates.by_name(rates.total, names), rates.by_name(rates.last, names)
        )
        self._course.offer(estimator)


def _flush(store: DirectoryStore) -> None:
    # The directory may have been a temporary one.
    with suppress(OSError):
        store.flush()
