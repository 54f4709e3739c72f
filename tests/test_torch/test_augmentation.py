"""The score of transformations, on networks: shortcuts against the matrix of replacements."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn import config_context
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import InfluenceExplainer
from tests.conftest import import_optional

torch = import_optional("torch")
nn = torch.nn
from torch.utils.data import DataLoader, Dataset, TensorDataset  # noqa: E402

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(14, 4)), np.arange(14) % 3
Z, Z_Y = rng.normal(size=(9, 4)), np.arange(9) % 3
SAME = {"rtol": 1e-10, "atol": 1e-13}

pytestmark = pytest.mark.filterwarnings("ignore::skinfluence.exceptions.NotStationaryWarning")


def double(X):
    return 2.0 * X


def mirror(X):
    return X[:, ::-1]


def nothing(X):
    return X


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def fitted(X=X, y=Y, **options):
    e = InfluenceExplainer(network(), loss="cross_entropy", damping=0.3, **options)
    return e.fit(X, y)


@pytest.mark.parametrize("method", ["first_order", "newton"])
@pytest.mark.parametrize("target", ["loss", "proba"])
def test_scores_are_means_of_replacements(method, target):
    e = fitted(method=method, target=target, output=1 if target == "proba" else None)
    queries = (Z, Z_Y) if target == "loss" else Z
    found = e.score_augmentation([double, mirror, nothing], queries=queries)
    assert found.shape == (3, 14)
    for scores, transform in zip(found, (double, mirror), strict=False):
        every = e.score_replacement(transform(X), rows=np.arange(14), queries=queries)
        assert_allclose(scores, every.mean(axis=0), **SAME)
        assert_allclose(e.score_augmentation(transform, queries=queries), scores, **SAME)
    assert_allclose(found[2], 0.0, atol=1e-14)
    with config_context(working_memory=0.02):
        assert_allclose(e.score_augmentation(double, queries=queries), found[0], **SAME)


def test_one_solve_serves_all_queries_rows_and_transformations(monkeypatch):
    e = fitted()
    kind, seen = type(e._engine.trained.inverse), []
    solve = kind.__call__

    def counted(self, V):
        seen.append(len(V))
        return solve(self, V)

    monkeypatch.setattr(kind, "__call__", counted)
    e.score_augmentation([double, mirror], queries=(Z, Z_Y))
    assert seen == [1]


def test_some_rows_and_several_draws_of_one():
    e, at = fitted(), [3, 0, 3]
    every = e.score_augmentation(double, queries=(Z, Z_Y))
    assert_allclose(e.score_augmentation(double, queries=(Z, Z_Y), rows=at), every[at], **SAME)
    noise = np.random.default_rng(1).normal(size=(3, 4))
    found = e.score_augmentation(lambda X: X + noise, queries=(Z, Z_Y), rows=at)
    expected = e.score_replacement(X[at] + noise, rows=at, queries=(Z, Z_Y)).mean(axis=0)
    assert_allclose(found, expected, **SAME)
    assert found[0] != found[2]


def test_transformations_in_place_leave_the_rows_alone():
    def in_place(X):
        X *= 2.0
        return X

    for rows in (X.copy(), torch.tensor(X)):
        e = fitted(rows, Y)
        found = e.score_augmentation([in_place, in_place, double], queries=(Z, Z_Y))
        assert_allclose(found, found[[2, 2, 2]], **SAME)
        assert_allclose(rows, X)


def test_transformations_meet_rows_as_the_user_has_them():
    pd = import_optional("pandas")
    frame = pd.DataFrame(X, columns=list("abcd"), index=[f"row {i}" for i in range(14)])
    pipeline = make_pipeline(StandardScaler(), _mlp()).fit(frame, Y)
    e = InfluenceExplainer(pipeline, damping=0.1).fit(frame, Y)
    queries = (pd.DataFrame(Z, columns=list("abcd")), Z_Y)
    found = e.score_augmentation({"more a": lambda X: X.assign(a=X["a"] + 1.0)}, queries=queries)
    other = frame.assign(a=frame["a"] + 1.0)
    expected = e.score_replacement(other, rows=np.arange(14), queries=queries).mean(axis=0)
    assert_allclose(found[0], expected, **SAME)
    e.set_output(transform="pandas")
    table = e.score_augmentation({"none": lambda X: X}, queries=queries, rows=[2, 5])
    assert list(table.index) == ["none"]
    assert list(table.columns) == ["row 2", "row 5"]
    series = e.score_augmentation(lambda X: X, queries=queries, rows=[2, 5])
    assert list(series.index) == ["row 2", "row 5"]


def _mlp():
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier((3,), alpha=0.5, solver="lbfgs", max_iter=500, random_state=0)


class Doubled(Dataset):
    """A dataset whose inputs are doubled."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, i):
        x, y = self.dataset[i]
        return 2.0 * x, y


@pytest.mark.parametrize("loader", [False, True])
def test_datasets_come_and_return_as_datasets(loader):
    dataset = TensorDataset(torch.tensor(X), torch.tensor(Y))
    rows = DataLoader(dataset, batch_size=5) if loader else dataset

    def transform(rows):
        return Doubled(rows.dataset if loader else rows)

    found = fitted(rows, None).score_augmentation(transform, queries=(Z, Z_Y), rows=[5, 2])
    expected = fitted().score_augmentation(double, queries=(Z, Z_Y), rows=[5, 2])
    assert_allclose(found, expected, **SAME)


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "transform, kind, message",
    [
        ("mirror", TypeError, "transform is str, and transformations are functions"),
        (StandardScaler(), TypeError, "transform is StandardScaler.*its transform method"),
        ({"none": None}, TypeError, "'none' of transform is NoneType"),
        ([double, 3], TypeError, "1 of transform is int"),
        ([], ValueError, "transform is empty, so that nothing is replaced"),
        (lambda X: X[:5], ValueError, "made 5 rows of 14, and each row is replaced by one"),
        (lambda X: X[:, :3], ValueError, "3 features"),
        ({"nan": lambda X: X * np.nan}, ValueError, "NaN"),
    ],
    ids=["text", "transformer", "none", "number", "empty", "fewer rows", "fewer columns", "nan"],
)
def test_bad_transformations(transform, kind, message):
    with pytest.raises(kind, match=message):
        fitted().score_augmentation(transform, queries=(Z, Z_Y))


def test_what_has_no_mean_is_refused():
    with pytest.raises(ValueError, match="fitted parameters, whose mean says nothing"):
        fitted(target="params").score_augmentation(double, queries=None)
    with pytest.raises(ValueError, match="has no rows"):
        fitted().score_augmentation(double, queries=(Z[:0], Z_Y[:0]))
    with pytest.raises(ValueError, match="rows"):
        fitted().score_augmentation(double, queries=(Z, Z_Y), rows=[14])
