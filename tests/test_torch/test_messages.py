"""What a newcomer passes by mistake is answered by one sentence that says what to pass."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skinfluence import InfluenceExplainer, RepresenterExplainer
from skinfluence.exceptions import UnsupportedEstimatorError
from tests.conftest import import_optional

torch = import_optional("torch")
nn = torch.nn
F = nn.functional

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(12, 4)).astype("f4"), np.arange(12) % 3
REALS = rng.normal(size=(12, 3)).astype("f4")
SHORT = 260

pytestmark = [
    pytest.mark.filterwarnings("ignore::skinfluence.exceptions.NotStationaryWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.fc = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.fc(torch.tanh(self.body(x)))


def net():
    torch.manual_seed(0)
    return Net()


def fit(model=None, rows=X, y=Y, **options):
    options = {"loss": "cross_entropy", "damping": 0.3, **options}
    return InfluenceExplainer(net() if model is None else model, **options).fit(rows, y)


NO_MODELS = {
    "path": (lambda: "model.pt", r"the path 'model\.pt'.*load_state_dict"),
    "state_dict": (lambda: net().state_dict(), r"OrderedDict of 4 entries, perhaps a state_dict"),
    "optimiser": (lambda: torch.optim.SGD(net().parameters(), lr=0.1), r"the optimiser SGD\."),
    "modules": (lambda: [net(), net()], "a list of 2 objects"),
    "parameters": (lambda: list(net().parameters()), "a list of 4 objects"),
    "bound method": (lambda: net().forward, r"the method forward of Net.*Pass the Net\."),
    "function": (lambda: lambda x: x, "which owns no parameters"),
    "tensor": (lambda: torch.zeros(2000), "a Tensor, which is neither"),
    "class": (lambda: Net, r"the class Net, and an instance is needed"),
}


@pytest.mark.parametrize("case", NO_MODELS)
def test_no_model(case):
    make, message = NO_MODELS[case]
    with pytest.raises((ValueError, TypeError), match=message) as found:
        fit(make())
    assert len(str(found.value)) < SHORT


def test_parameters_by_the_name_of_their_module():
    assert_allclose(
        fit(params=["fc"]).score_influence(X, Y),
        fit(params=["fc.*"]).score_influence(X, Y),
        rtol=1e-6,
        atol=1e-9,
    )
    with pytest.raises(ValueError, match=r"no such parameter.*Did you mean 'body'\?"):
        fit(params=["bodi"])
    with pytest.raises(ValueError, match=r"params is empty, so that nothing is explained"):
        fit(params=[])
    with pytest.raises(ValueError, match=r"params holds a Parameter, and names"):
        fit(params=list(net().parameters()))


def test_losses():
    with pytest.raises(ValueError, match=r"Write loss=CrossEntropyLoss\(\)"):
        fit(loss=nn.CrossEntropyLoss)
    with pytest.raises(ValueError, match=r"Did you mean 'cross_entropy'\?"):
        fit(loss="CrossEntropy")
    with pytest.raises(ValueError, match=r"loss returned a ndarray, which has no derivatives"):
        fit(loss=lambda f, y: np.zeros(len(f)))
    with pytest.raises(UnsupportedEstimatorError, match=r"MultiMarginLoss has no second deriv"):
        fit(loss=nn.MultiMarginLoss())


FUNCTIONS = {
    "cross entropy": (F.cross_entropy, nn.CrossEntropyLoss(), Y),
    "mean squared": (F.mse_loss, nn.MSELoss(), REALS),
    "binary": (F.binary_cross_entropy_with_logits, nn.BCEWithLogitsLoss(), np.eye(3)[Y]),
    "smooth": (F.smooth_l1_loss, nn.SmoothL1Loss(), REALS),
}


@pytest.mark.parametrize("case", FUNCTIONS)
def test_functions_of_torch_are_its_modules(case):
    function, module, y = FUNCTIONS[case]
    found, expected = (fit(y=y, loss=loss).score_influence(X, y) for loss in (function, module))
    assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_log_probabilities_by_function():
    model = nn.Sequential(net(), nn.LogSoftmax(1))
    found, expected = (
        fit(model, loss=loss).score_influence(X, Y) for loss in (F.nll_loss, nn.NLLLoss())
    )
    assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_rows_that_are_no_numbers_are_named(value):
    odd = X.copy()
    odd[10, 1] = value
    # Behind tanh, infinity has a loss and no slope.
    seen = "X holds NaN or infinity at row 10, .* fill in what is missing"
    with pytest.raises(ValueError, match=seen):
        fit().score_influence(odd, Y)
    with pytest.raises(ValueError, match=seen):
        fit(rows=odd)


class Filled(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = net()

    def forward(self, x):
        return self.inner(torch.where(x.isfinite(), x, 0.0))


def test_modules_that_fill_in_missing_values():
    odd = X.copy()
    odd[10, 1] = np.nan
    zero = np.nan_to_num(odd)
    found = fit(Filled(), odd).score_influence(odd, Y)
    assert_allclose(found, fit(Filled(), zero).score_influence(zero, Y), rtol=1e-6, atol=1e-9)


def test_positions_beyond_the_table_are_named():
    tokens = rng.integers(0, 9, (12, 3))
    beyond = tokens.copy()
    beyond[2, 0] = 77
    model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 3))
    with pytest.raises(ValueError, match=r"fails at row 2: .*table of its embedding"):
        fit(model, tokens).score_influence(beyond, Y)


def test_solver_that_needs_a_definite_curvature():
    with pytest.raises(ValueError, match=r"solver='ekfac' needs .*curvature='hessian' may be"):
        fit(curvature="hessian", solver="ekfac")


def test_retrain():
    e, same = fit(), net()
    ask = {"n_refits": 2, "random_state": 0}
    with pytest.raises(ValueError, match=r"retrain cannot be called with one argument"):
        e.validate(X[:3], Y[:3], retrain=lambda: same, **ask)
    with pytest.raises(ValueError, match=r"same module with the same parameters"):
        e.validate(X[:3], Y[:3], retrain=lambda kept: same, **ask)


def test_what_is_read_names_networks():
    from sklearn.base import BaseEstimator

    class Stranger(BaseEstimator):
        def fit(self, X, y=None):
            return self

    with pytest.raises(UnsupportedEstimatorError, match=r"MLPClassifier.*torch modules, skorch"):
        InfluenceExplainer(Stranger()).fit(X, Y)


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
def test_validation_that_loses_a_class():
    from sklearn.neural_network import MLPClassifier

    y = np.r_[0, np.arange(11) % 3 + 1]
    model = MLPClassifier((2,), alpha=1.0, solver="lbfgs", max_iter=50, random_state=0).fit(X, y)
    e = InfluenceExplainer(model, damping=0.3).fit(X, y)
    with pytest.raises(ValueError, match=r"knows 3 classes instead of 4: .* left of class 0"):
        e.validate(X[1:4], y[1:4], n_refits=12, random_state=0)


def pairs():
    yield torch.as_tensor(X[:6]), torch.as_tensor(Y[:6])
    yield torch.as_tensor(X[6:]), torch.as_tensor(Y[6:])


@pytest.mark.parametrize("rows", [pairs, pairs(), list(pairs())], ids=["function", "it", "list"])
def test_batches_that_are_no_loader(rows):
    match = r"X is a (function|generator|list of tuples), and .* a Dataset or DataLoader of pairs"
    with pytest.raises(ValueError, match=match):
        RepresenterExplainer(net(), loss="cross_entropy").fit(rows)
    with pytest.raises(ValueError, match=match):
        fit(rows=rows)
