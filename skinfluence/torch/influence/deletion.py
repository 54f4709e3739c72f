"""The two ways to follow a deletion: along gradients, and to where a Newton step leads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

import numpy as np
from torch import Tensor

from skinfluence.attribution import Block
from skinfluence.torch.data import Rows
from skinfluence.torch.influence import first_order, groups, replacement, self_influence
from skinfluence.torch.influence.evaluation import Evaluation
from skinfluence.torch.influence.newton import GaussNewtonDeletion
from skinfluence.torch.influence.queries import Parameters, Queries
from skinfluence.torch.influence.targets import OfLoss, Target
from skinfluence.torch.influence.trained import Trained, as_array

Asked = Queries | Parameters


class Deletion(ABC):
    """How a target changes when rows are deleted.

    Parameters
    ----------
    trained : Trained
    target : Target or None
        None where parameters are asked about.
    """

    method: str

    def __init__(self, trained: Trained, target: Target | None):
        self.trained, self.target = trained, target

    @abstractmethod
    def move_slices(self, n: int) -> list[slice]:
        """Blocks of rows whose moves are found together."""

    @abstractmethod
    def moves(self, rows: slice | np.ndarray) -> Tensor:
        """Move of the parameters without each row, (b, p)."""

    @abstractmethod
    def group_move(self, rows: np.ndarray) -> Tensor:
        """Move without all of the rows, (1, p)."""

    @abstractmethod
    def values_changed(self, queries: Queries, moves: Tensor) -> np.ndarray:
        """Change of the target at each query under each move, (m, b)."""

    @abstractmethod
    def own_group_change(self, queries: Queries, rows: np.ndarray, move: Tensor) -> float:
        """Sum over some rows of the change of their values; queries are the training rows."""

    @abstractmethod
    def own_changes(self, queries: Queries, at: np.ndarray, *, progress: bool) -> np.ndarray:
        """Change of each row's value when it is deleted, (len(at),); queries as above."""

    @abstractmethod
    def replaced(self, queries: Asked, at: np.ndarray, new: Rows) -> np.ndarray:
        """Change when row ``at[j]`` becomes row j of `new`, one at a time, (m, len(at))."""

    @abstractmethod
    def replaced_on_average(
        self, queries: Asked, at: np.ndarray, news: Iterable[Rows]
    ) -> Iterator[np.ndarray]:
        """Mean over the queries of :meth:`replaced`, for one set of rows after another."""

    def changes(self, queries: Asked, moves: Tensor) -> np.ndarray:
        """Change of what is asked about under each move, (m, b)."""
        if isinstance(queries, Parameters):
            return np.ascontiguousarray(as_array(moves).T[queries.positions])
        return self.values_changed(queries, moves)

    def by_moves(self, queries: Asked) -> bool:
        """Whether scores are found move by move, and not query by query."""
        return True

    def n_tiles(self, queries: Asked) -> int:
        """How many blocks :meth:`tiles` yields."""
        return len(self.move_slices(self.trained.n_train))

    def tiles(self, queries: Asked, sizes: np.ndarray | None) -> Iterator[Block]:
        """Scores in blocks, divided by the size of each row where there are sizes."""
        for rows in self.move_slices(self.trained.n_train):
            values = self.changes(queries, self.moves(rows))
            if sizes is not None:
                values = first_order.divided(values, sizes[rows])
            yield slice(0, queries.shape[0]), rows, values

    def estimated(self, queries: Asked, rows: np.ndarray) -> np.ndarray:
        """Scores of some rows, (m, len(rows))."""
        return self.changes(queries, self.moves(rows))


