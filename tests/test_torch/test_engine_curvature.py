"""Curvatures and solvers that InfluenceExplainer is handed as objects, and fits that are long."""

from __future__ import annotations

import functools
import pickle
import re

import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skinfluence import InfluenceExplainer
from tests.conftest import import_optional

torch = import_optional("torch")
nn = torch.nn

from skinfluence.torch.curvature import Ekfac, GaussNewton, Kfac  # noqa: E402
from skinfluence.torch.solvers import (  # noqa: E402
    SOLVERS,
    ConjugateGradients,
    Dense,
    Lissa,
    choose_solver,
)
from tests.test_torch.influence_cases import classes, minimum, mlp  # noqa: E402

DECAY = 0.05


@pytest.fixture(scope="module")
def network():
    X, y = classes(n=40)
    return X, y, minimum(mlp(), X, y, decay=DECAY)


def explain(network, **options):
    X, y, module = network
    given = {"loss": "cross_entropy", "weight_decay": DECAY, **options}
    return InfluenceExplainer(module, **given).fit(X, y)


def scores(network, **options):
    X, y, _ = network
    return explain(network, **options).score_influence(X[:5], y[:5])


# -- a curvature as a function of the objective ---------------------------------------------------


def test_a_class_is_its_name(network):
    explainer = explain(network, curvature=Ekfac)
    assert (explainer.curvature_, explainer.solver_) == ("ekfac", "structured")
    assert_array_equal(scores(network, curvature=Ekfac), scores(network, curvature="ekfac"))
    assert_array_equal(scores(network, curvature=GaussNewton), scores(network))


def test_a_partial_has_options_of_its_own(network):
    published = functools.partial(Ekfac, basis="kfac")
    found = scores(network, curvature=published)
    assert abs(found - scores(network, curvature="ekfac")).max() > 1e-3 * abs(found).max()
    assert explain(network, curvature=published).curvature_ == "ekfac"


def test_any_curvature_will_do(network):
    class Halved(GaussNewton):
        def of_rows(self, batch, weights, V):
            return super().of_rows(batch, 0.5 * weights, V)

        def matrix(self, size=256):
            return super(GaussNewton, self).matrix(size)

    assert explain(network, curvature=Halved).curvature_ == "Halved"
    found = scores(network, curvature=Halved, solver="cg", tol=1e-10)
    assert_allclose(found, scores(network, curvature=Halved), rtol=1e-6, atol=1e-9)


def test_what_is_no_curvature_is_refused(network):
    with pytest.raises(ValueError, match=r"returned tuple, which is no.*functools.partial\(Ekf"):
        explain(network, curvature=lambda objective: (objective,))
    with pytest.raises(ValueError, match=r"method='newton' takes each row's own .* is another"):
        explain(network, curvature=Ekfac, method="newton")


# -- solvers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", [Lissa(), ConjugateGradients()])
def test_objects_clash_with_an_inverse_as_names_do(network, solver):
    with pytest.raises(ValueError, match=r"Ekfac has an inverse of its own.*Leave solver='auto'"):
        explain(network, curvature="ekfac", solver=solver)


def test_options_beside_an_object_are_refused(network):
    with pytest.raises(ValueError, match="tol beside a solver that is an object"):
        explain(network, solver=ConjugateGradients(), tol=1e-3)


def test_an_object_of_any_class(network):
    class Mine:
        def invert(self, curvature, damping):
            return Dense().invert(curvature, damping)

    explainer = explain(network, solver=Mine())
    assert (explainer.solver_, explainer.damping_) == ("Mine", 0.0)
    assert_array_equal(scores(network, solver=Mine()), scores(network))


@pytest.mark.parametrize("random_state", [None, 0])
def test_the_reason_is_that_of_the_ladder(network, random_state):
    explainer = explain(network, random_state=random_state)
    n_params = sum(p.numel() for p in network[2].parameters())
    choice = choose_solver(n_params, damping=None)
    assert (explainer.solver_, explainer.solver_reason_) == choice
    saddle = explain(network, curvature="hessian")
    # Damped where it must be, so that there is nothing to warn of.
    assert saddle.solver_reason_ == choose_solver(n_params, psd=False, damping=None).reason
    assert "negative" not in saddle.solver_reason_


