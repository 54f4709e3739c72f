"""The density section of Kong & Chaudhuri (2021), claim by claim, on what the example computes.

The numbers come from ``examples/plot_paper_density.py`` itself: what a reader sees is what is
tested.
"""

import runpy
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import spearmanr

from tests.conftest import import_optional

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def paper():
    import_optional("matplotlib")
    return runpy.run_path(str(EXAMPLES / "plot_paper_density.py"))


def strongest_first(scores):
    return np.argsort(-scores, kind="stable")


# -- figure 7 and table 2: self influence -----------------------------------------------------


def test_knn_bends_for_the_cluster_of_exactly_k_rows(paper):
    top = strongest_first(paper["self_influence"]["k-NN"])[:10]
    assert_array_equal(np.sort(top), np.flatnonzero(paper["cluster"] == 4))


def test_knn_does_not_bend_for_lone_rows(paper):
    score, cluster = paper["self_influence"]["k-NN"], paper["cluster"]
    assert score[cluster == 5].max() < np.median(score[cluster != 5])


def test_kde_self_influence_is_the_reverse_order_of_likelihood(paper):
    by_likelihood = np.argsort(paper["log_density"]["KDE"])
    assert np.all(np.diff(paper["self_influence"]["KDE"][by_likelihood]) < 0)


def test_kde_bends_for_the_smallest_cluster(paper):
    top = strongest_first(paper["self_influence"]["KDE"])[:5]
    assert_array_equal(paper["cluster"][top], 5)


@pytest.mark.parametrize("cluster", range(6))
def test_mixture_bends_for_rows_far_from_the_centre_of_their_cluster(paper, cluster):
    own = paper["cluster"] == cluster
    rows = paper["X"][own]
    from_centre = np.linalg.norm(rows - rows.mean(axis=0), axis=1)
    score = paper["self_influence"]["mixture"][own]
    assert np.argmax(score) == np.argmax(from_centre)
    assert spearmanr(score, from_centre).statistic > 0.95


def test_self_influence_of_the_mixture_is_not_the_reverse_order_of_likelihood(paper):
    by_likelihood = np.argsort(paper["log_density"]["mixture"])
    assert np.any(np.diff(paper["self_influence"]["mixture"][by_likelihood]) > 0)


# -- figure 9: influence on one query ---------------------------------------------------------


def test_knn_proponents_are_the_k_nearest_and_alike(paper):
    score, nearest = paper["influence"]["k-NN"], np.argsort(paper["distance"])
    n = score.size
    assert_allclose(score[nearest[:10]], score[nearest[0]], rtol=1e-12)
    assert score[nearest[0]] > 0
    assert_allclose(score[nearest[10:]], np.log((n - 1) / n), rtol=1e-12)


def test_kde_influence_falls_with_distance(paper):
    by_distance = np.argsort(paper["distance"])
    assert np.all(np.diff(paper["influence"]["KDE"][by_distance]) <= 0)


def test_kde_proponents_are_the_rows_of_the_own_cluster(paper):
    assert_array_equal(paper["influence"]["KDE"] > 0, paper["cluster"] == 0)


@pytest.mark.parametrize("model", ["k-NN", "KDE", "mixture"])
def test_the_strongest_proponents_are_the_nearest_rows(paper, model):
    score, nearest = paper["influence"][model], np.argsort(paper["distance"])
    assert score[nearest[0]] == score.max()
    assert set(strongest_first(score)[:5]) <= set(nearest[:10])


def test_the_strongest_opponents_in_a_mixture_are_in_the_cluster_of_the_query(paper):
    score, cluster = paper["influence"]["mixture"], paper["cluster"]
    worst = strongest_first(score)[::-1][:3]
    assert_array_equal(cluster[worst], 0)
    assert score[worst].max() < 2 * score[cluster != 0].min() < 0


def test_opponents_in_the_own_cluster_are_far_from_its_centre(paper):
    own = paper["cluster"] == 0
    rows = paper["X"][own]
    from_centre = np.linalg.norm(rows - rows.mean(axis=0), axis=1)
    opponents = paper["influence"]["mixture"][own] < 0
    assert from_centre[opponents].min() > np.median(from_centre)


def test_rows_of_other_clusters_only_take_weight_from_the_mixture(paper):
    others = paper["cluster"] != 0
    n = others.size
    assert_allclose(paper["influence"]["mixture"][others], np.log((n - 1) / n), rtol=1e-3)


@pytest.mark.parametrize("model", ["KDE", "mixture"])
def test_influences_on_a_query_add_up_to_about_zero(paper, model):
    score = paper["influence"][model]
    assert abs(score.sum()) < 0.1 * np.abs(score).sum()
