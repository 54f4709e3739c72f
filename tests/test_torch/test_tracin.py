"""TracInExplainer: what scores mean, where checkpoints come from, and what is refused."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, SGDClassifier, SGDRegressor
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from skinfluence import InfluenceExplainer, TracInExplainer
from skinfluence.checkpoints import CheckpointRecorder
from skinfluence.exceptions import UnsupportedEstimatorError
from tests.conftest import import_optional

torch = import_optional("torch")
nn = torch.nn

rng = np.random.default_rng(0)
N = 60
X = rng.normal(size=(N, 3))
REAL = X[:, 0] - 0.5 * X[:, 1] ** 2 + 0.2 * rng.normal(size=N)
CLASSES = np.array(["a", "b", "c"])[np.digitize(REAL, [-0.8, 0.3])]
PLACES = np.searchsorted(["a", "b", "c"], CLASSES)
Z, T = X[:5] + 0.1, CLASSES[:5]

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DESCENT = MLPRegressor(
    hidden_layer_sizes=(6,),
    solver="sgd",
    momentum=0.0,
    alpha=0.0,
    batch_size=N,
    max_iter=80,
    learning_rate_init=0.02,
    random_state=0,
)
CLASSIFIER = MLPClassifier((5,), max_iter=30, random_state=0)


def module(seed=0):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3))
    return net.double()


def trained(steps=40, rate=0.1, **recorder):
    """A module trained by gradient descent, and the recorder that saw it."""
    net = module()
    optimizer = torch.optim.SGD(net.parameters(), lr=rate)
    x, y = torch.from_numpy(X), torch.from_numpy(PLACES)
    with CheckpointRecorder(**recorder).watch(net, optimizer, n_rows=N) as seen:
        for _ in range(steps):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
    return net, seen


def losses(net, x, y):
    with torch.no_grad():
        outputs = net(torch.from_numpy(x))
        return nn.functional.cross_entropy(outputs, torch.from_numpy(y), reduction="none").numpy()


# -- what scores mean -----------------------------------------------------------------------------


def test_scores_add_up_to_what_training_did():
    slow = clone(DESCENT).set_params(learning_rate_init=0.005)
    explainer = TracInExplainer(slow, n_checkpoints=81).fit(X, REAL)
    start = clone(DESCENT).set_params(max_iter=1, learning_rate_init=1e-9).fit(X, REAL)
    fell = [(m.predict(Z) - REAL[:5]) ** 2 / 2 for m in (start, explainer.estimator_)]
    sums = explainer.score_influence(Z, REAL[:5]).sum(axis=1)
    assert_allclose(sums, fell[0] - fell[1], rtol=0.02, atol=1e-3)
    assert explainer.score_unit_ == "loss"
    assert explainer.validate().relative_error < 0.01
    assert explainer.validate(Z, REAL[:5], consecutive=True).n_pairs == 5 * 80


def test_scores_are_products_of_gradients():
    net, seen = trained(steps=4)
    explainer = TracInExplainer(net, checkpoints=seen, loss="cross_entropy").fit(X, PLACES)
    expected = 0.0
    twin = module()
    halves = np.array([0.5, 1.0, 1.0, 1.0, 0.5]) * 0.1 / N
    assert_allclose(explainer.learning_rates_, halves)
    for checkpoint, rate in zip(seen.checkpoints, halves, strict=True):
        twin.load_state_dict({k: torch.tensor(v) for k, v in checkpoint.parameters.items()})
        rows, queries = (gradients(twin, *some) for some in ((X, PLACES), (Z, PLACES[:5])))
        expected = expected + rate * queries @ rows.T
    assert_allclose(explainer.score_influence(Z, PLACES[:5]), expected, rtol=1e-10, atol=1e-15)
    assert_allclose(
        explainer.self_influence(),
        np.diag(explainer.score_influence(X, PLACES)),
        rtol=1e-10,
    )


def gradients(net, x, y):
    """Of each row's loss, (n, p)."""
    found = []
    for row, target in zip(torch.from_numpy(x), torch.from_numpy(y), strict=True):
        loss = nn.functional.cross_entropy(net(row), target)
        found.append(torch.cat([g.ravel() for g in torch.autograd.grad(loss, net.parameters())]))
    return torch.stack(found).numpy()


