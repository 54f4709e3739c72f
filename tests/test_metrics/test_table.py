"""Detection tables: the same numbers as the single functions, and chance as it must be."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skinfluence.metrics import detection_auc, detection_table
from tests.conftest import import_optional


@pytest.fixture
def planted():
    rng = np.random.default_rng(0)
    is_bad = rng.random(80) < 0.2
    return is_bad, {"good": is_bad + 0.5 * rng.normal(size=80), "bad": rng.normal(size=80)}


def test_numbers_are_those_of_the_curve(planted):
    is_bad, scores = planted
    table = detection_table(is_bad, scores, baselines={"loss": is_bad}, random_state=0)
    kinds = dict(zip(table.names, table.kinds, strict=True))
    assert kinds == {"good": "score", "bad": "score", "loss": "baseline", "random": "random"}
    assert (np.diff(table.auc) <= 0).all()
    assert table.names[0] == "loss"
    for name, score in scores.items():
        row = table.names.index(name)
        assert_allclose(table.auc[row], detection_auc(is_bad, score))
        order = np.argsort(-score)
        found = [
            is_bad[order][: round(share * 80)].sum() / is_bad.sum() for share in table.checked
        ]
        assert_allclose(table.found[row], found)


def test_random_is_half_with_the_spread_of_the_rank_sum_statistic(planted):
    is_bad, scores = planted
    table = detection_table(is_bad, scores, n_random=2000, random_state=0)
    p, n_bad = is_bad.mean(), is_bad.sum()
    spread = (1 - p) * np.sqrt(81 / (12 * n_bad * (80 - n_bad)))
    assert_allclose(table.random_spread, spread, rtol=0.05)
    row = table.names.index("random")
    assert abs(table.auc[row] - 0.5) < 4 * spread / np.sqrt(2000)
    assert_allclose(table.found[row], table.checked, rtol=0.1)


def test_the_seed_decides(planted):
    tables = [detection_table(*planted, random_state=seed) for seed in (0, 0, 1)]
    assert tables[0].random_spread == tables[1].random_spread != tables[2].random_spread


def test_a_lone_vector_and_a_frame(planted):
    pd = import_optional("pandas")
    is_bad, scores = planted
    alone = detection_table(is_bad, scores["good"], random_state=0)
    assert alone.names == ("score", "random")
    table = detection_table(is_bad, scores, random_state=0)
    same = detection_table(pd.Series(is_bad), pd.DataFrame(scores), random_state=0)
    assert_array_equal(same.auc, table.auc)
    frame = table.frame()
    assert frame.index.tolist() == list(table.names)
    assert frame.columns.tolist() == ["kind", "auc", "found@0.05", "found@0.1", "found@0.2"]
    for name in table.names:
        assert name in str(table)


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        ([1.0, 2.0], {}, r"scores 'score' have shape \(2,\), but there are 3 rows"),
        ({"a": [1.0, np.nan, 2.0]}, {}, "1 of the scores 'a' are NaN"),
        ({"random": [1.0, 2.0, 3.0]}, {}, "The name 'random' is taken"),
        ({"a": [1, 2, 3]}, {"baselines": {"a": [1, 2, 3]}}, "every other name must occur once"),
        ([1, 2, 3], {"checked": [5]}, "must hold shares of the rows"),
        ([1, 2, 3], {"n_random": 1}, "a spread needs two draws"),
    ],
)
def test_refusals(scores, options, message):
    with pytest.raises(ValueError, match=message):
        detection_table([True, False, False], scores, **options)
