"""Influence on networks, as InfluenceExplainer asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from torch import nn

from skinfluence import _loops, attribution
from skinfluence.attribution import Block
from skinfluence.engines.base import Array, DeletionEngine, Positions, Whole
from skinfluence.engines.labels import Labels
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.metrics import Agreement
from skinfluence.torch import faults, given
from skinfluence.torch.alone import alone, one_by_one
from skinfluence.torch.data import FetchedRows
from skinfluence.torch.given import Given
from skinfluence.torch.influence import first_order, groups, self_influence, stationarity
from skinfluence.torch.influence.building import Built
from skinfluence.torch.influence.deletion import AlongGradients, ByNewton, Deletion
from skinfluence.torch.influence.embedding import make_embedding
from skinfluence.torch.influence.evaluation import Evaluation
from skinfluence.torch.influence.labels import NetworkLabels
from skinfluence.torch.influence.parameters import names_at, parameter_names, positions_of
from skinfluence.torch.influence.perturbation import perturbation
from skinfluence.torch.influence.projection import make_projection
from skinfluence.torch.influence.queries import Parameters, Queries, make_queries
from skinfluence.torch.influence.retraining import Paired, refits
from skinfluence.torch.influence.targets import Target, make_target
from skinfluence.torch.influence.trained import as_array
from skinfluence.torch.influence.validation import retrained_agreement
from skinfluence.torch.inputs import TakesAnyRows
from skinfluence.torch.models import read
from skinfluence.torch.objective import NetworkObjective
from skinfluence.torch.options import about_parameters, check_options, unit


class NetworkEngine(TakesAnyRows, DeletionEngine):
    """Deletion of rows of a torch module, a skorch net or one of scikit-learn's MLPs.

    Parameters
    ----------
    model : object
        Fitted.
    rows : Given
    y : object or None
    sample_weight : array-like or None
    settings : SimpleNamespace
    """

    @alone
    def __init__(
        self, model: Any, rows: Given, y: Any, sample_weight: Any, settings: SimpleNamespace
    ):
        self.model, self.rows, self.y = model, rows, y
        self.sample_weight, self.settings = sample_weight, settings
        objective = self.read(model, rows.X, y, sample_weight)
        faults.check(objective.network, objective.loss, objective.rows)
        faults.check_values(objective.network, objective.loss, objective.rows, what="loss")
        self.objective, self.n_train = objective, objective.n_train
        self._check_deletable(type(model).__name__)
        self.built = Built(objective, settings)
        self.trained = self.built.trained
        self.about_parameters = about_parameters(settings.target)
        self.target = make_target(settings.target, objective)
        self.deletion = self.deletion_of(self.target)
        self.method = self.deletion.method
        self.score_unit = unit(settings)
        self.param_names = parameter_names(objective.network)
        found = stationarity.relative_gradient(self.trained)
        stationarity.check_trained(type(model).__name__, objective, found)
        self.stationarity = (found, found)

    def _check_deletable(self, name: str) -> None:
        """Refuse a row that holds all the weight."""
        row = int(self.objective.weights.argmax())
        if self.nothing_left(np.array([row])):
            raise ValueError(
                f"Row {row} alone carries weight, and without it nothing is left that {name} was "
                "trained on, so that its deletion means nothing. Pass all rows of the training."
            )

    def deletion_of(self, target: Target | None) -> Deletion:
        """How a target, this engine's or another, changes with the rows."""
        if self.settings.method == "newton":
            return ByNewton(self.trained, target, self.built.newton())
        return AlongGradients(self.trained, target)

    # -- fitting ----------------------------------------------------------------------------------

    @classmethod
    def check(cls, model: Any, settings: SimpleNamespace) -> None:
        check_options(model, settings)

    @classmethod
    def needs_y(cls, X: Any, settings: SimpleNamespace) -> bool:
        # A function of the user's may do without, as that of an autoencoder does.
        own = callable(settings.loss) and not isinstance(settings.loss, nn.Module)
        return not own and not given.has_targets(X)

    def read(self, model: Any, X: Any, y: Any, sample_weight: Any) -> NetworkObjective:
        """Objective of a model of this kind, with what the user says of it."""
        settings = self.settings
        return read(
            model,
            X,
            y,
            sample_weight,
            loss=settings.loss,
            weight_decay=settings.weight_decay,
            params=settings.params,
        )

    def attributes(self) -> dict[str, Any]:
        return {
            **super().attributes(),
            "damping_": self.built.damping,
            "curvature_": self.built.curvature,
            "solver_": self.built.choice.solver,
            "solver_reason_": self.built.choice.reason,
            "held_out_": self._held_out(),
        }

    def report(self) -> dict[str, Any]:
        return {
            **super().report(),
            "curvature": self.built.curvature,
            "solver": self.built.choice.solver,
            "solver_reason": self.built.choice.reason,
            "n_held_out": int(self._held_out().sum()),
            **self.trained.inverse.report(),
        }

    # -- queries ----------------------------------------------------------------------------------

    @alone
    def queries(self, rows: Any, y: Any) -> Any:
        if self.about_parameters:
            if rows is not None:
                raise ValueError(
                    f"target={self.settings.target!r} is about the fitted parameters, not about "
                    "queries. Pass X=None: score_influence(None)."
                )
            return Parameters(self.trained.network, self._positions())
        if rows is None:
            raise ValueError(
                "X is None, which asks about parameters, and the target is a value of queries. "
                "Pass queries, or fit with target='params'."
            )
        if y is None and self.settings.target == "loss" and self._lacks_y(rows):
            raise ValueError(
                "target='loss' measures the loss at each query, which needs its y. Pass y, or "
                "explain the prediction: target='decision_function' or 'proba'."
            )
        return self._checked(self._queries(self._read_rows(rows, y)), self.target)

    def _checked(self, queries, target):
        """Queries at which the target is a number: one that is not would spoil its block."""
        what = self.settings.target if isinstance(self.settings.target, str) else "target"
        faults.check_values(self.objective.network, target, queries, what=what)
        return queries

    def _lacks_y(self, rows):
        return self.needs_y(rows.X, self.settings)

    def _read_rows(self, rows, y):
        assert self.objective.read_rows is not None
        return self.objective.read_rows(rows.X, y)

    def _queries(self, rows, target: Target | None = None, *, by_y: bool = True):
        target = self.target if target is None else target
        assert target is not None
        return make_queries(
            self.trained,
            target,
            rows,
            output=self.settings.output,
            classes=self.objective.classes,
            by_y=by_y,
        )

    def _positions(self):
        return positions_of(self.trained.network, self.settings.target)

    def query_names(self) -> Any:
        if not self.about_parameters:
            return None
        return names_at(self.trained.network, self._positions())

    def _train_queries(self):
        return self._queries(self.objective.rows)

    # -- scores -----------------------------------------------------------------------------------

    def tiles(
        self, queries: Any, *, n_jobs: int | None, progress: bool, desc: str
    ) -> Iterator[Block]:
        found = one_by_one(self._tiles(queries))
        total = self.deletion.n_tiles(queries)
        for block in _loops.progress_bar(found, total=total, enabled=progress, desc=desc):
            attribution.check_no_nan(block[2])
            yield block

    def _tiles(self, queries):
        yield from self.deletion.tiles(queries, self._sizes())

    def _sizes(self):
        """What RelatIF divides the scores of each row by, (n_train,), or None."""
        relative = self.settings.relative
        if relative is None:
            return None
        if relative == "loss":
            return np.sqrt(self_influence.squared_sizes(self.trained))
        return self_influence.lengths_of_moves(self.trained)

    @alone
    def over_queries(
        self, queries: Any, reduce: str, *, n_jobs: int | None, progress: bool
    ) -> Array:
        if self.deletion.by_moves(queries):
            return super().over_queries(queries, reduce, n_jobs=n_jobs, progress=progress)
        total = first_order.over_queries(self.trained, queries, self._sizes())
        attribution.check_no_nan(total)
        return total / queries.shape[0] if reduce == "mean" else total

    @alone
    def self_influence(
        self, rows: Positions | None, *, n_jobs: int | None, progress: bool
    ) -> Array:
        if self.about_parameters:
            raise ValueError(
                f"target={self.settings.target!r} has no value at a row, so rows have no self "
                "influence. Use d_params() for what each row does to the parameters, or "
                "target='loss'."
            )
        at = np.arange(self.n_train) if rows is None else rows
        scores = self.deletion.own_changes(self._train_queries(), at, progress=progress)
        sizes = self._sizes()
        scores = scores if sizes is None else first_order.divided(scores, sizes[at])
        attribution.check_no_nan(scores)
        return scores

    @alone
    def d_params(self) -> Array:
        out = np.empty((self.n_train, self.trained.network.n_params))
        for rows in self.deletion.move_slices(self.n_train):
            out[rows] = -as_array(self.deletion.moves(rows))
        return out

    # -- groups -----------------------------------------------------------------------------------

    def nothing_left(self, rows: Positions) -> bool:
        weights = self.objective.weights.numpy().copy()
        weights[rows] = 0.0
        return not weights.any()

    @alone
    def score_groups(
        self, queries: Any, names: Any, members: Sequence[Positions], *, progress: bool
    ) -> Array:
        own = self._train_queries() if queries is None else None
        columns = []
        for rows in _loops.progress_bar(
            members, total=len(members), enabled=progress, desc="score_groups"
        ):
            moved = self.deletion.group_move(rows)
            if own is None:
                change = self.deletion.changes(queries, moved)[:, 0]
            else:
                change = np.array([self.deletion.own_group_change(own, rows, moved)])
            relative = self.settings.relative
            if relative is not None:
                change = first_order.divided(change, groups.size(self.trained, rows, relative))
            columns.append(change)
        scores = np.stack(columns, axis=-1)
        attribution.check_no_nan(scores)
        return scores if own is None else scores[0]

    # -- embedding --------------------------------------------------------------------------------

    def _embedding(self):
        seed = self.settings.random_state if isinstance(self.settings.random_state, int) else 0
        return make_embedding(self.trained, make_projection(self.settings.projection, seed))

    @alone
    def embed(self, rows: Any) -> Array:
        asked = self.settings.target
        needs_no_y = asked in ("decision_function", "proba") or callable(asked)
        target = make_target(asked if needs_no_y else "decision_function", self.objective)
        queries = self._queries(self._read_rows(rows, None), target, by_y=False)
        return self._embedding().of_queries(self._checked(queries, target))

    @alone
    def train_embedding(self, out: Any = None) -> Array:
        found: Array = self._embedding().of_training(out)
        return found

    @alone
    def embedding_width(self) -> int:
        return self._embedding().width()

    # -- other values of training rows ------------------------------------------------------------

    @alone
    def perturbation(
        self, queries: Any, rows: Positions, features: Positions | None = None
    ) -> Array:
        return perturbation(self.trained, queries, rows, features)

    @alone
    def score_replacement(self, queries: Any, rows: Positions, new: Any, new_y: Any) -> Array:
        found = self.deletion.replaced(queries, rows, self._replacing(rows, new, new_y))
        attribution.check_no_nan(found)
        return found

    @alone
    def mean_replacement(self, queries: Any, rows: Positions, news: Iterable[Any]) -> list[Array]:
        read = (self._replacing(rows, new, None) for new in news)
        found = list(self.deletion.replaced_on_average(queries, rows, read))
        for values in found:
            attribution.check_no_nan(values)
        return found

    def _replacing(self, rows, new, new_y):
        """New rows as the network takes them; their targets are the old ones where none come."""
        read = self._read_rows(new, new_y)
        if new_y is None and not given.has_targets(new.X):
            was = FetchedRows(self.objective.rows.take, rows, device=read.device)
            read = Paired(read, was)
        faults.check_values(self.objective.network, self.objective.loss, read, what="loss")
        return read

    # -- diagnostics and truth --------------------------------------------------------------------

    def diagnostics(self, row_labels: Any) -> list[Any]:
        raise UnsupportedEstimatorError(
            f"{type(self.model).__name__} is a network, and the classical diagnostics are those "
            "of a regression. Use self_influence() for outliers, d_params() for what rows move."
        )

    def labels(self, rows: Any, retrain: Callable[[np.ndarray], Any] | None) -> Labels:
        return NetworkLabels(self, self._read_rows(rows, None), retrain)

    @alone
    def leverage(self) -> Array:
        return self_influence.squared_sizes(self.trained)

    def agreement(
        self,
        queries: Any,
        query_rows: Any,
        rows: Positions,
        *,
        whole: Whole | None,
        retrain: Callable[[np.ndarray], Any] | None = None,
    ) -> Agreement:
        refit = refits(self, queries, whole=whole, retrain=retrain)
        return retrained_agreement(
            alone(self.deletion.estimated)(queries, rows),
            rows,
            partial(self._values, refit),
            n_train=self.n_train,
            progress=self.settings.progress,
        )

    def _values(self, refit, kept):
        """Values of what is asked about, of a network trained on the rows kept."""
        network, queries = refit(kept)
        if isinstance(queries, Parameters):
            return network.theta.double().cpu().numpy()[queries.positions]
        assert self.target is not None and isinstance(queries, Queries)
        size = self.trained.gradients.block_size()
        return alone(Evaluation(network, self.target, size).values)(queries)