def test_mislabelled_rows_have_the_largest_self_influence():
    rows, labels = make_blobs(80, centers=[[-3, 0], [3, 0]], random_state=0)
    labels[:4] = 1 - labels[:4]
    net = MLPClassifier((8,), max_iter=60, learning_rate_init=0.01, random_state=0)
    explainer = TracInExplainer(net, n_checkpoints=5).fit(rows, labels)
    assert set(explainer.rank_outliers(4)) == {0, 1, 2, 3}


def test_rates_of_the_user_are_taken_as_they_are():
    net, seen = trained(steps=4)
    one = TracInExplainer(net, learning_rates=1.0, loss="cross_entropy").fit(X, PLACES)
    rows, queries = gradients(net, X, PLACES), gradients(net, Z, PLACES[:5])
    assert_allclose(one.score_influence(Z, PLACES[:5]), queries @ rows.T, rtol=1e-9, atol=1e-12)
    assert one.score_unit_ == "learning rate x gradient product"
    given = TracInExplainer(
        net, checkpoints=seen, learning_rates=[0, 0, 0, 0, 2], loss="cross_entropy"
    )
    twice = given.fit(X, PLACES).score_influence(Z, PLACES[:5])
    assert_allclose(twice, 2 * queries @ rows.T, rtol=1e-9, atol=1e-12)


def test_adams_scores_are_in_units_of_the_loss_when_scaled():
    plain = TracInExplainer(CLASSIFIER).fit(X, CLASSES)
    assert plain.score_unit_ == "learning rate x gradient product"
    options = {"preconditioner": "optimizer", "n_checkpoints": 31}
    scaled = TracInExplainer(CLASSIFIER, **options).fit(X, CLASSES)
    assert scaled.score_unit_ == "loss"
    agreement = scaled.validate()
    assert agreement.pearson > 0.95
    assert 0.5 < agreement.slope < 2.0


def test_projection_with_the_preconditioner():
    options = {"preconditioner": "optimizer", "n_checkpoints": 3}
    exact = TracInExplainer(CLASSIFIER, **options).fit(X, CLASSES)
    scores = exact.score_influence(Z, T)
    found = [
        TracInExplainer(CLASSIFIER, projection=64, random_state=seed, **options)
        .fit(X, CLASSES)
        .score_influence(Z, T)
        for seed in range(12)
    ]
    error = np.std(found, axis=0) / np.sqrt(12)
    assert (np.abs(np.mean(found, axis=0) - scores) < 4.5 * error + 1e-12).all()
    embedded = TracInExplainer(CLASSIFIER, projection=64, target="decision_function", **options)
    embedded.fit(X, CLASSES)
    products = embedded.transform(Z) @ embedded.train_embedding().T
    assert products.shape == (5, N)
    assert embedded.transform(Z).shape == (5, 3 * 64)
    assert_allclose(products, embedded.score_influence(Z), rtol=1e-7, atol=1e-10)


def test_the_fast_variant_is_that_of_the_last_layer():
    net, seen = trained(steps=4)
    options = {"checkpoints": seen, "loss": "cross_entropy"}
    fast = TracInExplainer(net, params="last_layer", **options).fit(X, PLACES)
    named = TracInExplainer(net, params=["2"], **options).fit(X, PLACES)
    whole = TracInExplainer(net, **options).fit(X, PLACES)
    scores = fast.score_influence(Z, PLACES[:5])
    assert_array_equal(scores, named.score_influence(Z, PLACES[:5]))
    assert np.abs(scores - whole.score_influence(Z, PLACES[:5])).max() > 1e-6


# -- where checkpoints come from ------------------------------------------------------------------


