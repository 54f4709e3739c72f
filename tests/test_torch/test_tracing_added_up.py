"""A warning where scores do not add up to what training did, and none where they do."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor

from skinfluence import TracInExplainer
from skinfluence.checkpoints import CheckpointRecorder
from skinfluence.exceptions import IncompleteTraceWarning
from tests.conftest import import_optional

torch = import_optional("torch")
nn = torch.nn

from skinfluence.torch import BetaVAE  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = make_classification(
    300, 6, n_informative=4, n_classes=3, n_clusters_per_class=1, random_state=0
)
REAL = X @ np.arange(6.0) + 0.1 * np.random.default_rng(0).normal(size=300)


def sgd(**options):
    return SGDClassifier(**{"loss": "log_loss", "random_state": 0, **options})


def mlp(**options):
    given = {"solver": "sgd", "max_iter": 40, "random_state": 0, "learning_rate_init": 1e-3}
    return MLPClassifier((8,), **{**given, **options})


SOUND = {
    "linear": (SGDRegressor(learning_rate="constant", eta0=1e-5), REAL, {}),
    "linear classes": (sgd(learning_rate="constant", eta0=1e-3), y, {}),
    "falling rate": (sgd(learning_rate="invscaling", eta0=1e-3), y, {}),
    "hinge": (sgd(loss="hinge", learning_rate="constant", eta0=1e-4), y, {}),
    "network": (mlp(momentum=0.0), y, {}),
    "momentum": (mlp(momentum=0.9), y, {}),
    "momentum of one epoch": (mlp(momentum=0.9, max_iter=1), y, {}),
    "two checkpoints": (mlp(), y, {"n_checkpoints": 2}),
    "regression": (
        MLPRegressor(hidden_layer_sizes=(8,), solver="sgd", random_state=0, max_iter=50),
        REAL / 5,
        {},
    ),
    "Adam": (mlp(solver="adam"), y, {"preconditioner": "optimizer"}),
    "no unit": (mlp(solver="adam"), y, {}),
    "few parameters": (mlp(), y, {"params": "last_layer"}),
    "one checkpoint": (sgd(), y, {"n_checkpoints": 1}),
    "no loss": (sgd(), y, {"target": "proba"}),
}


@pytest.mark.parametrize("name", SOUND)
def test_nothing_is_said_where_sums_are_right_or_not_claimed(name):
    model, targets, options = SOUND[name]
    for n in (300, 40):
        TracInExplainer(model, **options).fit(X[:n], targets[:n])


def test_linear_models_by_default_take_steps_that_are_too_long():
    with pytest.warns(IncompleteTraceWarning, match=r"fell by .* add up to .*Lower the learning"):
        explainer = TracInExplainer(sgd()).fit(X, y)
    assert explainer.score_unit_ == "loss"


def trained(step, *, lr=0.05, epochs=5, loss="mean", batch=30, **options):
    """A network of torch, trained by batches, and its recorder."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, **options)
    recorder = CheckpointRecorder(keep=10)
    inputs, targets = torch.tensor(X, dtype=torch.float32), torch.tensor(y)
    with recorder.watch(net, optimizer, n_rows=len(X)):
        for _ in range(epochs):
            for at in torch.randperm(len(X)).split(batch):
                optimizer.zero_grad()
                nn.functional.cross_entropy(
                    net(inputs[at]), targets[at], reduction=loss
                ).backward()
                step(net)
                optimizer.step()
    return net, recorder


def nothing(net):
    pass


def clip(net):
    nn.utils.clip_grad_norm_(net.parameters(), 0.01)


def explain(net, recorder):
    rows = X.astype(np.float32)
    return TracInExplainer(net, checkpoints=recorder, loss="cross_entropy").fit(rows, y)


@pytest.mark.parametrize(
    "options", [{}, {"momentum": 0.9, "lr": 0.005}, {"batch": 300}, {"epochs": 1}]
)
def test_loops_of_torch_whose_sums_are_right(options):
    explain(*trained(nothing, **options))


@pytest.mark.parametrize(
    ("step", "options", "why"),
    [
        (clip, {}, "clipped gradients"),
        (nothing, {"momentum": 0.9, "epochs": 50}, "Lower the learning rate or the momentum"),
        (nothing, {"loss": "sum", "lr": 0.001}, "a sum over its rows"),
        (nothing, {"maximize": True, "lr": 0.01}, "maximize=True"),
    ],
)
def test_steps_of_another_length_or_direction(step, options, why):
    with pytest.warns(IncompleteTraceWarning, match=why):
        explain(*trained(step, **options))


def test_a_vae_trained_by_gradient_descent():
    rows = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    vae = BetaVAE(2, hidden=(8,), optimizer="sgd", learning_rate=1e-3, max_epochs=5)
    TracInExplainer(vae, contamination=None).fit(rows)


def test_weights_and_rows_without_any_are_taken_into_account():
    weights = np.random.default_rng(0).exponential(size=300)
    weights[:100] = 0.0
    model = sgd(learning_rate="constant", eta0=1e-4)
    TracInExplainer(model).fit(X, y, sample_weight=weights)


def test_the_warning_does_not_touch_the_state_of_random_numbers():
    state = np.random.RandomState(3)
    TracInExplainer(mlp(), random_state=state).fit(X, y)
    before = state.get_state()[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteTraceWarning)
        TracInExplainer(mlp(), random_state=3).fit(X, y)
    assert (state.get_state()[1] == before).all()
