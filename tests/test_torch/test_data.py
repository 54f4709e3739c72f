"""Rows of any kind, taken block by block."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from tests.conftest import import_optional

torch = import_optional("torch")
from torch.utils.data import (  # noqa: E402
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
)

from skinfluence.torch.data import Batch, FetchedRows, RowReader, Rows  # noqa: E402

N = 7
X = np.arange(N * 3, dtype=np.float64).reshape(N, 3)
Y = np.arange(N) % 2
read = RowReader(torch.float32)


class Listed(Dataset):
    """A map-style dataset over a list, which counts what is read."""

    def __init__(self, items):
        self.items, self.read = list(items), []

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        self.read.append(i)
        return self.items[i]


def pairs() -> Listed:
    return Listed((X[i].astype(np.float32), int(Y[i])) for i in range(N))


def frames():
    pandas, polars = import_optional("pandas"), import_optional("polars")
    return {"pandas": pandas.DataFrame(X), "polars": polars.DataFrame(X)}


# -- the contract of Rows -------------------------------------------------------------------------

KINDS = {
    "array": lambda: read(X, Y),
    "list": lambda: read(X.tolist(), Y.tolist()),
    "tensor": lambda: read(torch.tensor(X), torch.tensor(Y)),
    "pandas": lambda: read(frames()["pandas"], Y),
    "polars": lambda: read(frames()["polars"], Y),
    "sparse": lambda: read(sparse.csr_array(X), Y),
    "sparse, by columns": lambda: read(sparse.csc_matrix(X), Y),
    "reversed": lambda: read(X[::-1][::-1], Y),
    "big-endian": lambda: read(X.astype(">f8"), Y.astype(">i4")),
    "half": lambda: read(X.astype(np.float16), Y.astype(np.int8)),
    "objects": lambda: read(X.astype(object), Y),
    "TensorDataset": lambda: read(TensorDataset(torch.tensor(X), torch.tensor(Y))),
    "Dataset": lambda: read(pairs()),
    "Subset": lambda: read(Subset(pairs(), range(N))),
    "DataLoader": lambda: read(DataLoader(pairs(), batch_size=2)),
    "loader of one": lambda: read(DataLoader(pairs(), batch_size=None)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_all_kinds_of_rows_are_the_same_rows(kind):
    rows = KINDS[kind]()
    assert rows.shape == (N,)
    every = rows.take(slice(0, 100))
    assert every.args[0].dtype == torch.float32
    assert every.y.dtype == torch.int64
    for wanted in (slice(2, 5), slice(6, 9), np.array([5, 0, 5]), torch.tensor([1, 3])):
        batch = rows.take(wanted)
        expected = np.asarray(wanted) if not isinstance(wanted, slice) else wanted
        np.testing.assert_array_equal(batch.args[0].numpy(), X[expected].astype(np.float32))
        np.testing.assert_array_equal(batch.y.numpy(), Y[expected])
        assert batch.size == len(X[expected])
    part = rows[3:6]
    assert part.shape == (3,)
    np.testing.assert_array_equal(part.take(slice(1, 9)).args[0].numpy(), X[4:6])
    np.testing.assert_array_equal(part[1:].take(np.array([1])).args[0].numpy(), X[5:6])


def test_memory_maps_are_read_block_by_block(tmp_path):
    on_disk = np.memmap(tmp_path / "x", dtype=np.float64, mode="w+", shape=X.shape)
    on_disk[:] = X
    rows = read(np.memmap(tmp_path / "x", dtype=np.float64, mode="r", shape=X.shape), Y)
    assert isinstance(rows, FetchedRows)
    np.testing.assert_array_equal(rows[2:5].take(slice(1, 3)).args[0].numpy(), X[3:5])


def test_datasets_are_read_block_by_block():
    dataset = pairs()
    rows = read(dataset)
    dataset.read.clear()
    rows.take(slice(2, 4))
    assert dataset.read == [2, 3]


def test_rows_do_not_follow_what_happens_to_the_array():
    own = X.copy()
    tensor = torch.tensor(X)
    found, same = read(own, Y), RowReader(torch.float64)(tensor, Y)
    own[:] = 0
    tensor[:] = 0
    for rows in (found, same):
        np.testing.assert_array_equal(rows.take(slice(0, N)).args[0].numpy(), X)


# -- types ----------------------------------------------------------------------------------------

TYPES = {
    np.float64: torch.float32,
    np.float16: torch.float32,
    np.longdouble: torch.float32,
    np.int8: torch.int64,
    np.int32: torch.int64,
    np.uint16: torch.int64,
    np.uint8: torch.uint8,
    np.bool_: torch.bool,
}


@pytest.mark.parametrize("given", TYPES, ids=lambda kind: kind.__name__)
def test_integers_stay_integers(given):
    assert read(X.astype(given)).take(slice(0, 2)).args[0].dtype == TYPES[given]


def test_integers_of_a_tensor_keep_their_type():
    assert read(torch.tensor(X).int()).take(slice(0, 2)).args[0].dtype == torch.int32


# -- several inputs -------------------------------------------------------------------------------


def test_a_tuple_is_several_inputs():
    batch = read((X, Y), Y).take(slice(1, 3))
    assert [x.dtype for x in batch.args] == [torch.float32, torch.int64]
    assert batch.inputs == batch.args


def test_a_dict_is_inputs_by_name():
    rows = read({"left": X, "right": Y}, Y)[2:]
    batch = rows.take(slice(1, 3))
    assert batch.args == ()
    assert list(batch.kwargs) == ["left", "right"]
    np.testing.assert_array_equal(batch.kwargs["left"].numpy(), X[3:5])
    assert batch.size == 2


def test_a_list_of_arrays_is_ambiguous():
    with pytest.raises(ValueError, match=r"may be rows or inputs\. Pass a tuple"):
        read([X, X], Y)


def test_columns_of_a_frame_by_name():
    pandas = import_optional("pandas")
    by_column = RowReader(torch.float32, frames_by_column=True)
    rows = by_column(pandas.DataFrame({"a": X[:, 0], "b": Y}), Y)
    assert {k: tuple(v.shape) for k, v in rows.take(slice(0, 2)).kwargs.items()} == {
        "a": (2, 1),
        "b": (2, 1),
    }


ITEMS = {
    "x": (lambda i: torch.tensor(X[i]), 1, [], False),
    "(x,)": (lambda i: (X[i],), 1, [], False),
    "(x, y)": (lambda i: (X[i], Y[i]), 1, [], True),
    "(x1, x2, y)": (lambda i: (X[i], X[i], Y[i]), 2, [], True),
    "((x1, x2), y)": (lambda i: ((X[i], X[i]), Y[i]), 2, [], True),
    "(dict, y)": (lambda i: ({"a": X[i], "labels": X[i]}, Y[i]), 0, ["a", "labels"], True),
    "dict": (lambda i: {"a": X[i], "labels": Y[i]}, 0, ["a"], True),
    "dict without y": (lambda i: {"a": X[i]}, 0, ["a"], False),
}


@pytest.mark.parametrize("kind", ITEMS)
def test_what_a_dataset_may_yield(kind):
    item, n_args, names, has_y = ITEMS[kind]
    batch = read(Listed(item(i) for i in range(N))).take(slice(2, 5))
    assert len(batch.args) == n_args
    assert list(batch.kwargs) == names
    assert (batch.y is not None) == has_y
    for x in batch.inputs:
        np.testing.assert_array_equal(x.numpy(), X[2:5])
    if has_y:
        np.testing.assert_array_equal(batch.y.numpy(), Y[2:5])


def test_the_collate_function_of_a_loader():
    def padded(items):
        return torch.nn.utils.rnn.pad_sequence([x for x, _ in items], batch_first=True), (
            torch.tensor([y for _, y in items])
        )

    ragged = Listed((torch.ones(i + 1), i) for i in range(N))
    rows = read(DataLoader(ragged, batch_size=3, collate_fn=padded))
    assert rows.take(slice(1, 4)).args[0].shape == (3, 4)


def test_targets_of_datasets_are_encoded():
    reader = RowReader(torch.float32, encode=lambda y: y * 10)
    np.testing.assert_array_equal(reader(pairs()).take(slice(0, 3)).y.numpy(), Y[:3] * 10)


# -- what is refused ------------------------------------------------------------------------------


class Stream(IterableDataset):
    def __iter__(self):
        return iter(pairs().items)


class Augmented(Listed):
    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return x + len(self.read), y


def _loader(**options):
    return DataLoader(pairs(), **options)


def _own_batches():
    class Own(BatchSampler):
        pass

    return _loader(batch_sampler=Own(range(N), 2, False))


REFUSED = {
    "no rows": (lambda: read(X[:0], Y[:0]), "X has no rows"),
    "lengths": (lambda: read(X, Y[:3]), "number of rows differs: X has 7, y has 3"),
    "lengths of inputs": (lambda: read((X, X[:2])), r"X\[0\] has 7, X\[1\] has 2"),
    "lengths, sparse": (lambda: read(sparse.csr_array(X), Y[:3]), "X has 7, y has 3"),
    "no inputs": (lambda: read(()), "X has no rows"),
    "number": (lambda: read(3.0), "X is a single number"),
    "strings": (lambda: read(np.array([["a"], ["b"]])), "a network takes numbers"),
    "string objects": (lambda: read(np.array([["a"], [1]], object)), "holds str objects"),
    "labels": (lambda: read(X, np.array(list("abababa"))), "y has type <U1.* positions 0, 1"),
    "complex": (lambda: read(X + 1j), "has type complex128"),
    "sparse tensor": (lambda: read(torch.tensor(X).to_sparse()), "sparse tensor.* dense one"),
    "sparse y": (lambda: read(X, sparse.csr_array(X)), r"y is sparse.*y\.toarray"),
    "y beside a dataset": (lambda: read(pairs(), Y), "y is passed beside a Listed"),
    "shuffle": (lambda: read(_loader(shuffle=True)), r"shuffles.*RandomSampler.*loader\.dataset"),
    "weighted": (
        lambda: read(_loader(sampler=WeightedRandomSampler([1.0] * N, N))),
        "chooses rows .WeightedRandomSampler",
    ),
    "drop_last": (
        lambda: read(_loader(batch_size=2, drop_last=True)),
        "drops the last 1 of 7 rows",
    ),
    "batch_sampler": (lambda: read(_own_batches()), "draws its batches by Own"),
    "stream": (lambda: read(Stream()), "Stream has no positions"),
    "loader of a stream": (lambda: read(DataLoader(Stream())), "Stream has no positions"),
    "random rows": (lambda: read(Augmented(pairs().items)), "Row 0 of Augmented differs between"),
    "no rows in a dataset": (lambda: read(Listed([])), "Listed has no rows"),
    "two targets": (
        lambda: read(Listed([{"y": 1, "label": 2}])).take(slice(0, 1)),
        "'y' and 'label', and one of them is the target",
    ),
    "strings in a dataset": (
        lambda: read(Listed([("a", 1)])).take(slice(0, 1)),
        "rows hold tuple objects|rows hold str objects",
    ),
    "item": (lambda: read(Listed(["a"])).take(slice(0, 1)), "dataset's rows hold|dataset yields"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    build, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        build()


def test_drop_last_that_drops_nothing():
    assert read(_loader(batch_size=7, drop_last=True)).shape == (N,)


# -- queries --------------------------------------------------------------------------------------


def queries(*trained):
    return read.for_queries(read(*trained))


def test_whole_numbers_become_what_was_trained_on():
    found = queries(X)([[1, 2, 3]], [0])
    assert found.take(slice(0, 1)).args[0].dtype == torch.float32
    named = queries({"a": X, "b": Y})({"a": X.astype(int), "b": Y})
    assert [x.dtype for x in named.take(slice(0, 1)).inputs] == [torch.float32, torch.int64]
    ints = Listed((X[i].astype(int), 0) for i in range(N))
    for other in (ints, sparse.csr_array(X.astype(int))):
        assert queries(X)(other).take(slice(0, 1)).args[0].dtype == torch.float32


def test_sequences_and_images_may_have_another_size():
    assert queries(Y.reshape(1, 7))(Y[:3].reshape(1, 3)).shape == (1,)
    assert queries(np.ones((2, 3, 8, 8)))(np.ones((1, 3, 9, 9))).shape == (1,)


UNLIKE = {
    "features": (lambda: queries(X)(X[:, :2]), r"X has rows of shape \(2,\), .* have \(3,\)"),
    "axes": (lambda: queries(X)(X[:, :, None]), r"X has rows of shape \(3, 1\)"),
    "a single row": (lambda: queries(X)(X[0]), r"X has rows of shape \(\)"),
    "floats": (lambda: queries(Y)(X[:, 0]), r"has type torch\.float32, .* had torch\.int64"),
    "inputs": (lambda: queries((X, X))(X), r"brings 1 input, and the training rows had 2 inputs"),
    "names": (
        lambda: queries({"a": X, "b": X})({"a": X}),
        r"brings inputs called a, and the training rows had inputs called a, b",
    ),
    "a dataset": (
        lambda: queries(X)(Listed([(X[0, :2], 0)])).take(slice(0, 1)),
        r"X has rows of shape \(2,\)",
    ),
}


@pytest.mark.parametrize("name", UNLIKE)
def test_queries_unlike_the_training_rows(name):
    build, message = UNLIKE[name]
    with pytest.raises(ValueError, match=message):
        build()


# -- batches --------------------------------------------------------------------------------------


def test_a_batch_maps_and_slices_all_it_holds():
    batch = Batch((torch.arange(4),), torch.arange(4), {"a": torch.arange(4)})
    part = batch[1:3].map(lambda values: values * 2)
    for values in (*part.inputs, part.y):
        assert values.tolist() == [2, 4]
    assert Rows(torch.arange(4)).take(torch.tensor([2])).y is None
