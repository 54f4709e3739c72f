"""Blocks and sinks, on a deletion that is a plain matrix."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context

from skinfluence import _loops, attribution
from tests.conftest import import_optional


class MatrixDeletion:
    """Scores that are given: queries are positions of rows of a matrix."""

    one_blas_thread = True

    def __init__(self, scores, row_block, query_block):
        self.scores = np.asarray(scores, dtype=float)
        self.n_train = self.scores.shape[1]
        self.row_block = row_block
        self.per_block = query_block
        self.budgets = []

    def query_block(self, n_rows, budget):
        self.budgets.append(budget)
        return self.per_block

    def delete(self, rows):
        return rows

    def change(self, X, deleted):
        return self.scores[X[:, 0].astype(int), deleted]


def tiles(scores, row_block=3, query_block=2, **options):
    deletion = MatrixDeletion(scores, row_block, query_block)
    queries = np.arange(len(scores), dtype=float)[:, None]
    return attribution.blocks(deletion, queries, **options)


@pytest.fixture(params=[(1, 1), (3, 2), (4, 5), (100, 100)], ids=str)
def blocking(request):
    return request.param


@pytest.fixture
def tied():
    """Scores with many ties and infinities of both signs."""
    scores = np.random.default_rng(0).integers(-2, 3, (9, 11)).astype(float)
    scores[2, 3] = scores[2, 5] = np.inf
    scores[4, :] = -np.inf
    return scores


# -- blocks --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "size", "expected"),
    [(5, 2, [(0, 2), (2, 4), (4, 5)]), (3, 7, [(0, 3)]), (2, 0, [(0, 1), (1, 2)]), (0, 4, [])],
)
def test_slices_cover(n, size, expected):
    assert [(part.start, part.stop) for part in _loops.slices(n, size)] == expected


def test_blocks_tile_the_matrix(tied, blocking):
    covered = np.zeros(tied.shape, dtype=int)
    for queries, rows, values in tiles(tied, *blocking):
        covered[queries, rows] += 1
        assert_array_equal(values, tied[queries, rows])
    assert_array_equal(covered, 1)


def test_budget_is_the_working_memory_shared_by_the_threads(tied):
    deletion = MatrixDeletion(tied, 100, 100)
    queries = np.arange(len(tied), dtype=float)[:, None]
    with config_context(working_memory=2):
        list(attribution.blocks(deletion, queries))
        list(attribution.blocks(deletion, queries, n_jobs=2))
    assert deletion.budgets == [2 * 2**20, 2**20]


def test_nan_is_never_handed_out(tied):
    tied[7, 8] = np.nan
    with pytest.raises(FloatingPointError, match=r"came out as NaN.*rescale"):
        list(tiles(tied))


def test_progress_bar_counts_the_tiles(tied, capsys):
    import_optional("tqdm")
    blocks = list(tiles(tied, progress=True, desc="proponents"))
    shown = capsys.readouterr().err
    assert len(blocks) == 5 * 4
    assert "proponents: 100%" in shown
    assert "20/20" in shown


def test_progress_without_tqdm(tied, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match=r'skinfluence\[progress\]", or set progress=False'):
        list(tiles(tied, progress=True))
    assert len(list(tiles(tied))) == 20


def test_threads_keep_the_order():
    items = list(range(20))
    assert list(_loops.in_threads(lambda i: i * i, items, n_jobs=2)) == [i * i for i in items]


def test_threads_pass_errors_on():
    def fail(i):
        if i == 3:
            raise ZeroDivisionError("three")
        return i

    with pytest.raises(ZeroDivisionError, match="three"):
        list(_loops.in_threads(fail, list(range(8)), n_jobs=2))


# -- sinks ---------------------------------------------------------------------------------


def test_dense(tied, blocking):
    out = np.empty(tied.shape)
    assert attribution.dense(tiles(tied, *blocking), out) is out
    assert_array_equal(out, tied)


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("k", [1, 2, 5, 11])
def test_top_k_ties_go_to_the_smaller_index(tied, blocking, k, largest):
    sign = 1.0 if largest else -1.0
    order = np.argsort(-sign * tied, axis=1, kind="stable")[:, :k]
    scores, indices = attribution.top_k(tiles(tied, *blocking), len(tied), k, largest=largest)
    assert_array_equal(indices, order)
    assert_array_equal(scores, np.take_along_axis(tied, order, axis=1))


@pytest.mark.parametrize("n_distinct", [2, 1000])
def test_top_k_by_partition_is_the_stable_sort(n_distinct):
    # k far below n takes the partition instead of the sort.
    scores = np.random.default_rng(1).integers(0, n_distinct, (20, 400)).astype(float)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :7]
    indices = attribution.top_k(tiles(scores, 400, 20), 20, 7, largest=True)[1]
    assert_array_equal(indices, order)


@pytest.mark.parametrize("how", ["mean", "sum"])
def test_over_queries(tied, blocking, how):
    finite = np.nan_to_num(tied, posinf=9.0, neginf=-9.0)
    reduced = attribution.over_queries(tiles(finite, *blocking), *tied.shape, how)
    assert_allclose(reduced, getattr(finite, how)(axis=0))


def test_over_groups(tied, blocking):
    finite = np.nan_to_num(tied, posinf=9.0, neginf=-9.0)
    members = [np.array([10, 0]), np.array([], dtype=int), np.arange(11)]
    sums = attribution.over_groups(tiles(finite, *blocking), len(tied), members)
    expected = np.column_stack([finite[:, g].sum(axis=1) for g in members])
    assert_allclose(sums, expected)


# -- out -----------------------------------------------------------------------------------


class Store:
    """What zarr and h5py offer: a shape and slice assignment."""

    def __init__(self, shape):
        self.shape = shape
        self.blocks = {}

    def __setitem__(self, key, values):
        self.blocks[key[0].start, key[1].start] = values.copy()


def test_out_may_be_anything_with_slice_assignment(tied):
    out = attribution.check_out(Store(tied.shape), tied.shape)
    attribution.dense(tiles(tied), out)
    assert len(out.blocks) == 20
    assert_array_equal(out.blocks[4, 3], tied[4:6, 3:6])


@pytest.mark.parametrize(
    "out", [np.empty((11, 9)), np.empty(99), Store((9, 12))], ids=["order", "flat", "store"]
)
def test_out_of_the_wrong_shape(tied, out):
    with pytest.raises(ValueError, match=r"scores need \(9, 11\), which is \(n_queries, n_train"):
        attribution.check_out(out, tied.shape)


@pytest.mark.parametrize("out", [7, [[0.0] * 11] * 9], ids=["int", "list"])
def test_out_without_a_shape(tied, out):
    with pytest.raises(ValueError, match=r"out has shape \(\); the scores need \(9, 11\)"):
        attribution.check_out(out, tied.shape)


def test_out_must_hold_floats(tied):
    with pytest.raises(ValueError, match=r"holds int64 values.*Allocate out with dtype float64"):
        attribution.check_out(np.empty(tied.shape, dtype=np.int64), tied.shape)


# -- groups --------------------------------------------------------------------------------


def test_groups_by_label_are_sorted():
    names, members = attribution.group_members(["b", "a", "b"], 3)
    assert list(names) == ["a", "b"]
    assert [list(group) for group in members] == [[1], [0, 2]]


@pytest.mark.parametrize("groups", [[[2, 0], []], ([2, 0], np.array([], dtype=int))], ids=str)
def test_groups_by_position(groups):
    names, members = attribution.group_members(groups, 3)
    assert list(names) == [0, 1]
    assert [list(group) for group in members] == [[2, 0], []]


@pytest.mark.parametrize("groups", [[[0, 3]], [[-1]]], ids=str)
def test_positions_outside(groups):
    with pytest.raises(ValueError, match=r"position outside the 3 training rows.*from 0 on"):
        attribution.group_members(groups, 3)


@pytest.mark.parametrize(
    "groups", [[[True, False]], [np.array([0.0, 1.0])], [["a", "b"]]], ids=str
)
def test_positions_must_be_integers(groups):
    # A mask of some rows read as positions would be the rows 0 and 1.
    with pytest.raises(
        ValueError, match=r"positions of training rows are integers\. Pass positions"
    ):
        attribution.group_members(groups, 3)


@pytest.mark.parametrize(
    "groups",
    [None, "aab", [], [0, 1], np.zeros((3, 1), dtype=int), np.eye(3)],
    ids=["none", "string", "empty", "short", "column", "matrix"],
)
def test_labels_of_the_wrong_shape(groups):
    with pytest.raises(ValueError, match="one entry for each of the 3 training rows"):
        attribution.group_members(groups, 3)
