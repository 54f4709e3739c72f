"""Agreement against scipy and by hand, with infinities and constants."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.exceptions import UndefinedMetricWarning

from skinfluence.metrics import Agreement, agreement
from tests.conftest import import_optional


@pytest.fixture
def pairs():
    rng = np.random.default_rng(0)
    actual = rng.normal(size=(6, 9))
    return 0.8 * actual + 0.1 * rng.normal(size=(6, 9)), actual


def test_numbers_are_those_of_scipy(pairs):
    estimated, actual = pairs
    result = agreement(estimated, actual)
    assert_allclose(result.pearson, stats.pearsonr(estimated.ravel(), actual.ravel())[0])
    assert_allclose(result.spearman, stats.spearmanr(estimated.ravel(), actual.ravel())[0])
    assert_allclose(result.slope, stats.linregress(estimated.ravel(), actual.ravel()).slope)
    error = estimated - actual
    assert_allclose(result.relative_error, np.linalg.norm(error) / np.linalg.norm(actual))
    assert_allclose(result.max_error, np.abs(error).max())
    assert result.worst_row == np.abs(error).max(axis=0).argmax()
    assert (result.n_pairs, result.n_infinite, result.n_infinite_wrong) == (54, 0, 0)


def test_slope_is_of_actual_on_estimated():
    estimated = np.array([0.0, 1.0, 2.0])
    assert_allclose(agreement(estimated, 3 * estimated + 1).slope, 3.0)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_scale_neither_underflows_nor_overflows(pairs, scale):
    estimated, actual = pairs
    result, scaled = agreement(*pairs), agreement(estimated * scale, actual * scale)
    for name in ("pearson", "spearman", "slope", "relative_error"):
        assert_allclose(getattr(scaled, name), getattr(result, name), rtol=1e-12)


def test_equal_infinities_agree_and_are_counted(pairs):
    estimated, actual = (np.array(side) for side in pairs)
    finite = agreement(estimated[:, 1:], actual[:, 1:])
    estimated[:, 0] = actual[:, 0] = [np.inf, -np.inf] * 3
    result = agreement(estimated, actual)
    assert (result.n_infinite, result.n_infinite_wrong) == (6, 0)
    for name in ("pearson", "slope", "relative_error", "max_error"):
        assert_allclose(getattr(result, name), getattr(finite, name))
    # for ranks an infinity is a very large number
    large = (np.nan_to_num(side, posinf=1e9, neginf=-1e9).ravel() for side in (estimated, actual))
    assert_allclose(result.spearman, stats.spearmanr(*large)[0])
    assert result.worst_row == finite.worst_row + 1


@pytest.mark.parametrize("estimate", [3.0, -np.inf])
def test_a_misplaced_infinity_is_an_infinite_error(pairs, estimate):
    estimated, actual = (np.array(side) for side in pairs)
    actual[2, 4], estimated[2, 4] = np.inf, estimate
    result = agreement(estimated, actual, rows=np.arange(10, 19))
    assert result.n_infinite_wrong == 1
    assert result.max_error == np.inf
    assert result.relative_error == np.inf
    assert result.worst_row == 14
    assert np.isfinite(result.pearson)


def test_constant_changes_leave_correlations_undefined_and_say_so():
    with pytest.warns(UndefinedMetricWarning, match="constant .* undefined and set to NaN"):
        result = agreement([1.0, 1.0], [1.0, 1.0])
    assert np.isnan([result.pearson, result.spearman, result.slope]).all()
    assert result.relative_error == 0.0
    assert "undefined" in str(result)


def test_relative_error_of_nothing():
    with pytest.warns(UndefinedMetricWarning):
        assert agreement([0.0, 0.0], [0.0, 0.0]).relative_error == 0.0
    with pytest.warns(UndefinedMetricWarning):
        assert agreement([0.0, 1.0], [0.0, 0.0]).relative_error == np.inf


def test_result_is_frozen_and_prints_and_frames(pairs):
    import_optional("pandas")
    result = agreement(*pairs)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.pearson = 1.0
    frame = result.frame()
    assert frame.shape == (1, 9)
    assert Agreement(**frame.iloc[0].to_dict()) == result
    text = str(result)
    assert f"{result.slope:.6f}" in text
    assert f"at row {result.worst_row}" in text
    assert "infinite" not in text


@pytest.mark.parametrize(
    ("estimated", "actual", "rows", "message"),
    [
        ([1.0], [1.0, 2.0], None, r"estimated has shape \(1,\) and actual \(2,\)"),
        ([], [], None, "not empty"),
        ([np.nan, 1.0], [1.0, 2.0], None, "1 of the estimated changes are NaN"),
        ([1.0, 2.0], [np.nan, np.nan], None, "2 of the actual changes are NaN"),
        ([1.0, 2.0], [1.0, 2.0], [3], r"rows has shape \(1,\), but the changes have 2 columns"),
    ],
)
def test_refusals(estimated, actual, rows, message):
    with pytest.raises(ValueError, match=message):
        agreement(estimated, actual, rows=rows)


def test_values_that_only_rounding_tells_apart_tie():
    exact = np.array([-0.01, -0.01, -0.01, -0.01, 0.5, 0.7])
    noisy = exact + 1e-16 * np.array([3, 1, 2, 0, 5, -4])
    assert agreement(noisy, exact).spearman == 1.0


def test_one_huge_value_does_not_tie_the_others():
    small = np.random.default_rng(0).normal(size=50)
    result = agreement(np.r_[small, 1e14], np.r_[-small, 1e14])
    assert result.spearman < -0.8


def test_noise_beside_exact_zeros_is_no_rank():
    """Most rows of a support vector machine do nothing; refits of them end in rounding."""
    estimated = np.concatenate([np.zeros(60), [0.1, -0.2, 0.3, 0.05]])
    noise = np.random.default_rng(0).normal(scale=1e-16, size=estimated.shape)
    assert agreement(estimated, estimated + noise).spearman == 1.0