def test_checkpoints_of_every_kind(tmp_path):
    net, seen = trained(steps=6, directory=tmp_path / "run", every=2)
    states = [
        {name: torch.tensor(value) for name, value in checkpoint.parameters.items()}
        for checkpoint in seen.checkpoints
    ]
    expected = TracInExplainer(net, checkpoints=seen, loss="cross_entropy").fit(X, PLACES)
    scores = expected.score_influence(Z, PLACES[:5])
    assert expected.checkpoints_.steps == [0, 2, 4, 6]
    for given in (seen.checkpoints, tmp_path / "run", str(tmp_path / "run")):
        found = TracInExplainer(net, checkpoints=given, loss="cross_entropy").fit(X, PLACES)
        assert_array_equal(found.score_influence(Z, PLACES[:5]), scores)
    options = {"learning_rates": expected.learning_rates_, "loss": "cross_entropy"}
    for k, state in enumerate(states):
        torch.save(state, tmp_path / f"{k}.pt")
    for given in (states, [tmp_path / f"{k}.pt" for k in range(4)]):
        found = TracInExplainer(net, checkpoints=given, **options).fit(X, PLACES)
        assert_allclose(found.score_influence(Z, PLACES[:5]), scores, rtol=1e-12)


def test_fewer_checkpoints_stand_for_the_whole_way():
    net, seen = trained()
    every = TracInExplainer(net, checkpoints=seen, loss="cross_entropy").fit(X, PLACES)
    some = TracInExplainer(net, checkpoints=seen, n_checkpoints=6, loss="cross_entropy")
    some.fit(X, PLACES)
    assert len(some.checkpoints_) == 6
    assert some.checkpoints_.steps[-1] == 40
    assert some.learning_rates_.sum() == pytest.approx(every.learning_rates_.sum())
    pairs = [e.score_influence(Z, PLACES[:5]).ravel() for e in (every, some)]
    assert np.corrcoef(*pairs)[0, 1] > 0.99


def test_an_estimator_with_a_recorder_of_its_own():
    recorder, net = CheckpointRecorder(), clone(CLASSIFIER)
    for _ in range(5):
        recorder.partial_fit(net, X, CLASSES, classes=["a", "b", "c"])
    explainer = TracInExplainer(net, checkpoints=recorder).fit(X, CLASSES)
    assert explainer.estimator_ is net
    assert explainer.score_influence(Z, T).shape == (5, N)
    assert explainer.checkpoints_.steps == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("kind", ["pipeline", "nested", "search", "searched step", "target"])
def test_what_is_made_of_estimators(kind):
    net = clone(DESCENT).set_params(max_iter=20)
    scaled = make_pipeline(StandardScaler(), PolynomialFeatures(2), net)
    estimator = {
        "pipeline": scaled,
        "nested": make_pipeline(StandardScaler(), make_pipeline(PolynomialFeatures(2), net)),
        "search": GridSearchCV(net, {"learning_rate_init": [0.001, 0.02]}, cv=2),
        "searched step": make_pipeline(
            StandardScaler(), GridSearchCV(net, {"alpha": [0.0]}, cv=2)
        ),
        "target": TransformedTargetRegressor(net, transformer=StandardScaler()),
    }[kind]
    explainer = TracInExplainer(estimator).fit(X, REAL)
    expected = clone(estimator).fit(X, REAL)
    assert_allclose(explainer.estimator_.predict(Z), expected.predict(Z), rtol=1e-12)
    assert explainer.checkpoints_.steps[::9] == [0, 20]
    assert explainer.validate().relative_error < 0.1
    assert explainer.score_influence(Z, REAL[:5]).shape == (5, N)
    with pytest.raises(NotFittedError):
        estimator.predict(Z)


def test_a_pipeline_that_remembers_its_steps(tmp_path):
    steps = StandardScaler(), clone(DESCENT)
    explainer = TracInExplainer(make_pipeline(*steps, memory=str(tmp_path))).fit(X, REAL)
    plain = TracInExplainer(make_pipeline(*steps)).fit(X, REAL)
    assert_array_equal(explainer.score_influence(Z, REAL[:5]), plain.score_influence(Z, REAL[:5]))


