"""Paths that step together end where paths walked alone do."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.svm import SVC, SVR, NuSVC, NuSVR, OneClassSVM

from skinfluence import InfluenceExplainer
from skinfluence.deletion.svm import each, together
from skinfluence.deletion.svm import point as point_module
from skinfluence.deletion.svm.each import follow_each
from skinfluence.deletion.svm.machine import SVMDeletion
from skinfluence.deletion.svm.path import follow
from skinfluence.deletion.svm.reading import read_machine
from skinfluence.deletion.svm.tableau import Tableau
from skinfluence.deletion.svm.together import Paths

N = 160
_rng = np.random.default_rng(7)
X = _rng.normal(size=(N, 4))
NUMBERS = X[:, 0] + 0.5 * X[:, 1] ** 2 + 0.4 * _rng.normal(size=N)
TWO = (NUMBERS > 0.4).astype(int)
WEIGHTS = _rng.uniform(0.5, 2.0, size=N)
MACHINES = [
    (SVC(gamma=0.2), TWO),
    (SVC(gamma=0.2, class_weight="balanced"), TWO),
    (SVC(kernel="linear", C=0.1), TWO),
    (NuSVC(gamma=0.2, nu=0.4), TWO),
    (SVR(gamma=0.2, epsilon=0.2), NUMBERS),
    (SVR(gamma=0.2, epsilon=0.0, C=0.5), NUMBERS),
    (NuSVR(gamma=0.2, nu=0.4), NUMBERS),
    (OneClassSVM(gamma=0.2, nu=0.2), None),
]
every = pytest.mark.parametrize("case", MACHINES, ids=lambda case: str(case[0]))


def problem_of(case, watched, monkeypatch):
    machine, y = case
    monkeypatch.setattr(point_module, "WATCHED", watched)
    monkeypatch.setattr("skinfluence.deletion.svm.polish.MANY", 50)
    fitted = machine.fit(X, y, sample_weight=WEIGHTS)
    deletion = SVMDeletion(read_machine(fitted, X, y, WEIGHTS))
    return deletion.machine.problems[0], deletion.points[0]


@pytest.mark.parametrize("watched", [100, 15])
@every
def test_ends_are_those_of_single_walks(case, watched, monkeypatch):
    problem, point = problem_of(case, watched, monkeypatch)
    rows = np.arange(0, N, 3)
    motions = [problem.motion(np.array([row])) for row in rows]
    paths = Paths(Tableau(problem.programme, point), motions)
    assert paths.lost.mean() < 0.3 if watched == 15 else paths.lost.sum() <= 2
    assert paths.events.max() > 2
    for j, motion in enumerate(motions):
        end = follow(problem.programme, point, motion)
        if not paths.lost[j]:
            change = problem.programme.on_rows(end.beta - point.beta)
            assert_allclose(paths.beta[:, j], change, rtol=1e-9, atol=1e-10)
            assert_allclose(paths.offset[:, j], end.offset - point.offset, rtol=1e-9, atol=1e-10)


@every
def test_lost_paths_are_walked_alone(case, monkeypatch):
    problem, point = problem_of(case, 100, monkeypatch)
    motions = [problem.motion(np.array([row])) for row in range(0, N, 7)]
    expected = follow_each(problem.programme, point, motions)
    monkeypatch.setattr(together, "EVENTS", 1)  # most have more
    for share in (True, False):
        monkeypatch.setattr(each, "_share_a_tableau", lambda *_, share=share: share)
        ends = follow_each(problem.programme, point, motions)
        assert_allclose(ends.beta, expected.beta, rtol=1e-9, atol=1e-10)
        assert_allclose(ends.offset, expected.offset, rtol=1e-9, atol=1e-10)
        assert_array_equal(ends.complete, expected.complete)


def test_groups_step_together_where_one_row_drives(monkeypatch):
    """Two rows drive two variables, which is left to a walk of its own."""
    problem, point = problem_of((SVC(gamma=0.2), TWO), 100, monkeypatch)
    support = np.flatnonzero(problem.programme.on_rows(np.abs(point.beta)))
    groups = [support[k : k + 2] for k in range(0, 10, 2)]
    motions = [problem.motion(group) for group in groups]
    paths = Paths(Tableau(problem.programme, point), motions)
    assert paths.lost.all()
    ends = follow_each(problem.programme, point, motions)
    for j, motion in enumerate(motions):
        end = follow(problem.programme, point, motion)
        change = problem.programme.on_rows(end.beta - point.beta)
        assert_allclose(ends.beta[:, j], change, rtol=1e-12)


def test_blocks_of_paths_do_not_matter(monkeypatch):
    explainer = InfluenceExplainer(SVC(gamma=0.2).fit(X, TWO)).fit(X, TWO)
    expected = explainer.score_influence(X, TWO)
    monkeypatch.setattr(each, "NUMBERS", 1)
    again = InfluenceExplainer(SVC(gamma=0.2).fit(X, TWO)).fit(X, TWO)
    assert_allclose(again.score_influence(X, TWO), expected, rtol=1e-9, atol=1e-12)


def test_a_tableau_of_a_singular_system_is_not_made(monkeypatch):
    problem, point = problem_of((SVC(gamma=0.2), TWO), 100, monkeypatch)

    def singular(*_):
        raise np.linalg.LinAlgError

    motions = [problem.motion(np.array([row])) for row in range(0, N, 9)]
    expected = follow_each(problem.programme, point, motions)
    point.tableau = None
    monkeypatch.setattr(each, "Tableau", singular)
    ends = follow_each(problem.programme, point, motions)
    assert_allclose(ends.beta, expected.beta, rtol=1e-9, atol=1e-10)
