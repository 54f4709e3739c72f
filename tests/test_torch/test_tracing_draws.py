"""Noise belongs to a row's position, whoever asks for it and however."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tests.conftest import import_optional

torch = import_optional("torch")

from skinfluence.torch.data import FetchedRows, Rows  # noqa: E402
from skinfluence.torch.data.rows import Batch  # noqa: E402
from skinfluence.torch.objective import Draws  # noqa: E402
from skinfluence.torch.tracing.draws import QUERIES, TRAINING, DrawnRows  # noqa: E402

SHAPE = Draws((3,), torch.float64, shared=False)


def drawn(n=20, n_draws=4, draws=SHAPE, **given):
    rows = Rows(torch.arange(2 * n, dtype=torch.float64).view(n, 2), torch.arange(n))
    return DrawnRows(rows, draws, n_draws, **{"seed": 5, "stream": TRAINING, "step": 7, **given})


def same(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_blocks_and_order_do_not_matter():
    rows = drawn()
    whole = rows.take(slice(None))
    assert whole.args[1].shape == (20, 4, 3)
    same(whole.args[0], rows.rows.everything.args[0])
    same(whole.y, rows.rows.everything.y)
    for at in (slice(3, 9), slice(19, None), np.array([7, 0, 7, 19]), torch.tensor([2, 1])):
        same(rows.take(at).args[1], whole.args[1][at])
        same(rows.take(at).args[0], whole.args[0][at])
    same(rows[5:15][2:4].take(slice(None)).args[1], whole.args[1][7:9])
    assert rows[5:15].shape == (10,)


def test_fewer_draws_are_the_first_of_more():
    same(drawn(n_draws=2).noise(slice(None)), drawn(n_draws=9).noise(slice(None))[:, :2])


def test_types_share_their_noise():
    single = drawn(draws=Draws((3,), torch.float32, shared=False)).noise(slice(None))
    assert single.dtype == torch.float32
    same(single, drawn().noise(slice(None)).float())


@pytest.mark.parametrize("change", [{"seed": 6}, {"stream": QUERIES}, {"step": 8}])
def test_whatever_differs_is_independent(change):
    a, b = drawn(n=400).noise(slice(None)), drawn(n=400, **change).noise(slice(None))
    for x, y in ((a, b), (a[1:], a[:-1]), (a[:, 1:], a[:, :-1])):
        r = np.corrcoef(x.flatten(), y.flatten())[0, 1]
        assert abs(r) < 4 / np.sqrt(x.numel())


def test_noise_is_standard_normal():
    noise = drawn(n=2000).noise(slice(None)).numpy().ravel()
    assert stats.kstest(noise, "norm").pvalue > 1e-3


def test_apart():
    rows = drawn()
    batch, whole = rows.apart(slice(4, 9)), rows.take(slice(4, 9))
    assert batch.size == 20
    same(batch.args[1], whole.args[1].view(20, 1, 3))
    same(batch.args[0], whole.args[0].repeat_interleave(4, 0))
    same(batch.y, whole.y.repeat_interleave(4))
    same(rows.apart(np.array([8, 4])).args[1][:4], batch.args[1][16:])


def test_rows_that_are_fetched_and_inputs_with_names():
    X = torch.randn(9, 2)
    fetched = FetchedRows(lambda at: Batch((X[torch.as_tensor(np.asarray(at))],)), range(9))
    rows = DrawnRows(fetched, SHAPE, 4, seed=5, stream=TRAINING, step=7)
    same(rows.take(slice(2, 5)).args[1], drawn().noise(slice(2, 5)))
    same(rows[1:].take(slice(2, 5)).args[0], X[3:6])
    named = DrawnRows(Rows({"x": X}), SHAPE, 4, seed=5, stream=TRAINING, step=7)
    same(named.take(slice(2, 5)).kwargs["noise"], drawn().noise(slice(2, 5)))
    assert set(named.apart(slice(2, 5)).kwargs) == {"x", "noise"}


def test_shapes_of_any_kind():
    assert drawn(draws=Draws((), torch.float64, False)).noise(slice(None)).shape == (20, 4)
    assert drawn(draws=Draws((2, 3), torch.float64, False)).noise(slice(2)).shape == (2, 4, 2, 3)