def test_a_larger_network_has_ekfac(network, monkeypatch):
    monkeypatch.setitem(choose_solver.__globals__, "DENSE", 20)
    explainer = explain(network)
    assert (explainer.curvature_, explainer.solver_) == ("ekfac", "structured")
    exact = r"51 parameters are too many .*EK-FAC .*'ggn' with conjugate gradients is exact"
    assert re.search(exact, explainer.solver_reason_)
    _, report = explainer.score_influence(*network[:2], return_report=True)
    assert report["solver_reason"] == explainer.solver_reason_
    assert_array_equal(scores(network), scores(network, curvature="ekfac"))
    # Who names a curvature, a solver or Newton steps has what that means.
    for asked in ({"curvature": "ggn"}, {"solver": "cg"}, {"method": "newton"}):
        found = explain(network, **asked)
        assert (found.curvature_, found.solver_) == ("ggn", "cg")


@pytest.mark.parametrize("solver", sorted({*SOLVERS} - {"structured", "datainf"}))
def test_a_name_was_asked_for(network, solver):
    explainer = explain(network, solver=solver, damping=0.1)
    assert explainer.solver_reason_ == "It was asked for."
    assert explainer.damping_ == 0.1


# -- long fits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("curvature", ["kfac", "ekfac"])
def test_factors_are_recorded_and_read_again(network, curvature, tmp_path, monkeypatch):
    import_optional("safetensors")
    expected = scores(network, curvature=curvature)
    first = scores(network, curvature=curvature, resume=tmp_path / "factors")
    assert_allclose(first, expected, rtol=1e-12)
    assert list((tmp_path / "factors").glob("*.safetensors"))
    # Nothing is left to sum.
    monkeypatch.setattr("skinfluence.torch.curvature.kfac_fit.FactorFit._keep", None)
    again = scores(network, curvature=curvature, resume=str(tmp_path / "factors"))
    assert_allclose(again, expected, rtol=1e-12)


def test_progress_is_that_of_the_factors(network, capsys):
    explain(network, curvature="ekfac", progress=True)
    assert "Kronecker corrections" in capsys.readouterr().err
    explain(network, curvature="ekfac")
    assert "Kronecker" not in capsys.readouterr().err


def test_progress_is_that_of_the_solver(network, capsys):
    X, y, _ = network
    explainer = explain(network, solver="cg", progress=True)
    expected = scores(network, solver="cg")
    assert_array_equal(explainer.score_influence(X[:5], y[:5]), expected)
    err = capsys.readouterr().err
    steps = re.findall(r"conjugate gradients, 5 of 5 right-hand sides: .*?(\d+)/200", err)
    # The last is the check of the residual.
    n_iter = explainer.score_influence(X[:5], y[:5], return_report=True)[1]["n_iter"]
    assert n_iter <= int(steps[-1]) <= n_iter + 3
    capsys.readouterr()
    explain(network, solver="cg").score_influence(X[:5], y[:5])
    assert "conjugate" not in capsys.readouterr().err
    pickle.dumps(explainer)


@pytest.mark.parametrize(
    ("curvature", "instead"),
    [
        (None, r"Leave resume=None, or use curvature='ekfac'"),
        ("ggn", r"curvature='ggn' is not known to have any. Leave resume=None"),
        (Kfac, r"Pass it to the curvature: functools.partial\(Ekfac, resume=\.\.\.\)"),
    ],
)
def test_what_has_no_factors_is_not_resumed(network, curvature, instead, tmp_path):
    with pytest.raises(ValueError, match=instead):
        explain(network, curvature=curvature, resume=tmp_path)


STRAIGHT = {
    "kink": ("l1", "AbsoluteError has a kink in place of curvature"),
    "torch's": (nn.L1Loss(), "L1Loss is straight at all 20 rows"),
    "own": (lambda f, y: (f * y).sum(1), "the function passed as loss is straight"),
}


@pytest.mark.filterwarnings("ignore::skinfluence.exceptions.NotStationaryWarning")
@pytest.mark.parametrize("case", STRAIGHT)
@pytest.mark.parametrize("curvature", ["kfac", "ekfac", "ggn"])
def test_losses_without_curvature_are_refused(case, curvature):
    loss, message = STRAIGHT[case]
    torch.manual_seed(0)
    module, X = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)), torch.randn(20, 3)
    with pytest.raises(ValueError, match=message):
        InfluenceExplainer(module, loss=loss, curvature=curvature).fit(X, X + 1.0)
    empirical = functools.partial(Ekfac, fisher="empirical")
    found = InfluenceExplainer(module, loss=loss, curvature=empirical, damping=0.1).fit(X, X + 1.0)
    assert found.self_influence().all()