def test_texts():
    texts = [f"{a} {b}" for a in ("red", "green", "blue") for b in ("cat", "dog", "bird", "fish")]
    pipeline = make_pipeline(TfidfVectorizer(), clone(CLASSIFIER))
    explainer = TracInExplainer(pipeline).fit(texts, np.repeat([0, 1, 2], 4))
    assert explainer.score_influence(["a red cat"], [0]).shape == (1, 12)


def test_frozen_and_fitted_keep_what_they_are():
    net, seen = trained(steps=4)
    before = pickle.dumps(net.state_dict())
    explainer = TracInExplainer(net, checkpoints=seen, loss="cross_entropy").fit(X, PLACES)
    explainer.score_influence(Z, PLACES[:5])
    assert pickle.dumps(net.state_dict()) == before
    fitted = clone(DESCENT).fit(X, REAL)
    frozen = TracInExplainer(FrozenEstimator(fitted), learning_rates=0.1).fit(X, REAL)
    bare = TracInExplainer(fitted, learning_rates=0.1).fit(X, REAL)
    assert_array_equal(frozen.self_influence(), bare.self_influence())


def test_seeds_reach_the_clone():
    net = MLPRegressor(hidden_layer_sizes=(3,), max_iter=5)
    runs = [TracInExplainer(net, random_state=s).fit(X, REAL).self_influence() for s in (1, 1, 2)]
    assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


STEPS = {
    "learning_rate": "constant",
    "eta0": 1e-4,
    "max_iter": 60,
    "alpha": 0.0,
    "random_state": 0,
}
LINEAR = {
    "squares": (SGDRegressor(**STEPS), REAL),
    "classes": (SGDClassifier("log_loss", **STEPS), CLASSES),
    "hinge": (SGDClassifier(**STEPS), CLASSES == "a"),
    "class weights": (SGDClassifier("log_loss", class_weight={"a": 3.0}, **STEPS), CLASSES),
    "sparse": (SGDRegressor(**STEPS), REAL),
}


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("name", LINEAR)
def test_linear_models_trained_by_steps(name, weighted):
    model, y = LINEAR[name]
    rows = sparse.csr_array(X) if name == "sparse" else X
    weights = rng.uniform(0.5, 2.0, N) if weighted else None
    explainer = TracInExplainer(model).fit(rows, y, sample_weight=weights)
    expected = clone(model).fit(rows, y, sample_weight=weights)
    # Classes that have stopped go on to the end of the last.
    if len(np.unique(y)) != 3:
        assert_array_equal(explainer.estimator_.coef_, expected.coef_)
    agreement = explainer.validate()
    assert agreement.relative_error < (0.1 if name == "class weights" else 0.03), agreement
    assert explainer.score_unit_ == "loss"
    assert explainer.score_influence(rows[:2], y[:2]).shape == (2, N)


def test_skorch_nets_are_fitted_and_recorded():
    skorch = import_optional("skorch")
    torch.manual_seed(0)
    net = skorch.NeuralNetClassifier(
        Scores, max_epochs=6, lr=0.05, batch_size=20, train_split=None, verbose=0
    )
    rows = X.astype("f4")
    explainer = TracInExplainer(net, n_checkpoints=7).fit(rows, PLACES)
    assert explainer.estimator_.callbacks is None
    assert all(name != "recorder" for name, _ in explainer.estimator_.callbacks_)
    assert explainer.checkpoints_.steps[-1] == 18
    assert explainer.score_unit_ == "loss"
    assert explainer.validate().relative_error < 0.1
    assert not net.initialized_


class Scores(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x):
        return torch.softmax(self.linear(x), 1)


# -- frames, copies -------------------------------------------------------------------------------


