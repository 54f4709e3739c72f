"""Influence along the path of training, as TracInExplainer asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np
from torch import nn

from skinfluence.attribution import Block
from skinfluence.engines.base import Array, Positions
from skinfluence.metrics import Agreement
from skinfluence.torch import faults, given
from skinfluence.torch.alone import alone, one_by_one
from skinfluence.torch.given import Given
from skinfluence.torch.gradients import RowGradients
from skinfluence.torch.influence.projection import make_projection
from skinfluence.torch.influence.queries import Queries
from skinfluence.torch.influence.targets import OfOutput, Target
from skinfluence.torch.influence.trained import PROBE
from skinfluence.torch.inputs import TakesAnyRows
from skinfluence.torch.models import read_traced
from skinfluence.torch.objective import NetworkObjective
from skinfluence.torch.resume import NoRecord
from skinfluence.torch.tracing import self_influence
from skinfluence.torch.tracing.added_up import check_sums, claims_sums
from skinfluence.torch.tracing.completeness import Drops, drops, make_intervals
from skinfluence.torch.tracing.drawing import (
    check_target,
    make_drawing,
    picked,
    refuse_draws,
    run_pilot,
)
from skinfluence.torch.tracing.draws import DrawnRows, without_draws
from skinfluence.torch.tracing.embedding import Embedding, embedded
from skinfluence.torch.tracing.metric import Kernel
from skinfluence.torch.tracing.optimizer import check_optimizer
from skinfluence.torch.tracing.options import check_options, checkpoints_of, unit
from skinfluence.torch.tracing.pilot import Pilot
from skinfluence.torch.tracing.rates import make_rates, shown
from skinfluence.torch.tracing.resuming import name_of, open_record
from skinfluence.torch.tracing.scores import Scores
from skinfluence.torch.tracing.sums import Sums
from skinfluence.torch.tracing.targets import choice_of, traced_target
from skinfluence.torch.tracing.trajectory import Point, Trajectory


class TracingEngine(TakesAnyRows):
    """Gradient products along the checkpoints of a training.

    ``score[z, i] = sum_c eta_c (w_i n / W) <grad t(z; theta_c), M_c grad l(x_i; theta_c)>`` with
    the optimiser's rates eta and, where asked, its scaling M.

    Parameters
    ----------
    model : object
        Fitted.
    rows : Given
    y : object or None
    sample_weight : array-like or None
    settings : SimpleNamespace
        checkpoints, learning_rates, target, output, loss, params, preconditioner, n_checkpoints,
        projection, n_draws, tol, gradient, resume, progress, random_state.
    """

    @alone
    def __init__(
        self, model: Any, rows: Given, y: Any, sample_weight: Any, settings: SimpleNamespace
    ):
        self.model, self.rows, self.y, self.settings = model, rows, y, settings
        self.objective = self.read(model, rows.X, y, sample_weight)
        self.n_train = self.objective.n_train
        self.checkpoints = checkpoints_of(model, settings)
        self.target = traced_target(settings.target, self.objective)
        self.pilot: Pilot | None = None
        self.drawing = make_drawing(self.objective, settings.n_draws, self._seed)
        if self.drawing is None:
            refuse_draws(settings.n_draws, settings.gradient)
        self._draw()
        self.trajectory = self._trajectory()
        self._choose_draws()
        self.weights = self._weights()
        self.method, self.score_unit = "tracin", unit(settings, self.checkpoints)
        self._base = self._gradients()

    def read(self, model: Any, X: Any, y: Any, sample_weight: Any) -> NetworkObjective:
        """Objective of a model of this kind, with what the user says of it."""
        settings = self.settings
        return read_traced(
            model,
            X,
            y,
            sample_weight,
            loss=settings.loss,
            params=settings.params,
            gradient=settings.gradient,
        )

    def _draw(self):
        """Give the training rows their noise."""
        if self.drawing is not None:
            check_target(self.target)
            rows = self.drawing.training(without_draws(self.objective.rows))
            self.objective = replace(self.objective, rows=rows)

    def _choose_draws(self):
        if self.drawing is None or self.settings.n_draws != "auto":
            return
        self.pilot = run_pilot(self.trajectory, self.settings.tol)
        self.drawing = replace(self.drawing, n_draws=self.pilot.n_draws)
        self._draw()
        self.trajectory = self._trajectory()

    def _trajectory(self) -> Trajectory:
        names, n = self.objective.network.names, self._n_trained_on()
        rates = make_rates(self.checkpoints, self.settings.learning_rates, names, n)
        scaled = self.settings.preconditioner == "optimizer"
        if scaled:
            check_optimizer(self.checkpoints)
        return Trajectory(self.objective, self.checkpoints, rates, self.target, scaled=scaled)

    def _n_trained_on(self) -> int:
        return self.n_train - int(self._held_out().sum())

    def _weights(self) -> Array:
        """``w_i n / W``."""
        w = self.objective.weights.numpy()
        found: Array = w * (self._n_trained_on() / w.sum())
        return found

    def _gradients(self) -> RowGradients:
        probe = self.objective.rows.take(slice(0, PROBE))
        return RowGradients(self.objective.network, self.objective.loss, probe)

    @property
    def has_targets(self) -> bool:
        """Whether the training rows have targets."""
        return self.objective.rows.take(slice(0, 1)).y is not None

    # -- fitting ----------------------------------------------------------------------------------

    @classmethod
    def check(cls, model: Any, settings: SimpleNamespace) -> None:
        check_options(settings)

    @classmethod
    def needs_y(cls, X: Any, settings: SimpleNamespace) -> bool:
        loss = settings.loss
        own = callable(loss) and not isinstance(loss, nn.Module)
        return not own and loss != "elbo" and not given.has_targets(X)

    def attributes(self) -> dict[str, Any]:
        return {
            **super().attributes(),
            "checkpoints_": self.checkpoints,
            "learning_rates_": shown(self.trajectory.rates),
            "n_draws_": None if self.drawing is None else self.drawing.n_draws,
            "held_out_": self._held_out(),
        }

    def report(self) -> dict[str, Any]:
        return {
            **super().report(),
            "n_checkpoints": len(self.trajectory),
            "steps": self.trajectory.steps,
            "learning_rates": shown(self.trajectory.rates),
            "preconditioner": self.settings.preconditioner,
            "n_held_out": int(self._held_out().sum()),
            **({} if self.drawing is None else self.drawing.report(self.pilot)),
        }

    # -- queries ----------------------------------------------------------------------------------

    @alone
    def queries(self, rows: Any, y: Any) -> Queries:
        if rows is None:
            raise ValueError(
                "X is None, which asks about parameters, and tracing is about values of queries. "
                "Pass queries."
            )
        if y is None and self.settings.target == "loss" and self._lacks_y(rows):
            raise ValueError(
                "target='loss' measures the loss at each query, which needs its y. Pass y, or "
                "trace the prediction: target='decision_function' or 'proba'."
            )
        return self._checked(self._queries(self._read_rows(rows, y), self.target))

    def _lacks_y(self, rows):
        return self.has_targets and not given.has_targets(rows.X)

    def _read_rows(self, rows, y):
        assert self.objective.read_rows is not None
        return self.objective.read_rows(rows.X, y)

    def _queries(self, rows, target, *, by_y=True) -> Queries:
        """Queries of the trained network, whose predictions say which output they are about."""
        if self.drawing is not None:
            rows = self.drawing.queries(rows)
        if not isinstance(target, OfOutput):
            return Queries(rows, self._base)
        choice = choice_of(self.objective, target, rows, self.settings.output, by_y=by_y)
        return Queries(rows, self._base, choice)

    def _checked(self, queries: Queries) -> Queries:
        """Queries at which the target is a number: one that is not would spoil its block."""
        what = self.settings.target if isinstance(self.settings.target, str) else "target"
        faults.check_values(self.objective.network, self.target, queries, what=what)
        return queries

    def _train_queries(self) -> Queries:
        return self._queries(self.objective.rows, self.target)

    # -- scores -----------------------------------------------------------------------------------

    def tiles(
        self, queries: Any, *, n_jobs: int | None, progress: bool, desc: str
    ) -> Iterator[Block]:
        def found():  # so that the record is opened under the lock
            name = name_of(self._record, "scores", queries)
            yield from self._scores.tiles(queries, name, progress=progress, desc=desc)

        yield from one_by_one(found())

    @alone
    def over_queries(
        self, queries: Any, reduce: str, *, n_jobs: int | None, progress: bool
    ) -> Array:
        if self._projection is not None:
            return super().over_queries(queries, reduce, n_jobs=n_jobs, progress=progress)
        name = name_of(self._record, "scores", queries)
        total = self._scores.over_queries(queries, name, progress=progress)
        return total / queries.shape[0] if reduce == "mean" else total

    @alone
    def self_influence(
        self, rows: Positions | None, *, n_jobs: int | None, progress: bool
    ) -> Array:
        return self.self_influence_and_error(rows, n_jobs=n_jobs, progress=progress)[0]

    @alone
    def self_influence_and_error(
        self, rows: Positions | None, *, n_jobs: int | None = None, progress: bool = False
    ) -> tuple[Array, Array]:
        """Self influence of the training rows at these positions, and its standard error."""
        at = np.arange(self.n_train) if rows is None else np.asarray(rows)
        values, error = self._own(at, progress)
        return values * self.weights[at], error * self.weights[at]

    def _own(self, at, progress=False):
        """Self influence as if all weights were 1, and its standard error."""
        name = name_of(self._record, "self", at)
        rows = self.objective.rows
        if isinstance(rows, DrawnRows):
            own = picked(rows, at)
            return self_influence.of_draws(self._sums, own, name, progress=progress)
        queries = self._train_queries()
        found = self_influence.of_training(self._sums, queries, at, name, progress=progress)
        return found, np.zeros(len(at))

    @alone
    def unweighted(self, scores: Array) -> Array:
        """Self influence of all training rows as if their weights were 1, (n_train,)."""
        found = np.divide(scores, self.weights, where=self.weights > 0, out=np.zeros(len(scores)))
        none = np.flatnonzero(self.weights == 0)
        if len(none):
            found[none] = self._own(none)[0]
        return found

    @alone
    def own_influence(
        self, queries: Queries, *, n_jobs: int | None = None, progress: bool = False
    ) -> Array:
        """Self influence of rows asked about by their loss, as training rows of weight 1."""
        name = name_of(self._record, "own", queries)
        if self.drawing is not None and isinstance(queries.rows, DrawnRows):
            # With the draws that they have as training rows, which are judged in the same way.
            rows = self.drawing.training(queries.rows.rows)
            return self_influence.of_draws(self._sums, rows, name, progress=progress)[0]
        return self_influence.of_queries(self._sums, queries, name, progress=progress)

    @cached_property
    def _record(self) -> NoRecord:
        return open_record(
            self.settings.resume,
            self.objective,
            self.checkpoints,
            self.target,
            scaled=self.trajectory.scaled,
            rates=self.trajectory.rates,
            preconditioner=self.settings.preconditioner,
            asked=self.settings.target,
            gradient=self.settings.gradient,
            projection=self.settings.projection,
            draws=None if self.drawing is None else (self.drawing.n_draws, self._seed),
            seed=self._seed,
        )

    @property
    def _sums(self) -> Sums:
        return Sums(self.trajectory, self._record)

    @property
    def _scores(self) -> Scores:
        return Scores(self._sums, self.weights, self._kernel)

    def _kernel(self, point: Point) -> Kernel:
        projection = self._projection
        return point.metric if projection is None else embedded(point, projection)

    @property
    def _projection(self) -> Any:
        return make_projection(self.settings.projection, self._seed)

    @property
    def _seed(self) -> int:
        given = self.settings.random_state
        return int(given) if isinstance(given, int | np.integer) else 0

    # -- embedding --------------------------------------------------------------------------------

    def _embedding(self, target: Target | None = None) -> Embedding:
        return Embedding(self.trajectory.about(target), self.weights, self._projection)

    @alone
    def embed(self, rows: Any, y: Any = None) -> Array:
        """Points whose products with those of training rows are scores, (n_queries, width).

        Without y, where the target needs it, they are about the predicted output.
        """
        target = self.target
        if y is None and self.settings.target == "loss" and self._lacks_y(rows):
            target = traced_target("decision_function", self.objective)
        queries = self._queries(self._read_rows(rows, y), target, by_y=y is not None)
        return self._embedding(target).of_queries(queries)

    @alone
    def train_embedding(self, out: Any = None) -> Any:
        """Training rows in the same space, times their weights, (n_train, width)."""
        return self._embedding().of_training(out)

    @alone
    def embedding_width(self) -> int:
        """Number of columns of both."""
        return self._embedding().width()

    # -- truth ------------------------------------------------------------------------------------

    def completeness(
        self,
        queries: Queries,
        *,
        n_jobs: int | None = None,
        progress: bool = False,
        consecutive: bool = True,
    ) -> Agreement:
        """Agreement of the sums of scores over rows with the drops of the queries' values.

        Parameters
        ----------
        queries : Queries
        n_jobs : int or None
            Not looked at: torch has threads of its own.
        progress : bool
        consecutive : bool, default=True
            Whether of every interval between two checkpoints, (n_queries, C - 1), or of the
            whole way, (n_queries,).
        """
        found = self.drops(queries, progress=progress, consecutive=consecutive)
        return found.agreement(consecutive=consecutive)

    @alone
    def drops(
        self, queries: Queries, *, progress: bool = False, consecutive: bool = False
    ) -> Drops:
        """Sums of scores over rows, and drops of the queries' values, between checkpoints."""
        if len(self.checkpoints) < 2:
            raise ValueError(
                "There is one checkpoint, and what training did to a query is the difference "
                "between two. Record the training, e.g. with CheckpointRecorder(every=100)."
            )
        given = self.settings.learning_rates is not None
        n = self._n_trained_on()
        intervals = make_intervals(self.trajectory, n, given=given, consecutive=consecutive)
        return drops(self.trajectory, intervals, queries, self.weights, progress=progress)

    @alone
    def check_sums(self) -> None:
        """Warn where scores that claim to be parts of a loss's fall do not add up to it."""
        if claims_sums(self.score_unit, self.trajectory):
            intervals = make_intervals(self.trajectory, self._n_trained_on(), given=False)
            rows = self.objective.rows
            queries = self._queries(without_draws(rows), self.target)
            check_sums(self.trajectory, intervals, queries, self.weights, self._seed)
