"""How far a training has gone, and what has been kept of it."""

from __future__ import annotations

import weakref
from typing import Any

from skinfluence.checkpoints import models
from skinfluence.checkpoints.checkpoint import Checkpoint, State, after
from skinfluence.checkpoints.directory import DirectoryStore
from skinfluence.checkpoints.ledger import Ledger, rates_by_name
from skinfluence.checkpoints.memory import MemoryStore
from skinfluence.checkpoints.plan import Plan


class Course:
    """The steps of one training: counted, and kept where they are due.

    Parameters
    ----------
    plan : Plan
    store : MemoryStore or DirectoryStore
    optimizer_state : bool
        Whether the state of the optimiser is kept.
    """

    def __init__(self, plan: Plan, store: MemoryStore | DirectoryStore, optimizer_state: bool):
        self.plan, self.store, self.optimizer_state = plan, store, optimizer_state
        self.plan.stride = max(plan.stride, store.stride)
        self.ledger = Ledger()
        self.loss: Any = None
        # Of estimators: what momentum carries of a gradient that stays the same; None if unknown.
        self.carried: float | None = 0.0
        self._tally: Any = None
        self._trained: Any = None
        self._begun = False
        self._newest: int | None = None
        self.watched = False

    def note_rows(self, n_rows: int) -> None:
        """Number of training rows, where it has not been said."""
        if self.store.n_rows is None:
            self.store.n_rows = n_rows

    def count(self, model: Any, optimizer: Any, learning_rate: Any, step: int | None) -> None:
        """Add up the steps since the last call, and their rates."""
        self.check_going_on(model)
        sums: Any = None
        if self._follows(model, optimizer):
            steps, sums, rates = self._tally.take()
            self._check_step(step, self.ledger.step + steps)
        else:
            started = self.follow(model, optimizer) if optimizer is not None else False
            rates = None
            if step is None:
                # Before anything else, a state that nothing seems to have moved is step 0.
                told = optimizer is None and learning_rate is not None
                steps = int(started or told or self._begun)
            else:
                steps = step - self.ledger.step
                self._check_step(step, max(step, self.ledger.step))
            if optimizer is not None:
                self._tally.made(steps)
                _, sums, rates = self._tally.take()
        if learning_rate is not None:
            rates = rates_by_name(learning_rate, models.shapes(model))
            sums = {name: steps * rate for name, rate in rates.items()}
        self.ledger.add(steps, sums, rates)

    def after_step(self, model: Any, optimizer: Any) -> None:
        """Keep the state if it is due; of steps that are counted, this is all that each costs."""
        counted = 0 if self._tally is None else self._tally.steps
        if self.plan.due(self.ledger.step + counted, self._newest):
            self.settle()
            self.offer(model, optimizer)

    def settle(self) -> None:
        """Move what was counted to the sums."""
        if self._tally is not None:
            self.ledger.add(*self._tally.take())

    def counts(self, model: Any, optimizer: Any) -> bool:
        """Whether the steps of this optimiser for this very object are counted already."""
        tally = self._tally
        return tally is not None and tally.optimizer is optimizer and tally.model is model

    def _follows(self, model: Any, optimizer: Any) -> bool:
        """Whether the steps of this optimiser are counted already."""
        followed = self._tally is not None and optimizer is not None
        return followed and self._tally.follows(model, optimizer)

    def follow(self, model: Any, optimizer: Any) -> bool:
        """Count the steps of an optimiser from now on; whether it made some before."""
        self.settle()
        if self._tally is not None:
            self._tally.close()
        steps = self.ledger.step
        self._tally = models.of_torch().Tally(model, optimizer, before=steps)
        before = self.store.optimizer if steps else None
        self.store.optimizer = after(before, self._tally.info)
        return self._tally.started()

    def _check_step(self, step: int | None, counted: int) -> None:
        if step is not None and step != counted:
            raise ValueError(
                f"step={step} is passed, and {counted} steps were counted. Leave step out, and "
                "call record whenever a state may be kept."
            )

    def __getstate__(self) -> dict[str, Any]:
        self.store.flush()
        # A copy counts no steps, and may meet another training: it must be told to go on.
        apart = dict.fromkeys(("_tally", "_trained", "loss"))
        return {**self.__dict__, **apart, "_begun": False, "watched": False}

    def check_going_on(self, model: Any) -> None:
        """Refuse to mix two trainings."""
        trained = models.trained_object(model)
        if self._trained is not None and self._trained() is not trained:
            raise ValueError(
                f"This recorder has recorded another {type(trained).__name__}. Give each training "
                "a recorder of its own, or call restore(model, optimizer) to go on with this one."
            )
        self._trained = weakref.ref(trained)
        if not self._begun and self.store.steps:
            raise ValueError(
                f"The recorder holds {len(self.store.steps)} checkpoints up to step "
                f"{self.store.steps[-1]}. Call restore(model, optimizer) to go on from there, or "
                "give this training a recorder and a directory of its own."
            )

    def offer(self, model: Any, optimizer: Any = None, *, last: bool = False) -> None:
        """Keep the model's state if it is due, or the last of all."""
        step = self.ledger.step
        self._begun = True
        if step == self._newest or not (last or self.plan.due(step, self._newest)):
            return
        kept = self.plan.thinned([*self.store.steps, step], last=last)
        self.store.stride = self.plan.stride
        self._newest = kept[-1]
        if step not in kept:
            self.store.drop(kept)
            return
        state = models.snapshot(model, optimizer, optimizer_state=self.optimizer_state)
        self._check_same(state, type(model).__name__)
        made = Checkpoint(
            step,
            state.parameters,
            state.buffers,
            state.optimizer,
            self.ledger.rate,
            self.ledger.path_of(state.parameters),
            None if self.loss is None else float(self.loss),
        )
        self.store.add(made, kept)

    def _check_same(self, state: State, owner: str) -> None:
        shapes = self.store.shapes()
        if shapes is not None and shapes != state.shapes():
            raise ValueError(
                f"This {owner} has other parameters than the checkpoints recorded so far. Give "
                "each training a recorder of its own."
            )

    def go_on(self, last: Checkpoint, model: Any, optimizer: Any) -> None:
        """Go on from a checkpoint, which the model has got back."""
        path = None if last.path is None else dict(last.path)
        rate = None if last.learning_rate is None else dict(last.learning_rate)
        self.ledger = Ledger(last.step, path, rate)
        self._newest, self._begun, self.carried = last.step, True, None
        self._trained = weakref.ref(models.trained_object(model))
        if optimizer is not None:
            self.follow(model, optimizer)

    def leave(self) -> None:
        """Count the steps of the optimiser no more."""
        if self._tally is not None:
            self._tally.close()
        self._tally = None