def test_frames():
    pandas = import_optional("pandas")
    rows = pandas.DataFrame(X, columns=["u", "v", "w"], index=[f"r{i}" for i in range(N)])
    explainer = TracInExplainer(CLASSIFIER, projection=4).set_output(transform="pandas")
    explainer.fit(rows, CLASSES)
    scores = explainer.score_influence(rows[:2], CLASSES[:2])
    assert list(scores.columns[:2]) == ["r0", "r1"]
    assert explainer.self_influence().name == "self_influence"
    own, std = explainer.self_influence(return_std=True)
    assert own.index[3] == "r3"
    assert (std == 0).all()
    assert std.name == "std"
    assert list(explainer.transform(rows[:2]).columns[:2]) == ["influence0", "influence1"]
    assert list(explainer.feature_names_in_) == ["u", "v", "w"]


def test_copies_and_reports():
    explainer = TracInExplainer(CLASSIFIER, n_checkpoints=4).fit(X, CLASSES)
    scores, report = explainer.score_influence(Z, T, return_report=True)
    assert report["n_checkpoints"] == 4
    copy = pickle.loads(pickle.dumps(explainer))
    assert_array_equal(copy.score_influence(Z, T), scores)
    fresh = clone(explainer)
    with pytest.raises(NotFittedError):
        fresh.self_influence()
    assert_array_equal(fresh.fit(X, CLASSES).score_influence(Z, T), scores)


def test_a_failed_fit_leaves_the_explainer_as_it_was():
    explainer = TracInExplainer(CLASSIFIER, n_checkpoints=2).fit(X, CLASSES)
    scores, before = explainer.score_influence(Z, T), set(vars(explainer))
    with pytest.raises(ValueError, match="n_checkpoints=99"):
        explainer.set_params(n_checkpoints=99).fit(X, CLASSES)
    assert_array_equal(explainer.score_influence(Z, T), scores)
    assert set(vars(explainer)) == before


def test_resumed_from_finished_blocks(tmp_path):
    options = {"resume": tmp_path, "n_checkpoints": 3}
    first = TracInExplainer(CLASSIFIER, **options).fit(X, CLASSES).score_influence(Z, T)
    again = TracInExplainer(CLASSIFIER, **options).fit(X, CLASSES).score_influence(Z, T)
    assert_array_equal(first, again)


# -- what is refused ------------------------------------------------------------------------------


def refused(explainer, message, y=CLASSES, error=ValueError):
    with pytest.raises(error, match=message):
        explainer.fit(X, y)


def test_a_fitted_model_without_a_path():
    fitted = clone(CLASSIFIER).fit(X, CLASSES)
    refused(
        TracInExplainer(fitted), "checkpoints=None, and the fitted MLPClassifier keeps only.*Pas"
    )
    refused(
        TracInExplainer(module(), loss="cross_entropy"), "the fitted Sequential keeps only", PLACES
    )


def test_rates_that_are_none():
    net, seen = trained(steps=2)
    states = [dict(net.state_dict())]
    options = {"loss": "cross_entropy"}
    refused(
        TracInExplainer(net, checkpoints=states, **options), "how large the optimiser's", PLACES
    )
    for rates, message in [
        ([0.1, 0.1], r"shape \(2,\), and there are 3 checkpoints"),
        (-0.1, "learning_rates is -0.1, and rates are finite numbers that are not negative"),
        ([0.1, -0.1, 0.1], "rates are finite numbers that are not negative"),
        ([0.1, np.nan, 0.1], "rates are finite numbers"),
        (0.0, "not all zero"),
    ]:
        explainer = TracInExplainer(net, checkpoints=seen, learning_rates=rates, **options)
        refused(explainer, message, PLACES)


def test_checkpoints_of_another_network():
    _, seen = trained(steps=2)
    other = nn.Sequential(nn.Linear(3, 7), nn.Tanh(), nn.Linear(7, 3)).double()
    explainer = TracInExplainer(other, checkpoints=seen, loss="cross_entropy")
    refused(explainer, r"0.weight.*\(5, 3\).*\(7, 3\)", PLACES)
    deeper = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 5), nn.Linear(5, 3)).double()
    explainer = TracInExplainer(deeper, checkpoints=seen, loss="cross_entropy")
    refused(explainer, "different parameters: .2.weight. is of shape", PLACES)


