"""Displays of sketches and representers: what they draw, and what they refuse with a sentence."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from skinfluence import InfluenceSketch, RepresenterExplainer
from skinfluence.displays import (
    AgreementDisplay,
    DetectionCurveDisplay,
    InfluenceBubbleDisplay,
    InfluenceDisplay,
    InfluenceIndexDisplay,
    SelfInfluenceDisplay,
)
from tests.conftest import import_optional

import_optional("matplotlib")

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 6))
VALUES = X[:, 0] + 0.5 * rng.normal(size=60)
LABELS = np.where(VALUES > 0, "yes", "no")


def sketch(model=None, rows=X, y=VALUES, **options):
    options = {"n_components": 4, "random_state": 0, **options}
    return InfluenceSketch(Ridge() if model is None else model, **options).fit(rows, y)


def in_blocks():
    for start in (0, 25):
        yield X[start : start + 25], VALUES[start : start + 25]
    yield X[50:], VALUES[50:]


def of_blocks():
    return sketch(Ridge().fit(X, VALUES), in_blocks, None)


# -- rows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["scatter", "distance"])
@pytest.mark.parametrize("rows", [X, csr_array(X)], ids=["dense", "sparse"])
@pytest.mark.parametrize(
    "model", [Ridge(), make_pipeline(StandardScaler(with_mean=False), Ridge())]
)
def test_influence_of_a_sketch_is_drawn(model, rows, kind):
    explainer = sketch(model, rows)
    display = InfluenceDisplay.from_explainer(explainer, rows[[3]], y=VALUES[3], kind=kind)
    wanted = explainer.score_influence(rows[[3]], VALUES[[3]])[0]
    assert_allclose(display.influence, wanted, rtol=1e-12)
    placed = X if isinstance(model, Ridge) else X / X.std(axis=0)
    distances = np.linalg.norm(placed - placed[3], axis=1)
    assert_allclose(display.distance, distances, rtol=1e-9, atol=1e-12)


def test_rows_of_blocks_have_to_be_passed():
    explainer = of_blocks()
    with pytest.raises(ValueError, match=r"fitted on blocks of rows .* Pass them as X"):
        InfluenceDisplay.from_explainer(explainer, X[3], y=VALUES[3])
    with pytest.raises(ValueError, match=r"fitted on blocks of rows .* Pass them as X"):
        SelfInfluenceDisplay.from_explainer(explainer)
    display = InfluenceDisplay.from_explainer(explainer, X[3], X, y=VALUES[3], kind="distance")
    assert_array_equal(display.distance, np.linalg.norm(X - X[3], axis=1))
    assert_array_equal(display.influence, explainer.score_influence(X[[3]], VALUES[[3]])[0])
    own = SelfInfluenceDisplay.from_explainer(explainer, X).self_influence
    assert_array_equal(own, explainer.self_influence())


def test_blocks_after_an_array_leave_none_of_its_rows():
    explainer = sketch(Ridge().fit(X, VALUES), X[::-1], VALUES[::-1]).fit(in_blocks)
    with pytest.raises(ValueError, match="fitted on blocks of rows"):
        SelfInfluenceDisplay.from_explainer(explainer)


# -- diagnostics --------------------------------------------------------------------------------


@pytest.mark.parametrize("statistic", ["cooks_distance", "leverage"])
@pytest.mark.parametrize(
    "explainer", [sketch(), of_blocks(), sketch(LogisticRegression(), y=LABELS)]
)
def test_statistics_of_a_sketch_are_drawn(explainer, statistic):
    display = InfluenceIndexDisplay.from_explainer(explainer, statistic=statistic)
    assert_array_equal(display.values, getattr(explainer.diagnostics(), statistic))
    known = {"cooks_distance": {"4/n": 4 / 60}}
    mean = explainer.leverage_.mean()  # of the sketch: by the true ones no row would stand out
    known["leverage"] = {"2k/n": 2 * mean, "3k/n": 3 * mean}
    found, wanted = display.thresholds_, known[statistic]
    assert found.keys() == wanted.keys()
    assert_allclose(list(found.values()), list(wanted.values()), rtol=1e-12)


def test_statistics_that_a_sketch_has_not():
    with pytest.raises(ValueError, match=r"no diagnostic of a sketch.*InfluenceIndexDisplay"):
        InfluenceBubbleDisplay.from_explainer(sketch())
    for statistic in ("resid_studentized_external", "dfbetas"):
        with pytest.raises(ValueError, match=f"{statistic} is no diagnostic of a sketch"):
            InfluenceIndexDisplay.from_explainer(sketch(), statistic=statistic)
    margin = sketch(LinearSVC(tol=1e-8, max_iter=10_000), y=LABELS)
    with pytest.raises(ValueError, match=r"no deviance. Draw its scores by"):
        InfluenceIndexDisplay.from_explainer(margin)
    wide = sketch(Ridge(0.1), rows=rng.normal(size=(60, 90)))
    with pytest.raises(ValueError, match=r"leave no degrees of freedom .* correct_shrinkage"):
        InfluenceIndexDisplay.from_explainer(wide)


# -- self influence -----------------------------------------------------------------------------


def test_self_influence_of_a_sketch_is_no_change_of_the_loss():
    display = SelfInfluenceDisplay.from_explainer(sketch())
    assert display.colorbar_.ax.get_ylabel() == "self influence (generalised Cook's distance)"
    assert display.scatter_.get_clim()[0] == display.self_influence.min()


def test_self_influence_of_representers_has_two_signs():
    explainer = RepresenterExplainer(Ridge()).fit(X, VALUES)
    display = SelfInfluenceDisplay.from_explainer(explainer, n_labels=60)
    assert display.colorbar_.ax.get_ylabel() == "self influence (representer value)"
    low, high = display.scatter_.get_clim()
    assert low == -high < 0
    shown = np.abs(display.scatter_.get_array())
    assert_array_equal(shown, np.sort(shown))  # the strongest last, of whatever sign


# -- truth --------------------------------------------------------------------------------------


def test_agreement_needs_changes_to_compare():
    with pytest.raises(TypeError, match=r"InfluenceSketch has no validate\(\).*from_predictions"):
        AgreementDisplay.from_explainer(sketch(), X[:3], VALUES[:3])
    explainer = RepresenterExplainer(Ridge(tol=1e-10)).fit(X, VALUES)
    with pytest.raises(TypeError, match=r"compares outputs, and no changes.*from_predictions"):
        AgreementDisplay.from_explainer(explainer, X[:3])
    sums = explainer.score_influence(X).sum(axis=1) + explainer.intercept_  # as it says
    display = AgreementDisplay.from_predictions(sums, explainer.estimator_.predict(X))
    assert display.agreement.relative_error < 1e-6


def test_detection_curves_are_those_of_the_ranking():
    flipped = np.where(np.arange(60) < 6, np.where(LABELS == "yes", "no", "yes"), LABELS)
    far = X * np.linspace(1.0, 10.0, 60)[:, None]  # lengths of rows count in self influence
    representer = RepresenterExplainer(LogisticRegression(tol=1e-8)).fit(far, flipped)
    for explainer in (representer, sketch(LogisticRegression(tol=1e-8), far, flipped)):
        is_bad = np.arange(60) < 6
        display = DetectionCurveDisplay.from_explainer(explainer, is_bad, name="ours")
        found = is_bad[explainer.rank_outliers()].cumsum() / 6
        checked, share = display.curves["ours"]
        assert_allclose(np.interp(np.arange(1, 61) / 60, checked, share), found, rtol=1e-9)
    order = np.argsort(-representer.self_influence())
    assert (order != representer.rank_outliers()).any()
