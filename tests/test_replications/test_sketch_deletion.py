"""What Wojnowicz et al. (2016) say of influence sketches, on small data."""

import numpy as np
import pytest

from tests.test_replications.conftest import SCRIPTS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SCRIPTS.exists(), reason="the benchmarks are not part of a release"),
]


@pytest.fixture(scope="module")
def found(small):
    return small("sketch_deletion_curves")


def rows(found, data, projection):
    return [one for one in found["agreement"][data]["rows"] if one["projection"] == projection]


@pytest.mark.parametrize("data", ["breast cancer", "made up"])
def test_as_many_components_as_features_are_exact(found, data):
    for one in found["agreement"][data]["rows"]:
        if one["k"] == found["agreement"][data]["shape"][1]:
            assert one["worst"] < 1e-6
            assert one["shrinkage"] == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("data", ["breast cancer", "made up"])
@pytest.mark.parametrize("projection", ["sparse", "gaussian"])
def test_half_the_features_give_the_leverages(found, data, projection):
    half = found["agreement"][data]["shape"][1] // 2
    one = next(one for one in rows(found, data, projection) if one["k"] == half)
    assert one["leverage"] >= 0.95


def test_more_components_are_better_and_countsketch_is_worst(found):
    for projection in ("sparse", "gaussian", "countsketch"):
        by_k = [one["leverage"] for one in rows(found, "made up", projection)]
        assert by_k == sorted(by_k)
    half = {one["projection"]: one for one in found["agreement"]["made up"]["rows"]
            if one["k"] == 150}  # fmt: skip
    assert half["countsketch"]["leverage"] < half["sparse"]["leverage"]


def test_distances_of_a_sketch_are_better_than_squared_residuals_from_a_fifth_of_the_features_on(
    found,
):
    base = found["agreement"]["made up"]["baseline"]
    for one in rows(found, "made up", "sparse"):
        if one["k"] >= 60:
            assert one["cook"] > base["cook"]
            assert one["top"] >= base["top"]
    # Fewer components add noise to what residuals say by themselves.
    assert rows(found, "made up", "sparse")[0]["cook"] < base["cook"]


def test_the_shrinkage_that_is_reported_is_at_least_the_true_one(found):
    for one in found["agreement"]["made up"]["rows"]:
        assert one["reported"] <= one["shrinkage"] + 1e-9
        assert one["reported"] > 0.9 * one["shrinkage"]


def test_planted_rows_are_on_top(found):
    for one in found["curves"].values():
        assert one["planted"]["influence sketch"] == 1.0
        assert one["planted"]["leverage alone"] < 0.5
        assert one["areas"]["influence sketch"] > 0.999


def test_nothing_is_deleted_at_first(found):
    for one in found["curves"].values():
        starts = [values[0] for values in one["curves"].values()]
        assert np.ptp(starts) == 0.0