def test_too_few_checkpoints():
    net, seen = trained(steps=2)
    explainer = TracInExplainer(net, checkpoints=seen, n_checkpoints=4, loss="cross_entropy")
    refused(explainer, "n_checkpoints=4, and there are 3", PLACES)
    alone = TracInExplainer(net, learning_rates=1.0, loss="cross_entropy").fit(X, PLACES)
    with pytest.raises(ValueError, match="There is one checkpoint"):
        alone.validate()


def test_checkpoints_of_an_unfitted_estimator():
    _, seen = trained(steps=2)
    explainer = TracInExplainer(CLASSIFIER, checkpoints=seen)
    refused(explainer, "checkpoints= are those of a training that has been, and the MLPClassifier")
    recorder = CheckpointRecorder()
    model = clone(CLASSIFIER)
    recorder.partial_fit(model, X, CLASSES, classes=np.unique(CLASSES))
    refused(TracInExplainer(CLASSIFIER, checkpoints=recorder), "the one that a recorder has seen")
    assert len(TracInExplainer(model, checkpoints=recorder).fit(X, CLASSES).checkpoints_) == 1


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (MLPClassifier(solver="lbfgs"), "MLPClassifier has solver='lbfgs'"),
        (MLPClassifier(early_stopping=True), "MLPClassifier has early_stopping=True"),
        (KernelDensity(), "KernelDensity is not fitted, and there is no way to record"),
        (make_pipeline(StandardScaler(), LinearRegression()), "LinearRegression is not fitted"),
    ],
)
def test_what_cannot_be_recorded(estimator, message):
    refused(TracInExplainer(estimator), message, error=UnsupportedEstimatorError)


def test_targets_that_are_missing_or_alike():
    refused(TracInExplainer(CLASSIFIER), "TracInExplainer requires y to be passed", None)
    with pytest.raises(ValueError, match="needs its y"):
        TracInExplainer(CLASSIFIER).fit(X, CLASSES).score_influence(Z)
    one = TracInExplainer(MLPClassifier((3,), max_iter=3, random_state=0)).fit(X, np.zeros(N))
    assert np.isfinite(one.score_influence(Z, np.zeros(5))).all()


def test_options_that_are_not_there():
    refused(TracInExplainer(CLASSIFIER, loss="hinge"), "loss='hinge' is passed, and MLPClassifier")
    net, seen = trained(steps=2)
    explainer = TracInExplainer(net, checkpoints=seen, loss="huge")
    refused(explainer, "'huge'", PLACES)
    refused(TracInExplainer(CLASSIFIER, target="params"), "target='params' is none of 'loss'")
    refused(TracInExplainer(CLASSIFIER, gradient="score ratio"), "The 'gradient' parameter")
    refused(TracInExplainer(CLASSIFIER, n_draws=0), "The 'n_draws' parameter")
    refused(TracInExplainer(CLASSIFIER, n_draws=8), "n_draws=8 is about draws.*this loss has none")
    refused(TracInExplainer(CLASSIFIER, n_draws="auto"), "n_draws='auto' is about draws")
    refused(TracInExplainer(CLASSIFIER, gradient="score"), "gradient='score' is about draws")
    for share in (0.1, None):
        message = rf"contamination={share} is the share of outliers of a detector.*rank_outliers"
        refused(TracInExplainer(CLASSIFIER, contamination=share), message)
    refused(TracInExplainer(None), "estimator is None, and TracInExplainer explains a model")
    refused(TracInExplainer("net.pt"), "estimator is the path 'net.pt'")


def test_what_questions_are_those_of_the_other_explainer():
    explainer = TracInExplainer(CLASSIFIER).fit(X, CLASSES)
    for name in ("d_params", "perturbation", "diagnostics", "predict", "fit_predict"):
        assert not hasattr(explainer, name)
        assert name in ("predict", "fit_predict") or hasattr(InfluenceExplainer, name)
    with pytest.raises(AttributeError, match="has no attribute 'predict'") as error:
        explainer.predict(X)
    assert "label rows by their loss alone" in str(error.value.__cause__)
    with pytest.raises(ValueError, match="X is None"):
        explainer.score_influence(None)
