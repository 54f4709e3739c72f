"""Generators return what they promise, and the truth about it."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skinfluence.datasets import (
    make_six_clusters,
    plant_duplicates,
    plant_mislabels,
    plant_outliers,
)
from tests.conftest import import_optional


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(40, 3)) * [1.0, 10.0, 0.1] + [0, 5, -3]


def _standardised_radius(Z, X):
    return np.linalg.norm((Z - X.mean(axis=0)) / X.std(axis=0), axis=1)


def test_six_clusters_have_the_published_sizes_and_spreads():
    draws = [make_six_clusters(random_state=seed) for seed in range(200)]
    labels = draws[0][1]
    assert_array_equal(np.bincount(labels), [25, 15, 20, 25, 10, 5])
    rows = np.stack([X for X, _ in draws])  # (200, 100, 2)
    for cluster, spread in enumerate([0.5, 0.5, 0.4, 0.4, 0.5, 1.0]):
        part = rows[:, labels == cluster]
        assert_allclose((part - part.mean(axis=(0, 1))).std(), spread, rtol=0.05)


def test_six_clusters_are_well_separated():
    """Every gap between two centres is more than three times the sum of their spreads."""
    rows, labels = make_six_clusters(random_state=0)
    centres = np.array([rows[labels == k].mean(axis=0) for k in range(6)])
    spreads = np.array([0.5, 0.5, 0.4, 0.4, 0.5, 1.0])
    gaps = np.linalg.norm(centres[:, None] - centres, axis=2) / (spreads[:, None] + spreads)
    assert gaps[~np.eye(6, dtype=bool)].min() > 3


@pytest.mark.parametrize(
    "generate",
    [
        lambda X, seed: make_six_clusters(random_state=seed)[0],
        lambda X, seed: plant_outliers(X, random_state=seed)[0],
        lambda X, seed: plant_duplicates(X, jitter=0.1, random_state=seed)[0],
        lambda X, seed: plant_mislabels(np.arange(40) % 3, random_state=seed)[0],
    ],
)
def test_random_state_decides(X, generate):
    assert_array_equal(generate(X, 3), generate(X, 3))
    assert (generate(X, 3) != generate(X, 4)).any()


@pytest.mark.parametrize("plant", [plant_outliers, plant_duplicates])
@pytest.mark.parametrize(("n_planted", "count"), [(1, 1), (7, 7), (0.1, 4), (0.01, 1), (0.3, 12)])
def test_original_rows_survive_and_the_mask_counts_the_rest(X, plant, n_planted, count):
    before = X.copy()
    planted, mask = plant(X, n_planted, random_state=1)
    assert mask.dtype == bool
    assert mask.sum() == count
    assert planted.shape == (40 + count, 3)
    assert_array_equal(X, before)
    kept = planted[~mask]
    assert_array_equal(kept[np.lexsort(kept.T)], X[np.lexsort(X.T)])


def test_shell_outliers_lie_at_the_distance_asked_for(X):
    planted, mask = plant_outliers(X, 10, distance=2.0, random_state=0)
    limit = _standardised_radius(X, X).max()
    assert_allclose(_standardised_radius(planted[mask], X), 2.0 * limit)


def test_uniform_outliers_fill_the_stretched_box(X):
    planted, mask = plant_outliers(X, 2000, kind="uniform", distance=1.2, random_state=0)
    low, high = X.min(axis=0), X.max(axis=0)
    share = (planted[mask] - (low + high) / 2) / ((high - low) / 2)
    assert np.abs(share).max() <= 1.2
    assert_allclose(np.abs(share).max(axis=0), 1.2, rtol=1e-2)
    assert_allclose(share.mean(axis=0), 0.0, atol=0.06)


def test_outliers_of_equal_rows_and_constant_columns_are_away_and_finite():
    planted, mask = plant_outliers(np.ones((5, 2)), 3, random_state=0)
    assert_allclose(np.linalg.norm(planted[mask] - 1.0, axis=1), 1.5)


def test_duplicates_name_their_source(X):
    planted, mask, source = plant_duplicates(X, 15, random_state=0, return_source=True)
    assert_array_equal(planted[mask], planted[source[mask]])
    assert_array_equal(source[~mask], -1)
    assert not mask[source[mask]].any()  # the source is an original
    assert np.unique(source[mask]).size == 15


def test_jitter_is_in_units_of_each_column(X):
    X = np.tile(X, (50, 1))
    planted, mask, source = plant_duplicates(
        X, 2000, jitter=0.2, random_state=0, return_source=True
    )
    noise = planted[mask] - planted[source[mask]]
    assert_allclose(noise.std(axis=0), 0.2 * X.std(axis=0), rtol=0.05)


def test_mislabels_change_exactly_the_marked_rows_and_spread_over_the_classes():
    y = np.repeat(["a", "b", "c"], 1000)
    planted, mask = plant_mislabels(y, 0.5, random_state=0)
    assert mask.sum() == 1500
    assert_array_equal(planted != y, mask)
    for own, others in (("a", "bc"), ("b", "ac"), ("c", "ab")):
        wrong = planted[mask & (y == own)]
        assert_allclose([(wrong == other).mean() for other in others], 0.5, atol=0.07)


def test_frames_keep_their_labels_and_get_new_ones():
    pd = import_optional("pandas")
    frame = pd.DataFrame({"u": [1.0, 2.0, 4.0], "v": [0.0, 1.0, 0.0]}, index=["p", "q", "r"])
    for plant in (plant_outliers, plant_duplicates):
        planted, mask = plant(frame, 2, random_state=0)
        assert list(planted.columns) == ["u", "v"]
        assert set(planted.index[mask]) == {"planted_0", "planted_1"}
        pd.testing.assert_frame_equal(planted[~mask].sort_index(), frame)

    numbered = frame.set_axis([4, 9, 2], axis=0)
    planted, mask = plant_outliers(numbered, 2, random_state=0)
    assert set(planted.index[mask]) == {10, 11}


def test_exact_duplicates_of_text_columns():
    pd = import_optional("pandas")
    frame = pd.DataFrame({"text": ["ham", "spam", "eggs"], "n": [1, 2, 3]})
    planted, mask, source = plant_duplicates(frame, 2, random_state=0, return_source=True)
    assert list(planted["text"][mask]) == list(planted["text"].iloc[source[mask]])
    assert planted["n"].dtype == frame["n"].dtype


def test_series_stays_a_series():
    pd = import_optional("pandas")
    y = pd.Series([0, 1, 0, 1], index=list("wxyz"), name="label")
    planted, mask = plant_mislabels(y, 2, random_state=0)
    assert list(planted.index) == list("wxyz")
    assert planted.name == "label"
    assert_array_equal(planted.to_numpy() != y.to_numpy(), mask)


@pytest.mark.parametrize("n_planted", [0, -1, 0.0, 1.0, 1.5, "many", True, None])
@pytest.mark.parametrize("plant", [plant_outliers, plant_duplicates, plant_mislabels])
def test_bad_counts_are_refused(X, plant, n_planted):
    data = np.arange(40) % 2 if plant is plant_mislabels else X
    with pytest.raises(ValueError, match=r"n_planted is .* but it must be an integer >= 1"):
        plant(data, n_planted)


def test_bad_arguments_are_refused(X):
    with pytest.raises(ValueError, match="asks for 41 rows, but there are only 40"):
        plant_duplicates(X, 41)
    with pytest.raises(ValueError, match="kind is 'near', but it must be 'shell'"):
        plant_outliers(X, kind="near")
    with pytest.raises(ValueError, match=r"distance is 0, but it is a factor"):
        plant_outliers(X, distance=0)
    with pytest.raises(ValueError, match=r"jitter is -1\.0, but it is a standard deviation"):
        plant_duplicates(X, jitter=-1.0)
    with pytest.raises(ValueError, match=r"y has 1 class\(es\), but a wrong label needs another"):
        plant_mislabels(np.zeros(5))
    with pytest.raises(ValueError, match="NaN"):
        plant_outliers(np.array([[0.0, np.nan], [1.0, 2.0]]))
