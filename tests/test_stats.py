"""Weighted quantiles: integer weights are repeated rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skinfluence._stats import weighted_quantile

SIDES = ("lower", "upper")
counted = st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 4)), min_size=1, max_size=12)


@settings(max_examples=200, deadline=None)
@given(rows=counted.filter(lambda rows: any(w for _, w in rows)), q=st.floats(0, 1))
def test_integer_weights_are_repeated_rows(rows, q):
    values, weights = np.array(rows, dtype=float).T
    repeated = np.repeat(values, weights.astype(int))
    for side in SIDES:
        weighted = weighted_quantile(values, weights, q, side=side)
        assert weighted == weighted_quantile(repeated, None, q, side=side)
        # the definition, by counting; q at a rounding error from a jump may go either way
        share = (repeated <= weighted).mean()
        below = (repeated < weighted).mean()
        assert below - 1e-12 <= q <= share + 1e-12
        # scale and order do not matter
        assert weighted == weighted_quantile(values[::-1], weights[::-1] / 7, q, side=side)


@pytest.mark.parametrize("n", [1, 2, 7, 50])
def test_equal_weights_agree_with_numpy(n):
    values = np.random.default_rng(n).normal(size=n)
    for q in (0.0, 0.05, 1 / 3, 0.5, 0.77, 1.0):
        assert weighted_quantile(values, None, q) == np.quantile(values, q, method="inverted_cdf")


def test_upper_leaves_exactly_the_share_strictly_below():
    values = np.random.default_rng(0).permutation(100).astype(float)
    for k in range(100):
        assert (values < weighted_quantile(values, None, k / 100, side="upper")).sum() == k


def test_sums_of_tenths_hit_their_jumps():
    values, weights = np.arange(10.0), np.full(10, 0.1)
    for k in range(1, 10):
        assert weighted_quantile(values, weights, k / 10) == k - 1
        assert weighted_quantile(values, weights, k / 10, side="upper") == k


def test_infinities_are_values_and_weight_zero_is_no_row():
    values = [-np.inf, 0.0, np.inf]
    assert weighted_quantile(values, None, 0.5) == 0.0
    assert weighted_quantile(values, None, 1.0) == np.inf
    assert weighted_quantile(values, [0, 1, 0], 0.0) == 0.0
    assert weighted_quantile(values, [0, 1, 0], 1.0, side="upper") == 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], None, 0.5), r"values have shape \(0,\)"),
        (([1.0, 2.0], [1.0], 0.5), r"values have shape \(2,\) and weights \(1,\)"),
        (([np.nan, 2.0], None, 0.5), "1 of the values are NaN"),
        (([1.0, 2.0], [-1.0, 2.0], 0.5), "weights lie between -1.0 and 2.0"),
        (([1.0, 2.0], [0.0, 0.0], 0.5), "finite and >= 0 with a positive sum"),
        (([1.0, 2.0], None, 1.5), r"q is 1.5, but it is a share and must lie in \[0, 1\]"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        weighted_quantile(*arguments)


def test_unknown_side_is_refused():
    with pytest.raises(ValueError, match="side is 'middle', but it must be 'lower' or 'upper'"):
        weighted_quantile([1.0], None, 0.5, side="middle")