class AlongGradients(Deletion):
    """First order: moves by the inverse, values along their gradients."""

    method = "first_order"

    def move_slices(self, n: int) -> list[slice]:
        return self.trained.dense_slices(n)

    def moves(self, rows: slice | np.ndarray) -> Tensor:
        return self.trained.moves(rows)

    def group_move(self, rows: np.ndarray) -> Tensor:
        return self.trained.solve(groups.taken_together(self.trained, rows))

    def values_changed(self, queries: Queries, moves: Tensor) -> np.ndarray:
        return groups.along_gradients(queries, moves)

    def own_group_change(self, queries: Queries, rows: np.ndarray, move: Tensor) -> float:
        return groups.own_sum(queries, rows, move)

    def own_changes(self, queries: Queries, at: np.ndarray, *, progress: bool) -> np.ndarray:
        if isinstance(self.target, OfLoss):
            return self_influence.on_own_loss(self.trained, at, progress=progress)
        return self_influence.on_own_value(self.trained, queries, at, progress=progress)

    def replaced(self, queries: Asked, at: np.ndarray, new: Rows) -> np.ndarray:
        return replacement.first_order(self.trained, queries, at, new)

    def replaced_on_average(
        self, queries: Asked, at: np.ndarray, news: Iterable[Rows]
    ) -> Iterator[np.ndarray]:
        return replacement.first_order_means(self.trained, queries, at, news)

    def by_moves(self, queries: Asked) -> bool:
        # As many solves as queries, or as rows.
        return isinstance(queries, Parameters) and queries.shape[0] > self.trained.n_train

    def n_tiles(self, queries: Asked) -> int:
        if self.by_moves(queries):
            return super().n_tiles(queries)
        return first_order.n_tiles(self.trained, queries.shape[0])

    def tiles(self, queries: Asked, sizes: np.ndarray | None) -> Iterator[Block]:
        if self.by_moves(queries):
            yield from super().tiles(queries, sizes)
        else:
            yield from first_order.tiles(self.trained, queries, sizes)


class ByNewton(Deletion):
    """Gauss-Newton steps, and values evaluated where they lead.

    Parameters
    ----------
    trained, target
        As for :class:`Deletion`.
    steps : GaussNewtonDeletion
    """

    method = "newton"

    def __init__(self, trained: Trained, target: Target | None, steps: GaussNewtonDeletion):
        super().__init__(trained, target)
        self.steps = steps

    def move_slices(self, n: int) -> list[slice]:
        return self.steps.slices(n)

    def moves(self, rows: slice | np.ndarray) -> Tensor:
        return self.steps.moves(rows)

    def group_move(self, rows: np.ndarray) -> Tensor:
        return self.steps.group_move(rows)

    def values_changed(self, queries: Queries, moves: Tensor) -> np.ndarray:
        return self._evaluation().changes(queries, moves)

    def own_group_change(self, queries: Queries, rows: np.ndarray, move: Tensor) -> float:
        every = move.expand(len(rows), -1)
        return float(self._evaluation().own_changes(queries, rows, every).sum())

    def own_changes(self, queries: Queries, at: np.ndarray, *, progress: bool) -> np.ndarray:
        evaluation = self._evaluation()
        found = [
            evaluation.own_changes(queries, at[part], self.moves(at[part]))
            for part in self_influence.bar(self.move_slices(len(at)), progress)
        ]
        return np.concatenate([np.zeros(0), *found])

    def replaced(self, queries: Asked, at: np.ndarray, new: Rows) -> np.ndarray:
        found = [values for _, values in self._replacements(queries, at, new)]
        return np.concatenate([np.zeros((queries.shape[0], 0)), *found], axis=1)

    def replaced_on_average(
        self, queries: Asked, at: np.ndarray, news: Iterable[Rows]
    ) -> Iterator[np.ndarray]:
        for new in news:
            found = np.empty(len(at))
            for part, values in self._replacements(queries, at, new):
                found[part] = values.mean(axis=0)
            yield found

    def _replacements(self, queries, at, new):
        """Blocks of changes, (m, b), and which of the rows they are about."""
        steps = replacement.GaussNewtonReplacement(self.trained, self.steps)
        for part in steps.slices(len(at)):
            yield part, self.changes(queries, steps.moves(at[part], new[part]))

    def _evaluation(self) -> Evaluation:
        assert self.target is not None
        size = self.trained.gradients.block_size()
        return Evaluation(self.trained.network, self.target, size)
