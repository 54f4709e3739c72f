"""Recording a training while it runs."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from skinfluence.checkpoints import models
from skinfluence.checkpoints.callbacks import fit_recording
from skinfluence.checkpoints.checkpoint import Checkpoint, State
from skinfluence.checkpoints.directory import DirectoryStore
from skinfluence.checkpoints.ledger import Ledger, rates_by_name
from skinfluence.checkpoints.memory import MemoryStore
from skinfluence.checkpoints.plan import make_plan
from skinfluence.checkpoints.rates import EpochRates, info
from skinfluence.checkpoints.sequence import Checkpoints


class CheckpointRecorder:
    """Records states of a model while it is trained, and the learning rates of every step.

    What tracing needs of a training: parameters at some steps, and how far the optimiser went in
    between. Learning rates are added up at every step, also where a schedule changes them;
    states are copied only where they are kept. The rate of a step with momentum m counts
    ``1 / (1 - m)`` times (and dampening d ``1 - d`` times), which is how far its gradient moves
    the parameters in the end.

    For loops of torch, `watch` is all that is needed; `record` is for loops of other kinds,
    `skorch_callback` and `sklearn_callback` for those who train by callbacks, and `partial_fit`
    for MLPClassifier, MLPRegressor, SGDClassifier, SGDRegressor and Perceptron.

    Parameters
    ----------
    directory : path-like or None, default=None
        Where checkpoints are written; one that holds a recording is gone on with, after
        `restore`. None keeps them in memory.
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
        self._plan = make_plan(every, keep, at)
        self._optimizer_state = optimizer_state
        self._store: MemoryStore | DirectoryStore = MemoryStore()
        if directory is not None:
            self._store = DirectoryStore(Path(directory), self._plan.said())
            self._plan.stride = max(self._plan.stride, self._store.stride)
        if n_rows is not None:
            self._store.n_rows = n_rows
        self._ledger = Ledger()
        self._tally: Any = None
        self._trained: Any = None
        self._begun = False
        self._newest: int | None = None
        self._loss: Any = None

    @property
    def checkpoints(self) -> Checkpoints:
        """What has been kept so far."""
        return self._store.read()

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
            self._loss = loss
        self._count(model, optimizer, learning_rate, step)
        self._offer(model, optimizer)

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
        if self._follows(model, optimizer):
            self._count(model, optimizer, None, None)
        self._offer(model, optimizer, last=True)

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
        if n_rows is not None:
            self._store.n_rows = n_rows
        if not hasattr(optimizer, "register_step_post_hook"):
            raise TypeError(
                f"watch follows the steps of an optimiser of torch, and this is a "
                f"{type(optimizer).__name__}. Call record(model, learning_rate=...) after each "
                "step instead."
            )
        self._check_going_on(module)
        self._follow(module, optimizer)
        self._offer(module, optimizer)
        handle = optimizer.register_step_post_hook(lambda *_: self.record(module, optimizer))
        try:
            yield self
        finally:
            # An interrupted training is gone on with from here, too.
            self.keep_last(module, optimizer)
            handle.remove()
            self._tally.close()
            self._tally = None

    def restore(self, model: Any, optimizer: Any = None) -> int:
        """Put the last checkpoint back, so that training and recording go on from there.

        Random numbers and schedulers of learning rates are not recorded, and are the loop's.

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
        path = None if last.path is None else dict(last.path)
        rate = None if last.learning_rate is None else dict(last.learning_rate)
        self._ledger = Ledger(last.step, path, rate)
        self._newest, self._begun = last.step, True
        self._trained = weakref.ref(models.trained_object(model))
        if optimizer is not None:
            self._follow(model, optimizer)
        return last.step

    def note_loss(self, loss: Any) -> None:
        """Tell the loss of the present step, to be kept with the next checkpoint.

        Parameters
        ----------
        loss : float or Tensor
            A tensor is not waited for until it is needed.
        """
        self._loss = loss.detach() if hasattr(loss, "detach") else loss

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
            The training rows, all of them.
        y : array-like of shape (n_samples,), default=None
            Their targets.
        **kwargs : dict
            Passed on: ``classes``, ``sample_weight``.
        """
        rates = EpochRates(estimator, X, kwargs.get("sample_weight"))
        self._check_going_on(estimator)
        estimator.partial_fit(X, y, **kwargs)
        names = models.shapes(estimator)
        self._store.optimizer = info(estimator, names)
        self._note_rows(rates.n)
        self._loss = getattr(estimator, "loss_", None)
        self._ledger.add(1, rates.by_name(rates.total, names), rates.by_name(rates.last, names))
        self._offer(estimator)

    def _note_rows(self, n_rows: int) -> None:
        """Number of training rows, where it has not been said."""
        if self._store.n_rows is None:
            self._store.n_rows = n_rows

    def _count(self, model: Any, optimizer: Any, learning_rate: Any, step: int | None) -> None:
        """Add up the steps since the last call, and their rates."""
        self._check_going_on(model)
        sums: Any = None
        if self._follows(model, optimizer):
            steps, sums, rates = self._tally.take()
            self._check_step(step, self._ledger.step + steps)
        else:
            started = self._follow(model, optimizer) if optimizer is not None else False
            rates = None if optimizer is None else self._tally.rates()
            if step is None:
                # Before anything else, a state that nothing seems to have moved is step 0.
                told = optimizer is None and learning_rate is not None
                steps = int(started or told or self._begun)
            else:
                steps = step - self._ledger.step
                self._check_step(step, max(step, self._ledger.step))
            sums = None if rates is None else {name: steps * r for name, r in rates.items()}
        if learning_rate is not None:
            rates = rates_by_name(learning_rate, models.shapes(model))
            sums = {name: steps * rate for name, rate in rates.items()}
        self._ledger.add(steps, sums, rates)

    def _follows(self, model: Any, optimizer: Any) -> bool:
        """Whether the steps of this optimiser are counted already."""
        followed = self._tally is not None and optimizer is not None
        return followed and self._tally.follows(model, optimizer)

    def _follow(self, model: Any, optimizer: Any) -> bool:
        """Count the steps of an optimiser from now on; whether it made some before."""
        if self._tally is not None:
            self._tally.close()
        self._tally = models.of_torch().Tally(model, optimizer)
        self._store.optimizer = self._tally.info
        return self._tally.started()

    def _check_step(self, step: int | None, counted: int) -> None:
        if step is not None and step != counted:
            raise ValueError(
                f"step={step} is passed, and {counted} steps were counted. Leave step out, and "
                "call record whenever a state may be kept."
            )

    def __getstate__(self) -> dict[str, Any]:
        # A copy counts no steps, and may meet another training: it must be told to go on.
        apart = dict.fromkeys(("_tally", "_trained", "_loss"))
        return {**self.__dict__, **apart, "_begun": False}

    def _check_going_on(self, model: Any) -> None:
        """Refuse to mix two trainings."""
        trained = models.trained_object(model)
        if self._trained is not None and self._trained() is not trained:
            raise ValueError(
                f"This recorder has recorded another {type(trained).__name__}. Give each training "
                "a recorder of its own, or call restore(model, optimizer) to go on with this one."
            )
        self._trained = weakref.ref(trained)
        if not self._begun and self._store.steps:
            raise ValueError(
                f"The recorder holds {len(self._store.steps)} checkpoints up to step "
                f"{self._store.steps[-1]}. Call restore(model, optimizer) to go on from there, or "
                "give this training a recorder and a directory of its own."
            )

    def _offer(self, model: Any, optimizer: Any = None, *, last: bool = False) -> None:
        """Keep the model's state if it is due, or the last of all."""
        step = self._ledger.step
        self._begun = True
        if step == self._newest or not (last or self._plan.due(step, self._newest)):
            return
        kept = self._plan.thinned([*self._store.steps, step], last=last)
        self._store.stride = self._plan.stride
        self._newest = kept[-1]
        if step not in kept:
            self._store.drop(kept)
            return
        state = models.snapshot(model, optimizer, optimizer_state=self._optimizer_state)
        self._check_same(state, type(model).__name__)
        made = Checkpoint(
            step,
            state.parameters,
            state.buffers,
            state.optimizer,
            self._ledger.rate,
            self._ledger.path_of(state.parameters),
            None if self._loss is None else float(self._loss),
        )
        self._store.add(made, kept)

    def _check_same(self, state: State, owner: str) -> None:
        shapes = self._store.shapes()
        if shapes is not None and shapes != state.shapes():
            raise ValueError(
                f"This {owner} has other parameters than the checkpoints recorded so far. Give "
                "each training a recorder of its own."
            )
