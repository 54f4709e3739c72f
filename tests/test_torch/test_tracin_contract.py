"""Gradient tracing obeys the laws of every explainer: ours that apply, and scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.frozen import FrozenEstimator
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from skinfluence import TracInExplainer
from skinfluence.testing import explainer_checks
from tests.cases import BLOBS, ROWS, TARGETS
from tests.conftest import import_optional
from tests.test_sklearn_extras import (
    CHECKS,
    FRAME_CHECKS,
    TRANSFORMER_CHECKS,
    TRANSFORMER_FRAME_CHECKS,
    run,
)

torch = import_optional("torch")

from skinfluence.torch import BetaVAE  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # scikit-learn's checks have targets of hundreds, for which all rates are too large.
    pytest.mark.filterwarnings("ignore::skinfluence.exceptions.IncompleteTraceWarning"),
]

# All rows in every step, so that their order is nothing.
WHOLE = {"batch_size": 10**6, "shuffle": False, "max_iter": 15, "random_state": 0}
NETS = {
    "softmax": (MLPClassifier((4,), solver="sgd", **WHOLE), "classes"),
    "logistic": (MLPClassifier((), activation="tanh", **WHOLE), "binary"),
    "squares": (MLPRegressor(hidden_layer_sizes=(4,), solver="sgd", **WHOLE), "real"),
}
OPTIONS = {
    "loss": {},
    "adam": {"preconditioner": "optimizer"},
    "projection": {"projection": 30, "random_state": 0},
}
CASES = [
    ("softmax", "loss"),
    ("squares", "loss"),
    ("logistic", "adam"),
    ("softmax", "projection"),
]
# There is nothing to refit: what a row's own steps did is no deletion.
NOT_OURS = {"check_refits"}
# A fitted network alone has no checkpoints.
NOT_OF_NETS = NOT_OURS | {"check_fitted_estimator"}
# Scores of a row with itself have draws of their own, and self influence has no projection.
NOT_OF_ESTIMATES = NOT_OURS | {"check_self_influence"}


def tiny(**options):
    options = {"hidden": (4,), "max_epochs": 2, "random_state": 0, "dtype": "float64", **options}
    return BetaVAE(2, **options)


def ours(explainer, X, y=None, *, without=NOT_OURS):
    for name, check in explainer_checks(explainer, X, y, repeats=False):
        if name not in without:
            yield name, check


def laws_of_nets():
    for net, kind in CASES:
        estimator, target = NETS[net]
        explainer = TracInExplainer(estimator, n_checkpoints=3, **OPTIONS[kind])
        without = NOT_OF_NETS | (NOT_OF_ESTIMATES if kind == "projection" else set())
        for name, check in ours(explainer, ROWS, TARGETS[target], without=without):
            yield pytest.param(check, id=f"{name}-{net}-{kind}")


@pytest.mark.filterwarnings("ignore:Got `batch_size` less than 1 or larger")
@pytest.mark.parametrize("check", list(laws_of_nets()))
def test_explainer_law(check):
    check()


FITTED = BetaVAE(2, hidden=(8,), max_epochs=20, dtype="float64", random_state=0).fit(BLOBS)


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, id=name)
        # Frozen, as clones of it are trained anew, in another order of the rows.
        for name, check in ours(
            TracInExplainer(FrozenEstimator(FITTED), n_draws=4, n_checkpoints=3, random_state=0),
            BLOBS,
            # More rows than those of the recorded training are refused.
            without=NOT_OF_ESTIMATES | {"check_duplicates"},
        )
    ],
)
def test_explainer_law_of_a_vae(check):
    check()


def test_copies_of_a_row_share_their_draws_and_scores():
    rows = np.vstack([BLOBS, BLOBS[:4]])
    vae = BetaVAE(2, hidden=(8,), max_epochs=5, dtype="float64", random_state=0)
    explainer = TracInExplainer(vae, n_draws=4, n_checkpoints=2, random_state=0).fit(rows)
    scores = explainer.score_influence(BLOBS[:3])
    # Rounding only: blocks end at other rows.
    assert_allclose(scores[:, len(BLOBS) :], scores[:, :4], rtol=1e-9)


SHORT = {"max_iter": 3, "random_state": 0, "hidden_layer_sizes": (3,)}
# Batches are drawn: two of a row are not one of weight 2.
IN_THE_MEAN = dict.fromkeys(
    [f"check_sample_weight_equivalence_on_{kind}_data" for kind in ("dense", "sparse")],
    "weights are repeated rows in the mean over batches only",
)
CONTRACTS = [
    TracInExplainer(MLPClassifier(**SHORT), n_checkpoints=2),
    TracInExplainer(MLPRegressor(solver="sgd", **SHORT), projection=4),
    TracInExplainer(tiny(), n_draws=2, n_checkpoints=2, contamination=0.1),
]


@parametrize_with_checks(CONTRACTS, expected_failed_checks=lambda _: IN_THE_MEAN)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


DETECTOR = TracInExplainer(tiny(), n_draws=2, n_checkpoints=2, projection=3)


# Whatever is no estimator is refused in a sentence of ours instead of scikit-learn's.
OWN_WORDS = {"check_param_validation"}


@pytest.mark.parametrize("name", sorted({*CHECKS, *TRANSFORMER_CHECKS} - OWN_WORDS))
def test_scikit_learn_extras(name):
    run(name, DETECTOR)


def test_every_parameter_has_a_constraint():
    assert DETECTOR._parameter_constraints.keys() == DETECTOR.get_params(deep=False).keys()


@pytest.mark.parametrize(("container", "name"), [*FRAME_CHECKS, *TRANSFORMER_FRAME_CHECKS])
def test_scikit_learn_extras_of_frames(container, name):
    import_optional(container)
    run(name, DETECTOR)
