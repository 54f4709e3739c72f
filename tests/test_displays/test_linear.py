"""Displays of explainers of linear models: targets, units, signs, and rows of all kinds."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skinfluence import InfluenceExplainer
from skinfluence.displays import (
    DetectionCurveDisplay,
    ImageGridDisplay,
    InfluenceDisplay,
    SelfInfluenceDisplay,
)
from skinfluence.displays._style import OPPONENT, PROPONENT
from skinfluence.metrics import detection_curve
from tests.conftest import import_optional

to_rgba = import_optional("matplotlib.colors").to_rgba

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 4)) * [1.0, 3.0, 1.0, 1.0]
VALUES = X[:, 0] + 0.5 * rng.normal(size=40)
LABELS = np.where(VALUES > 0, "yes", "no")


def logistic(target="loss", rows=X, model=None, **options):
    model = LogisticRegression(tol=1e-8) if model is None else model
    return InfluenceExplainer(model, target=target, **options).fit(rows, LABELS)


def red(display):
    """Whether each drawn row is red rather than blue."""
    display.figure_.canvas.draw()
    red, _, blue, _ = display.scatter_.get_facecolors().T
    return red > blue


def texts_of(legend):
    return [text.get_text() for text in legend.get_texts()]


# -- one query ----------------------------------------------------------------------------------


@pytest.mark.parametrize("y", ["yes", ["yes"], np.array(["yes"])])
def test_the_loss_is_that_of_the_target_given(y):
    explainer = logistic()
    display = InfluenceDisplay.from_explainer(explainer, X[3], y=y)
    assert_array_equal(display.influence, explainer.score_influence(X[[3]], ["yes"])[0])
    label = "influence on the query (change of the loss)"
    assert display.colorbar_.ax.get_ylabel() == label
    assert texts_of(display.ax_.get_legend()) == ["query"]
    assert display.plot(kind="distance").ax_.get_ylabel() == label


def test_a_loss_without_a_target_is_refused():
    with pytest.raises(ValueError, match=r"which needs its y\. Pass y"):
        InfluenceDisplay.from_explainer(logistic(), X[3])
    with pytest.raises(ValueError, match=r"which needs its y\. Pass y"):
        ImageGridDisplay.from_explainer(logistic(), X[:2], image_shape=(2, 2))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        InfluenceDisplay.from_explainer(logistic(), X[3], y=LABELS)


def test_several_outputs_have_several_targets():
    targets = np.column_stack([VALUES, VALUES**2])
    explainer = InfluenceExplainer(Ridge()).fit(X, targets)
    display = InfluenceDisplay.from_explainer(explainer, X[3], y=targets[3])
    assert_array_equal(display.influence, explainer.score_influence(X[[3]], targets[[3]])[0])


@pytest.mark.parametrize("target", ["decision_function", "proba"])
def test_rows_that_carry_an_output_are_red_though_negative(target):
    explainer = logistic(target)
    display = InfluenceDisplay.from_explainer(explainer, X[3])
    scores = np.asarray(display.scatter_.get_array())
    assert scores.min() < 0 < scores.max()
    limit = 0.02 * display.scatter_.norm.vmax
    assert red(display)[scores < -limit].all()
    assert not red(display)[scores > limit].any()
    assert texts_of(display.ax_.get_legend()) == ["query", "proponents", "opponents"]
    # red is right: refitted without the reddest row, the model is less sure of its class
    kept = np.delete(np.arange(40), np.argmin(display.influence))
    again = LogisticRegression(tol=1e-8).fit(X[kept], LABELS[kept])
    chosen = explainer.estimator_.predict_proba(X[[3]]).argmax()
    before, after = (m.predict_proba(X[[3]])[0, chosen] for m in (explainer.estimator_, again))
    assert after < before


def test_infinities_of_an_output_have_the_colours_of_their_signs():
    scores = np.array([np.inf, -np.inf, *np.zeros(38)])
    display = InfluenceDisplay.from_influence(scores, X, X[0], score_unit="proba")
    up, down = display.infinite_
    assert_array_equal(up.get_facecolor()[0], to_rgba(OPPONENT))
    assert_array_equal(down.get_facecolor()[0], to_rgba(PROPONENT))


def test_functions_of_the_users_own_have_no_proponents():
    explainer = logistic(lambda outputs, y: outputs[..., 0])
    display = InfluenceDisplay.from_explainer(explainer, X[3], kind="distance")
    assert texts_of(display.ax_.get_legend()) == ["rises without it", "falls without it"]
    assert display.ax_.get_ylabel() == "influence on the query (change of the value)"


def test_a_parameter_needs_no_query():
    explainer = logistic("coef:x1")
    display = InfluenceDisplay.from_explainer(explainer, None)
    assert_array_equal(display.influence, explainer.score_influence(None)[0])
    assert display.colorbar_.ax.get_ylabel() == "influence (change of the parameter)"
    assert display.query_ is None
    with pytest.raises(ValueError, match=r"but there is no query\. Pass one, or a distance"):
        display.plot(kind="distance")
    with pytest.raises(ValueError, match="There are 5 scores a training row, but one query"):
        InfluenceDisplay.from_explainer(logistic("params"), None)


def test_frame_of_a_parameter_has_no_distance():
    import_optional("pandas")
    display = InfluenceDisplay(influence=VALUES, X=X, query=None, feature_names=list("abcd"))
    assert list(display.frame().columns) == ["influence", "a", "b", "c", "d"]


def test_several_queries_are_refused():
    with pytest.raises(ValueError, match=r"There are 2 scores a training row, .* Z\[\[0\]\]"):
        InfluenceDisplay.from_explainer(logistic("proba"), X[:2], distance=VALUES)


def test_distance_is_the_models_behind_a_pipeline_of_a_frame():
    pd = import_optional("pandas")
    frame = pd.DataFrame(X, columns=list("abcd"), index=[f"row {i}" for i in range(40)])
    model = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-8))
    explainer = logistic(rows=frame, model=model).set_output(transform="pandas")
    scaled = StandardScaler().fit_transform(X)
    for query in (frame.iloc[3], frame.iloc[[3]]):
        display = InfluenceDisplay.from_explainer(explainer, query, y="no", n_labels=2)
        assert_allclose(display.distance, np.linalg.norm(scaled - scaled[3], axis=1), rtol=1e-12)
        assert display.ax_.get_xlabel() == "a"
        assert_array_equal(display.frame().index, frame.index)
    assert display.labels_[0].get_text().startswith("row ")


# -- sparse rows and rows that are no numbers ----------------------------------------------------


def test_sparse_rows_give_the_picture_of_dense_ones(monkeypatch):
    monkeypatch.setattr("skinfluence.displays._rows._BLOCK", 50)  # several blocks of rows
    rows = np.where(np.abs(X) > 0.5, X, 0.0)
    dense, sparse = logistic(rows=rows), logistic(rows=csr_array(rows))
    expected = InfluenceDisplay.from_explainer(dense, rows[3], y="no", features=(0, 2))
    for query in (rows[3], csr_array(rows[[3]])):
        display = InfluenceDisplay.from_explainer(sparse, query, y="no", features=(0, 2))
        assert_allclose(display.influence, expected.influence, rtol=1e-6, atol=1e-12)
        assert_allclose(display.distance, expected.distance, rtol=1e-12)
        assert display.distance[3] == 0.0
        assert_array_equal(display.query, expected.query)
        points = np.asarray(display.scatter_.get_offsets())
        assert_array_equal(np.sort(points, axis=0), np.sort(rows[:, [0, 2]], axis=0))
    SelfInfluenceDisplay.from_explainer(sparse).figure_.canvas.draw()
    by_query = ImageGridDisplay.from_explainer(
        sparse, csr_array(rows[:2]), y=LABELS[:2], image_shape=(2, 2), k=3
    )
    assert_array_equal(by_query.queries, rows[:2].reshape(2, 2, 2))
    assert_array_equal(
        by_query.images["proponent"], rows[by_query.rows["proponent"]].reshape(2, 3, 2, 2)
    )


def test_frame_of_sparse_rows():
    import_optional("pandas")
    rows = np.where(X > 0.5, X, 0.0)
    for display in (
        InfluenceDisplay(influence=VALUES, X=csr_array(rows), query=rows[0]),
        SelfInfluenceDisplay(self_influence=VALUES, X=csr_array(rows)),
    ):
        features = display.frame().iloc[:, -4:]
        assert_array_equal(features.to_numpy(), rows)


def test_categories_are_drawn_as_the_model_sees_them():
    pd = import_optional("pandas")
    frame = pd.DataFrame({"town": LABELS, "size": X[:, 1]}, index=np.arange(100, 140))
    encoder = make_column_transformer((StandardScaler(), ["size"]), (OneHotEncoder(), ["town"]))
    explainer = InfluenceExplainer(make_pipeline(encoder, Ridge())).fit(frame, VALUES)
    display = InfluenceDisplay.from_explainer(explainer, frame.iloc[3], y=VALUES[3])
    assert display.ax_.get_xlabel() == "standardscaler__size"
    assert_allclose(display.query, encoder.fit_transform(frame)[3], rtol=1e-12)
    own = SelfInfluenceDisplay.from_explainer(explainer)
    assert own.feature_names == display.feature_names
    assert_array_equal(own.frame().index, frame.index)


@pytest.mark.parametrize("query", ["win money", ["win money"]])
def test_texts_have_distances_too(query):
    texts = ["win money now", "lunch at noon", "win a prize", "noon is lunch", "money money"] * 4
    y = np.array([1, 0, 1, 0, 1] * 4)
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(tol=1e-8))
    explainer = InfluenceExplainer(model).fit(texts, y)
    display = InfluenceDisplay.from_explainer(explainer, query, y=1, kind="distance")
    assert_array_equal(display.influence, explainer.score_influence(["win money"], [1])[0])
    vectors = explainer.estimator_[0].transform([*texts, "win money"]).toarray()
    assert_allclose(
        display.distance, np.linalg.norm(vectors[:-1] - vectors[-1], axis=1), rtol=1e-12
    )


# -- self influence -------------------------------------------------------------------------------


def test_self_influence_of_a_regression():
    explainer = InfluenceExplainer(Ridge()).fit(X, VALUES)
    display = SelfInfluenceDisplay.from_explainer(explainer, np.column_stack([X[:, 0], VALUES]))
    assert_array_equal(display.self_influence, explainer.self_influence())
    assert display.colorbar_.ax.get_ylabel() == "self influence (change of the loss)"
    assert display.log_density is None
    with pytest.raises(ValueError, match="there is none: supervised models have no density"):
        display.plot(kind="density")


def test_self_influence_on_outputs_is_strong_far_from_zero():
    explainer = logistic("decision_function")
    display = SelfInfluenceDisplay.from_explainer(explainer, n_labels=1)
    scores = explainer.self_influence()
    assert scores.max() < 0.5 * -scores.min()
    assert display.labels_[0].get_text() == str(np.argmin(scores))
    drawn = np.asarray(display.scatter_.get_array())
    assert_array_equal(drawn, scores[np.argsort(np.abs(scores), kind="stable")])
    assert red(display)[-1]
    assert display.scatter_.norm.vmin == -display.scatter_.norm.vmax


@pytest.mark.parametrize("target", ["loss", "decision_function"])
def test_detection_looks_at_the_strongest_rows_first(target):
    is_bad = np.arange(40) % 7 == 0
    explainer = logistic(target)
    display = DetectionCurveDisplay.from_explainer(explainer, is_bad)
    scores = explainer.self_influence()
    strength = scores if target == "loss" else np.abs(scores)
    assert_array_equal(display.curves["InfluenceExplainer"], detection_curve(is_bad, strength))


def test_detection_takes_labelled_scores():
    pd = import_optional("pandas")
    is_bad = pd.Series(np.arange(40) % 7 == 0, index=np.arange(40) + 5)
    explainer = logistic().set_output(transform="pandas")
    display = DetectionCurveDisplay.from_explainer(explainer, is_bad)
    expected = detection_curve(is_bad.to_numpy(), logistic().self_influence())
    assert_array_equal(display.curves["InfluenceExplainer"], expected)


# -- images ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["loss", "decision_function"])
def test_proponents_are_what_helps_whatever_its_sign(target):
    explainer = logistic(target)
    display = ImageGridDisplay.from_explainer(
        explainer, X[:2], y=LABELS[:2], image_shape=(2, 2), k=3
    )
    scores = explainer.score_influence(X[:2], LABELS[:2])
    sign = 1 if target == "loss" else -1
    for role, best in (("proponent", sign), ("opponent", -sign)):
        order = np.argsort(-best * scores, axis=1, kind="stable")[:, :3]
        assert_array_equal(display.rows[role], order)
        assert_array_equal(display.scores[role], np.take_along_axis(scores, order, axis=1))
    colours = [frame.get_edgecolor() for frame in display.frames_[0]]
    expected = ["black"] + [PROPONENT] * 3 + [OPPONENT] * 3
    assert colours == [to_rgba(colour) for colour in expected]
    again = ImageGridDisplay.from_influence(
        scores, X[:2], X, image_shape=(2, 2), k=3, score_unit=explainer.score_unit_
    )
    assert_array_equal(again.rows["proponent"], display.rows["proponent"])


def test_sections_of_a_function_of_the_users_own():
    explainer = logistic(lambda outputs, y: outputs[..., 0])
    display = ImageGridDisplay.from_explainer(explainer, X[:1], image_shape=(2, 2), k=2)
    texts = {text.get_text() for text in display.ax_.texts}
    assert {"query", "rises without it", "falls without it"} <= texts
    assert (display.scores["proponent"] > 0).all()
