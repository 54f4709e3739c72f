"""Free variables of the programme, and the bordered system that they solve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import blas

from skinfluence.deletion.base import Array
from skinfluence.deletion.svm.kernel import Indices
from skinfluence.deletion.svm.programme import Programme

# Places for variables that enter before the buffers are too small.
ROOM = 24
# Relative residual above which an inverse is computed anew.
DRIFT = 1e-9
# Above which a solution is refined.
REFINE = 1e-13
# Share of the kernel's size below which a variable is a combination of the free ones.
DEPENDENT = 1e-12


class FreeSet:
    """Free variables S and the inverse of ``[[0, A_S], [A_S', K_SS]]``.

    A_S has a row for each group with a free variable. The inverse follows a variable that enters
    or leaves by a rank one change. Solutions are refined by the system itself, so that an
    ill-conditioned inverse costs no digits before it is useless; then it is computed anew.

    Parameters
    ----------
    programme : Programme
    members : sequence of int, default=()
        Variables whose system is regular.

    Attributes
    ----------
    groups : ndarray of int
        Groups with a free variable, in the order of the border.
    """

    def __init__(self, programme: Programme, members: Sequence[int] = ()):
        self.programme = programme
        self._base = np.empty((0, programme.kernel.n))
        self._slots = np.empty(0, dtype=np.intp)
        self._extra: dict[int, Array] = {}
        self._build(np.asarray(members, dtype=np.intp))
        self.rebase()

    def __len__(self) -> int:
        return self._size - len(self.groups)

    @property
    def members(self) -> Indices:
        """The free variables, in the order of the system."""
        return self._order[len(self.groups) : self._size]

    def copy(self) -> FreeSet:
        """A set that can change without this one."""
        new = object.__new__(FreeSet)
        new.programme, new.groups, new._size = self.programme, self.groups, self._size
        capacity = self._size + ROOM
        new._order = np.full(capacity, -1, dtype=np.intp)
        new._system, new._inverse = np.zeros((2, capacity, capacity))  # BLAS takes all of them
        k = self._size
        new._order[:k] = self._order[:k]
        new._system[:k, :k] = self._system[:k, :k]
        new._inverse[:k, :k] = self._inverse[:k, :k]
        new._base, new._slots, new._extra = self._base, self._slots, dict(self._extra)
        return new

    def rebase(self) -> None:
        """Keep the kernel rows of the present members together, for quick products."""
        members = self.members
        self._base = np.ascontiguousarray(self.programme.kernel.rows(self.programme.row[members]))
        self._slots = np.full(len(self.programme.row), -1, dtype=np.intp)
        self._slots[members] = np.arange(len(members))
        self._extra = {}

    # -- the system -------------------------------------------------------------------------------

    def _build(self, members):
        programme = self.programme
        self.groups = programme.groups_of(members)
        n_groups = len(self.groups)
        self._size = k = n_groups + len(members)
        self._order = np.full(k + ROOM, -1, dtype=np.intp)
        self._order[n_groups:k] = members
        self._system, self._inverse = np.zeros((2, k + ROOM, k + ROOM))
        border = (programme.group[members] == self.groups[:, None]).astype(float)
        self._system[:n_groups, n_groups:k] = border
        self._system[n_groups:k, :n_groups] = border.T
        rows = programme.row[members]
        self._system[n_groups:k, n_groups:k] = programme.kernel.block(rows)
        self._invert()

    def _invert(self):
        k = self._size
        if k:
            self._inverse[:k, :k] = np.linalg.inv(self._system[:k, :k])

    def solve(self, right: Array) -> Array:
        """Solution of the system for a right side (size,)."""
        k = self._size
        if not k:
            return np.zeros(0)
        size = max(np.abs(right).max(), np.finfo(float).tiny)
        solution, residual = self._solve_once(right)
        if np.abs(residual).max() > REFINE * size:
            solution += self._inverse[:k, :k] @ residual
            residual = right - self._system[:k, :k] @ solution
        if np.abs(residual).max() > DRIFT * size:
            self._invert()
            solution, residual = self._solve_once(right)
            solution += self._inverse[:k, :k] @ residual
        return solution

    def _solve_once(self, right):
        k = self._size
        solution = self._inverse[:k, :k] @ right
        return solution, right - self._system[:k, :k] @ solution

    def column(self, v: int) -> Array:
        """Border and kernel of variable v with the members, (size,)."""
        programme = self.programme
        kernel = self._kernel_row(v)[programme.row[self.members]]
        return np.concatenate([(self.groups == programme.group[v]).astype(float), kernel])

    def combination(self, v: int) -> tuple[Array, float]:
        """What members v is a combination of, (size,), and by which square it is none.

        Of a group that has no member yet: no combination, and inf.
        """
        if self.programme.summed and self.programme.group[v] not in self.groups:
            return np.zeros(self._size), np.inf
        column = self.column(v)
        weights = self.solve(column)
        kernel, row = self.programme.kernel, self.programme.row
        apart = kernel.apart(row[v], row[self.members], weights[len(self.groups) :])
        if apart is not None:
            return weights, apart
        own = self._kernel_row(v)[self.programme.row[v]]
        # Of second order in the error of the weights.
        system = self._system[: self._size, : self._size]
        return weights, own - 2.0 * weights @ column + weights @ (system @ weights)

    def dependent(self, v: int, square: float) -> bool:
        """Whether a variable with that square is a combination of the members, to rounding."""
        if not np.isfinite(square):
            return False
        return square <= DEPENDENT * self.programme.kernel.largest

    def add(self, v: int, weights: Array, square: float) -> None:
        """Let v enter, with what :meth:`combination` said of it."""
        if not np.isfinite(square):
            self._build(np.append(self.members, v))
            return
        k = self._size
        if k == len(self._order):
            self._grow()
        column = self.column(v)
        self._order[k] = v
        self._system[k, :k] = self._system[:k, k] = column
        self._system[k, k] = self._kernel_row(v)[self.programme.row[v]]
        inverse = self._inverse
        self._add_square(weights, 1.0 / square)
        inverse[k, :k] = inverse[:k, k] = -weights / square
        inverse[k, k] = 1.0 / square
        self._size = k + 1

    def remove(self, v: int) -> None:
        """Let v leave."""
        members = self.members
        group = self.programme.group[v]
        alone = np.count_nonzero(self.programme.group[members] == group) == 1
        if self.programme.summed and alone:
            self._build(members[members != v])
            return
        place = len(self.groups) + int(np.flatnonzero(members == v)[0])
        k, inverse = self._size, self._inverse
        column = inverse[:k, place].copy()
        regular = column[place] > 0  # otherwise rounding has eaten it
        if regular:
            self._add_square(column, -1.0 / column[place])
        last = self._size = k - 1
        self._order[place] = self._order[last]
        for matrix in (self._system, self._inverse):
            matrix[place, :k] = matrix[last, :k]
            matrix[:k, place] = matrix[:k, last]
        if not regular:
            self._invert()

    def _add_square(self, vector, factor):
        """Add ``factor * vector vector'`` to the inverse, where it is."""
        padded = np.zeros(len(self._inverse))
        padded[: len(vector)] = vector
        blas.dger(factor, padded, padded, a=self._inverse.T, overwrite_a=True)

    def _grow(self):
        k, capacity = self._size, 2 * self._size
        order = np.full(capacity, -1, dtype=np.intp)
        order[:k] = self._order[:k]
        larger = np.zeros((2, capacity, capacity))
        larger[0, :k, :k], larger[1, :k, :k] = self._system[:k, :k], self._inverse[:k, :k]
        self._order, (self._system, self._inverse) = order, larger

    # -- products with all rows -------------------------------------------------------------------

    def _kernel_row(self, v):
        slot = self._slots[v] if len(self._slots) else -1
        if slot >= 0:
            return self._base[slot]
        if v not in self._extra:
            self._extra[v] = self.programme.kernel.row(int(self.programme.row[v]))
        return self._extra[v]

    def part_of_base(self, rows: Indices) -> Array:
        """Kernel of the members at :meth:`rebase` with some rows, for :meth:`products`."""
        return np.ascontiguousarray(self._base[:, rows])

    def products(
        self, coefficients: Array, rows: Indices | None = None, base: Array | None = None
    ) -> Array:
        """Sum of the members' kernel rows with these coefficients, (n,).

        Only with some `rows`, (len(rows),), where `base` is their :meth:`part_of_base`.
        """
        base = self._base if base is None else base
        members = self.members
        slots = self._slots[members]
        inside = slots >= 0
        weights = np.zeros(len(base))
        weights[slots[inside]] = coefficients[inside]
        total = weights @ base
        for k in np.flatnonzero(~inside):
            row = self._kernel_row(int(members[k]))
            total += coefficients[k] * (row if rows is None else row[rows])
        return total

    def products_of(self, change: Array) -> Array:
        """``K change`` for a change of all variables, (n,)."""
        changed = np.flatnonzero(change)
        slots = self._slots[changed]
        inside = slots >= 0
        total = np.zeros(self.programme.kernel.n)
        if inside.any():
            weights = np.zeros(len(self._base))
            weights[slots[inside]] = change[changed[inside]]
            total = weights @ self._base
        others = changed[~inside]
        if len(others):
            total += self.programme.kernel.mixed(self.programme.row[others], change[others])
        return total
