"""The ladder can be read, and asked."""

from __future__ import annotations

import re

import pytest

from tests.conftest import import_optional

torch = import_optional("torch")

from skinfluence.torch.solvers import (  # noqa: E402
    SOLVERS,
    ConjugateGradients,
    Dense,
    choose,
    choose_solver,
    invert,
)
from skinfluence.torch.solvers.choose import choose_curvature  # noqa: E402
from tests.test_torch import solver_cases as cases  # noqa: E402


class Own(cases.MatrixCurvature):
    """A curvature that knows its inverse."""

    def inverse(self, damping):
        return Dense().invert(self, damping)


def own():
    return Own(cases.rank_one().matrices)


@pytest.mark.parametrize(
    ("facts", "solver", "words"),
    [
        ({"n_params": 650}, "dense", "650 parameters are few enough .* exact.$"),
        ({"n_params": 10**7, "structured": True}, "structured", "inverse of its own"),
        ({"n_params": 10, "structured": True}, "structured", "inverse of its own"),
        ({"n_params": 101_770}, "cg", "101,770 .* too many .* semidefinite: preconditioned where"),
        ({"n_params": 101_770, "n_queries": 400}, "cg", "400 right-hand sides repay a Nys"),
        ({"n_params": 101_770, "n_queries": 2}, "cg", "2 right-hand sides share their"),
        ({"n_params": 101_770, "psd": False}, "cg", "without damping negative .*'ggn'"),
        ({"n_params": 10**6, "psd": False, "damping": 0.1}, "cg", "that are met are reported"),
        ({"n_params": 650, "psd": False}, "dense", "exact; without damping negative"),
        ({"n_params": 650, "psd": False, "damping": 0.1}, "dense", "exact.$"),
    ],
)
def test_the_ladder(facts, solver, words):
    choice = choose_solver(**facts)
    assert choice.solver == solver
    assert re.search(words, choice.reason)


@pytest.mark.parametrize(
    ("facts", "curvature"),
    [
        ({"n_params": 5000}, "ggn"),
        ({"n_params": 5001}, "ekfac"),
        ({"n_params": 5001, "method": "newton"}, "ggn"),
        ({"n_params": 5001, "solver": "cg"}, "ggn"),
        ({"n_params": 5001, "solver": ConjugateGradients()}, "ggn"),
        ({"n_params": 10, "solver": "structured"}, "ekfac"),
    ],
)
def test_the_ladder_of_curvatures(facts, curvature):
    assert choose_curvature(**facts).curvature == curvature


def test_it_reads_a_curvature():
    assert choose(cases.rank_one()).solver == "dense"
    assert choose(own()).solver == "structured"


@pytest.mark.parametrize("solver", ["auto", "structured", "dense"])
def test_an_inverse_of_its_own_is_used(solver):
    inverse, choice = invert(own(), 0.01, solver)
    assert choice.solver == {"auto": "structured"}.get(solver, solver)
    V = cases.normal(3, 12)
    truth = cases.solved_densely(own(), 0.01, V)
    torch.testing.assert_close(inverse(V), truth, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("solver", sorted({*SOLVERS} - {"structured", "dense"}))
def test_a_solver_beside_it_is_refused(solver):
    with pytest.raises(ValueError, match=r"Own has an inverse of its own.*use curvature='ggn'"):
        invert(own(), 0.01, solver)
    with pytest.raises(ValueError, match="Own has an inverse of its own"):
        invert(own(), 0.01, SOLVERS[solver]())


def test_solvers_by_name_and_with_options():
    inverse, choice = invert(cases.rank_one(), 0.01, "cg")
    assert choice == ("cg", "It was asked for.")
    assert type(inverse).__name__ == "CGInverse"
    _, choice = invert(cases.rank_one(), 0.01, ConjugateGradients(max_iter=3))
    assert choice == ("cg", "It was asked for.")
    inverse, choice = invert(cases.rank_one(), 0.01)
    assert choice.solver == "dense"
    assert type(inverse).__name__ == "DenseInverse"


def test_what_there_is_not():
    with pytest.raises(ValueError, match="solver='lsqr' is none of 'auto', 'dense', 'cg'"):
        invert(cases.rank_one(), 0.01, "lsqr")
    with pytest.raises(ValueError, match="MatrixCurvature has no inverse of its own"):
        invert(cases.rank_one(), 0.01, "structured")
