"""What all explainers of densities share: thresholds, sinks, failures, truth."""

from __future__ import annotations

import itertools
import sys

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn import config_context
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.neighbors import KernelDensity, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from skinfluence import GMMInfluence, KDEInfluence, KNNInfluence
from skinfluence.deletion.kde import KDEDeletion
from skinfluence.deletion.knn import KNNDeletion
from skinfluence.exceptions import UnsupportedEstimatorError
from tests.cases import BLOBS
from tests.conftest import import_optional

EXPLAINERS = [KDEInfluence, KNNInfluence]
MODELS = {KDEInfluence: KernelDensity, KNNInfluence: NearestNeighbors}
DELETIONS = {KDEInfluence: KDEDeletion, KNNInfluence: KNNDeletion}
N = len(BLOBS)

every_explainer = pytest.mark.parametrize("Explainer", EXPLAINERS)


# -- input ---------------------------------------------------------------------------------


@every_explainer
@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (np.empty((0, 2)), ValueError, "Found array with 0 sample"),
        (np.empty((5, 0)), ValueError, r"0 feature\(s\)"),
        (BLOBS[:1], ValueError, r"1 sample.*minimum of 2 is required"),
        (BLOBS[:, 0], ValueError, "Expected 2D array"),
        (np.where(BLOBS > 10, np.nan, BLOBS), ValueError, "contains NaN"),
        (np.where(BLOBS > 10, np.inf, BLOBS), ValueError, "contains infinity"),
        (BLOBS + 1j, ValueError, "Complex data not supported"),
        ([["a", "b"], ["c", "d"]], ValueError, "could not convert string"),
    ],
    ids=["empty", "no column", "one row", "1-d", "nan", "inf", "complex", "text"],
)
def test_bad_training_rows(Explainer, X, error, message):
    with pytest.raises(error, match=message):
        Explainer().fit(X)


@every_explainer
@pytest.mark.parametrize(
    ("Z", "message"),
    [
        (np.empty((0, 2)), "Found array with 0 sample"),
        (np.zeros((3, 5)), "X has 5 features, but K..Influence is expecting 2 features"),
        (BLOBS[0], "Expected 2D array"),
        ([[np.nan, 0.0]], "contains NaN"),
        ([[np.inf, 0.0]], "contains infinity"),
    ],
    ids=["empty", "columns", "1-d", "nan", "inf"],
)
@pytest.mark.parametrize("method", ["score_influence", "proponents", "log_density", "score"])
def test_bad_queries(Explainer, Z, message, method):
    explainer = Explainer().fit(BLOBS)
    with pytest.raises(ValueError, match=message):
        getattr(explainer, method)(Z)


@every_explainer
@pytest.mark.parametrize("dtype", ["float32", "int64", "int8", "object", "list", "fortran"])
def test_input_types(Explainer, dtype):
    whole = np.round(BLOBS * 4)
    given = {"list": whole.tolist(), "fortran": np.asfortranarray(whole)}
    X = given[dtype] if dtype in given else whole.astype(dtype)
    explainer = Explainer().fit(X)
    expected = Explainer().fit(whole).score_influence(whole[:5])
    assert_array_equal(explainer.score_influence(X[:5]), expected)
    assert explainer.self_influence().dtype == np.float64


@every_explainer
def test_scores_do_not_follow_the_rows(Explainer):
    # Neither for a bare model nor behind a step that hands its input through.
    for estimator in (None, make_pipeline("passthrough", MODELS[Explainer](metric="manhattan"))):
        X = BLOBS.copy()
        explainer = Explainer(estimator).fit(X)
        scores, own = explainer.score_influence(BLOBS[:3]), explainer.self_influence()
        X[:] = 0.0
        assert_array_equal(explainer.score_influence(BLOBS[:3]), scores)
        assert_array_equal(explainer.self_influence(), own)


@every_explainer
def test_constant_columns_change_nothing(Explainer):
    padded = np.column_stack([BLOBS, np.full(N, 7.0)])
    options = {"intrinsic_dim": 2} if Explainer is KNNInfluence else {}
    scores = Explainer(**options).fit(padded).score_influence(padded[:4])
    assert_allclose(scores, Explainer().fit(BLOBS).score_influence(BLOBS[:4]), rtol=1e-9)


@every_explainer
@pytest.mark.parametrize("offset", [1e8, -1e8])
def test_huge_offsets(Explainer, offset):
    steps = np.round(BLOBS * 16) / 16
    scores = Explainer().fit(steps + offset).score_influence(steps[:4] + offset)
    assert_allclose(scores, Explainer().fit(steps).score_influence(steps[:4]), rtol=1e-8)


@every_explainer
def test_two_rows(Explainer):
    options = {"n_neighbors": 1} if Explainer is KNNInfluence else {}
    explainer = Explainer(**options).fit([[0.0], [1.0]])
    assert explainer.score_influence([[0.3]]).shape == (1, 2)
    assert explainer.validate([[0.3], [0.9]], n_refits=2).relative_error < 1e-9


# -- the inner estimator -------------------------------------------------------------------


@every_explainer
def test_fitted_on_other_rows(Explainer):
    message = r"keeps 46 training rows of 2 features that are not the 4. rows passed to fit.*same"
    fitted = MODELS[Explainer]().fit(BLOBS)
    for X in (BLOBS[:-1], BLOBS[::-1], BLOBS + 1e-3):
        with pytest.raises(ValueError, match=message):
            Explainer(fitted).fit(X)
    with pytest.raises(ValueError, match="46 training rows of 2 features"):
        Explainer(fitted).fit(BLOBS[:, :1])


@every_explainer
def test_the_estimator_passed_is_left_alone(Explainer):
    unfitted = MODELS[Explainer]()
    explainer = Explainer(unfitted).fit(BLOBS)
    with pytest.raises(NotFittedError):
        check_is_fitted(unfitted)
    assert explainer.estimator_ is not unfitted
    fitted = MODELS[Explainer]().fit(BLOBS)
    assert Explainer(fitted).fit(BLOBS).estimator_ is fitted


@every_explainer
def test_frozen(Explainer):
    frozen = FrozenEstimator(MODELS[Explainer]().fit(BLOBS))
    explainer = Explainer(frozen).fit(BLOBS)
    assert explainer.estimator_ is frozen
    expected = Explainer().fit(BLOBS).score_influence(BLOBS[:3])
    assert_allclose(explainer.score_influence(BLOBS[:3]), expected)
    with pytest.raises(NotFittedError):
        Explainer(FrozenEstimator(MODELS[Explainer]())).fit(BLOBS)


@every_explainer
@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: make_pipeline(StandardScaler(), m)])
def test_other_models_are_refused(Explainer, wrap):
    message = f"{Explainer.__name__} explains .*, and the model is a PCA"
    with pytest.raises(UnsupportedEstimatorError, match=message):
        Explainer(wrap(PCA())).fit(BLOBS)


@every_explainer
def test_a_pipeline_that_ends_in_nothing_is_refused(Explainer):
    with pytest.raises(UnsupportedEstimatorError, match=f"{Explainer.__name__} explains"):
        Explainer(make_pipeline(StandardScaler(), "passthrough")).fit(BLOBS)


@every_explainer
def test_an_estimator_without_fit_is_refused(Explainer):
    with pytest.raises(ValueError, match=r"'estimator' parameter of K..Influence must be"):
        Explainer("kde").fit(BLOBS)


# -- arguments of the score methods --------------------------------------------------------


@pytest.fixture(scope="module")
def fitted():
    return KDEInfluence().fit(BLOBS)


@pytest.mark.parametrize("reduce", ["median", True, 0])
def test_reduce(fitted, reduce):
    with pytest.raises(ValueError, match=r'reduce must be None, "mean" or "sum"'):
        fitted.score_influence(BLOBS, reduce=reduce)


def test_out_and_reduce_exclude_each_other(fitted):
    with pytest.raises(ValueError, match="Pass one of them"):
        fitted.score_influence(BLOBS, reduce="sum", out=np.empty((N, N)))


def test_out(fitted, tmp_path):
    with pytest.raises(ValueError, match=r"out has shape \(46, 45\); the scores need \(46, 46\)"):
        fitted.score_influence(BLOBS, out=np.empty((N, N - 1)))
    expected = fitted.score_influence(BLOBS)
    path = tmp_path / "scores.npy"
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=(N, N))
    with config_context(working_memory=0.001):
        assert fitted.score_influence(BLOBS, out=out) is out
    out.flush()
    assert_allclose(np.load(path), expected, rtol=1e-12)
    single = np.empty((N, N), dtype=np.float32)
    assert_allclose(fitted.score_influence(BLOBS, out=single), expected, rtol=1e-5)


@pytest.mark.parametrize("k", [0, -1, N + 1, 2.0, "3", None])
def test_k(fitted, k):
    for method in (fitted.proponents, fitted.opponents):
        with pytest.raises(ValueError, match="k must lie between 1 and the 46 training rows"):
            method(BLOBS[:2], k=k)


@pytest.mark.parametrize("n", [-1, N + 1, 2.5, "3"])
def test_n(fitted, n):
    with pytest.raises(ValueError, match="n must lie between 0 and the 46 training rows"):
        fitted.rank_outliers(n)
    assert fitted.rank_outliers(0).shape == (0,)


@pytest.mark.parametrize("n_refits", [0, N + 1, 1.5])
def test_n_refits(fitted, n_refits):
    with pytest.raises(ValueError, match="n_refits must lie between 1 and the 46 training rows"):
        fitted.validate(n_refits=n_refits)


@pytest.mark.parametrize(
    "groups", [np.zeros(N - 1), [[0, N]], [np.zeros(N - 1, dtype=bool)]], ids=str
)
def test_groups(fitted, groups):
    with pytest.raises(ValueError, match="training rows"):
        fitted.score_groups(BLOBS[:2], groups=groups)


def test_report(fitted):
    scores, report = fitted.score_influence(BLOBS[:2], return_report=True)
    assert scores.shape == (2, N)
    assert report["method"] == "exact"
    assert len(report["flagged_rows"]) == 0


@every_explainer
@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("score_influence", 1),
        ("self_influence", 0),
        ("rank_outliers", 0),
        ("proponents", 1),
        ("opponents", 1),
        ("log_density", 1),
        ("score", 1),
        ("validate", 0),
    ],
)
def test_not_fitted(Explainer, method, args):
    with pytest.raises(NotFittedError, match=r"This K..Influence instance is not fitted yet"):
        getattr(Explainer(), method)(*[BLOBS] * args)


@every_explainer
@pytest.mark.parametrize("contamination", ["some", 0.0, 0.51, -0.1])
def test_contamination_out_of_range(Explainer, contamination):
    with pytest.raises(ValueError, match=r"'contamination' parameter of K..Influence must be"):
        Explainer(contamination=contamination).fit(BLOBS)


# -- thresholds ----------------------------------------------------------------------------


@every_explainer
@pytest.mark.parametrize("contamination", [0.02, 0.1, 0.25, 1 / 3, 0.5])
@pytest.mark.parametrize("n", [20, 45, 46])
def test_contamination_is_the_share_of_outliers(Explainer, n, contamination):
    X = np.random.default_rng(8).normal(size=(n, 2))
    labels = Explainer(contamination=contamination).fit_predict(X)
    # As many as fit into the share; a row that would exceed it is an inlier.
    assert (labels == -1).sum() == int(np.floor(contamination * n + 1e-9))
    assert set(np.unique(labels)) <= {-1, 1}
    assert labels.dtype.kind == "i"


@every_explainer
def test_outliers_are_the_rows_of_highest_self_influence(Explainer):
    explainer = Explainer(contamination=0.2)
    labels = explainer.fit_predict(BLOBS)
    outliers = explainer.rank_outliers()[: (labels == -1).sum()]
    if Explainer is KNNInfluence:  # for the others addition and deletion differ
        assert_array_equal(np.sort(outliers), np.flatnonzero(labels == -1))
    else:
        assert labels[-1] == -1


@every_explainer
def test_ties_at_the_threshold_are_inliers(Explainer):
    # Four corners, alike by symmetry, where the share asks for two.
    square = np.array([[0.0, 0.0], [0.0, 4.0], [4.0, 0.0], [4.0, 4.0]])
    X = np.vstack([square, np.full((8, 2), 2.0)])
    options = {"n_neighbors": 2} if Explainer is KNNInfluence else {}
    explainer = Explainer(contamination=2 / 12, **options)
    assert (explainer.fit_predict(X) == 1).all()
    labels = explainer.set_params(contamination=4 / 12).fit_predict(X)
    assert (labels == -1).sum() in (0, 4)


def test_auto_fence():
    explainer = KDEInfluence().fit(BLOBS)
    scores = np.sort(-explainer.self_influence())
    q25, q50 = scores[int(np.ceil(0.25 * N)) - 1], scores[int(np.ceil(0.5 * N)) - 1]
    assert_allclose(explainer.offset_, q50 - 6 * (q50 - q25), rtol=1e-6, atol=1e-8)
    labels = explainer.fit_predict(BLOBS)
    assert labels[-1] == -1
    assert (labels == -1).sum() < 5


@pytest.mark.parametrize("contamination", ["auto", 0.1, 0.3])
def test_weighted_rows_are_repeated_rows(contamination):
    weights = np.arange(N) % 3
    weights[-1] = 2
    weighted = KDEInfluence(contamination=contamination)
    repeated = KDEInfluence(contamination=contamination)
    labels = weighted.fit_predict(BLOBS, sample_weight=weights)
    expected = repeated.fit_predict(np.repeat(BLOBS, weights, axis=0))
    assert_allclose(weighted.offset_, repeated.offset_, rtol=1e-9)
    assert_array_equal(np.repeat(labels, weights), expected)
    new = BLOBS + 0.4
    assert_array_equal(
        weighted.set_params(novelty=True).predict(new),
        repeated.set_params(novelty=True).predict(new),
    )


def test_new_rows_are_labelled_like_old_ones():
    """A row that vouches for itself must not move the threshold for those that cannot."""
    rng = np.random.default_rng(0)
    X, new = rng.normal(size=(400, 8)), rng.normal(size=(400, 8))
    detector = KDEInfluence(KernelDensity(bandwidth=0.6), contamination=0.1)
    assert (detector.fit_predict(X) == -1).mean() == 0.1
    labels = detector.set_params(novelty=True).fit(X).predict(new)
    assert 0.05 < (labels == -1).mean() < 0.2
    # Scored as copies of themselves, no training row would fall below the threshold.
    assert (detector.predict(X) == 1).all()


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e300])
def test_thresholds_of_rare_and_plentiful_weights(unit):
    weights = unit * (1.0 + np.arange(N) % 2)
    explainer = KDEInfluence(contamination=0.1)
    labels = explainer.fit_predict(BLOBS, sample_weight=weights)
    assert weights[labels == -1].sum() <= 0.1 * weights.sum() * (1 + 1e-9)
    assert labels[-1] == -1 or unit > 1


def test_infinite_scores():
    tophat = KernelDensity(kernel="tophat", bandwidth=2.0)
    explainer = KDEInfluence(tophat, contamination=0.05, novelty=True).fit(BLOBS)
    assert explainer.self_influence()[-1] == np.inf  # clipped nowhere
    assert np.isfinite(explainer.offset_)
    Z = np.vstack([BLOBS[:3], [[500.0, 0.0]]])
    scores = explainer.score_samples(Z)
    assert scores[3] == -1e300
    assert np.isfinite(explainer.decision_function(Z)).all()
    assert_array_equal(explainer.predict(Z), [1, 1, 1, -1])


def test_nothing_but_infinite_scores():
    explainer = KNNInfluence(n_neighbors=1, contamination=0.1)
    assert (explainer.fit_predict(BLOBS) == 1).all()  # all tie
    assert np.isposinf(explainer.self_influence()).all()
    assert np.isfinite(explainer.offset_)


# -- features ------------------------------------------------------------------------------


@every_explainer
def test_transform_is_off_by_default(Explainer):
    explainer = Explainer().fit(BLOBS)
    assert not hasattr(explainer, "transform")
    with pytest.raises(AttributeError, match="no attribute 'transform'") as info:
        explainer.transform(BLOBS)
    assert "Set influence_features=True" in str(info.value.__cause__)


def test_transform_is_clipped():
    kernel = KernelDensity(kernel="tophat", bandwidth=2.0)
    explainer = KDEInfluence(kernel, influence_features=True)
    features = explainer.fit_transform(BLOBS)
    assert features[-1, -1] == 1e300
    assert np.isposinf(explainer.score_influence(BLOBS)[-1, -1])
    assert_array_equal(features[:-1], explainer.score_influence(BLOBS)[:-1])
    assert explainer.get_feature_names_out()[3] == "influence_3"


# -- interruption --------------------------------------------------------------------------


def interrupted_after(n, method):
    """`method` of a class, raising KeyboardInterrupt from the n-th call on."""
    calls = itertools.count()

    def stopped(*args):
        if next(calls) >= n:
            raise KeyboardInterrupt
        return method(*args)

    return stopped


@every_explainer
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_killed_in_the_middle_of_a_block_loop(Explainer, n_jobs, monkeypatch):
    explainer = Explainer(n_jobs=n_jobs).fit(BLOBS)
    before, scores = dict(vars(explainer)), explainer.score_influence(BLOBS)
    inner = dict(vars(explainer._deletion))
    out = np.full((N, N), np.nan)
    with config_context(working_memory=0.001), monkeypatch.context() as patch:
        Deletion = DELETIONS[Explainer]
        patch.setattr(Deletion, "change", interrupted_after(20, Deletion.change))
        with pytest.raises(KeyboardInterrupt):
            explainer.score_influence(BLOBS, out=out)
        for call in (explainer.opponents, explainer.score_influence):
            with pytest.raises(KeyboardInterrupt):
                call(BLOBS)
    assert vars(explainer).keys() == before.keys()
    assert all(vars(explainer)[name] is before[name] for name in before)
    assert vars(explainer._deletion).keys() == inner.keys()
    assert_array_equal(explainer.score_influence(BLOBS), scores)
    # What was finished is there; threads may be cut off before any block is handed back.
    done = ~np.isnan(out).any(axis=1)
    assert (done.sum() > 0 or n_jobs == 2) and done.sum() < N
    assert_allclose(out[done], scores[done], rtol=1e-12)


@every_explainer
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_a_fit_that_fails(Explainer, error, monkeypatch):
    fitted, unfitted = Explainer().fit(BLOBS), Explainer()
    scores, before = fitted.score_influence(BLOBS[:3]), dict(vars(fitted))

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(DELETIONS[Explainer], "log_density", fail)
    monkeypatch.setattr(Explainer, "_threshold", fail)  # the last thing that fit does
    for explainer in (fitted, unfitted):
        with pytest.raises(error):
            explainer.fit(BLOBS[:30, :1])
    monkeypatch.undo()
    assert vars(fitted) == before or all(vars(fitted)[n] is before[n] for n in before)
    assert_array_equal(fitted.score_influence(BLOBS[:3]), scores)
    assert vars(unfitted).keys() == vars(Explainer()).keys()
    with pytest.raises(NotFittedError):
        check_is_fitted(unfitted)
    assert not hasattr(unfitted, "n_features_in_")


@every_explainer
def test_refitting_forgets_the_names_of_columns(Explainer):
    pandas = import_optional("pandas")
    frame = pandas.DataFrame(BLOBS, columns=["a", "b"])
    for estimator in (None, make_pipeline(StandardScaler(), MODELS[Explainer]())):
        explainer = Explainer(estimator).fit(frame)
        assert list(explainer.feature_names_in_) == ["a", "b"]
        explainer.fit(BLOBS)
        assert not hasattr(explainer, "feature_names_in_")


# -- threads and bars ----------------------------------------------------------------------


@every_explainer
@pytest.mark.parametrize("n_jobs", [1, 2, -1])
def test_threads_and_order(Explainer, n_jobs):
    expected = Explainer().fit(BLOBS)
    with joblib.parallel_config(backend="threading"), config_context(working_memory=0.001):
        explainer = Explainer(n_jobs=n_jobs).fit(BLOBS)
        scores = explainer.score_influence(BLOBS)
        proponents = explainer.proponents(BLOBS, k=3, return_scores=False)
    assert_allclose(scores, expected.score_influence(BLOBS), rtol=1e-10, atol=1e-12)
    assert_array_equal(proponents, expected.proponents(BLOBS, k=3, return_scores=False))
    assert_allclose(explainer.offset_, expected.offset_, rtol=1e-10)


@pytest.mark.slow
def test_processes_do_as_well():
    # Workers return blocks and the parent writes them.
    explainer = KDEInfluence(n_jobs=2).fit(BLOBS)
    expected = explainer.score_influence(BLOBS)
    with joblib.parallel_config(backend="loky"), config_context(working_memory=0.002):
        assert_allclose(explainer.score_influence(BLOBS), expected, rtol=1e-10, atol=1e-12)


@every_explainer
def test_progress(Explainer, capsys):
    import_optional("tqdm")
    explainer = Explainer(progress=True).fit(BLOBS)
    scores = explainer.score_influence(BLOBS[:3])
    explainer.self_influence()
    shown = capsys.readouterr().err
    assert "score_influence: 100%" in shown
    assert "self_influence: 100%" in shown
    assert_array_equal(scores, Explainer().fit(BLOBS).score_influence(BLOBS[:3]))


@every_explainer
def test_no_bar_unless_asked(Explainer, capsys):
    Explainer().fit(BLOBS).score_influence(BLOBS)
    assert capsys.readouterr() == ("", "")


@every_explainer
def test_progress_without_tqdm(Explainer, monkeypatch):
    explainer = Explainer().fit(BLOBS).set_params(progress=True)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match="tqdm, which is not installed"):
        explainer.score_influence(BLOBS)


# -- truth ---------------------------------------------------------------------------------


@every_explainer
def test_validate(Explainer):
    agreement = Explainer().fit(BLOBS).validate(n_refits=5, random_state=0)
    assert agreement.relative_error < 1e-9
    assert agreement.n_pairs == 5 * N
    again = Explainer().fit(BLOBS).validate(n_refits=5, random_state=0)
    assert again == agreement


def test_validate_counts_infinities():
    explainer = KDEInfluence(KernelDensity(kernel="tophat", bandwidth=2.0)).fit(BLOBS)
    agreement = explainer.validate(n_refits=3, random_state=0)
    assert agreement.n_infinite >= 1
    assert agreement.n_infinite_wrong == 0
    assert agreement.relative_error < 1e-9


@every_explainer
def test_validate_the_whole_pipeline(Explainer):
    pipeline = make_pipeline(StandardScaler(), MODELS[Explainer]())
    explainer = Explainer(pipeline).fit(BLOBS)
    assert explainer.validate(n_refits=4, random_state=0).relative_error < 1e-9
    whole = explainer.validate(n_refits=4, whole_pipeline=True, random_state=0)
    # The head moves with every row, which held-fixed scores leave out.
    assert 1e-3 < whole.relative_error < 5.0
    still = Explainer(make_pipeline("passthrough", MODELS[Explainer]())).fit(BLOBS)
    same = still.validate(BLOBS[:5], n_refits=4, whole_pipeline=True, random_state=0)
    assert same.relative_error < 1e-9


@every_explainer
def test_validate_refuses_a_whole_pipeline_that_is_none(Explainer):
    explainer = Explainer().fit(BLOBS)
    with pytest.raises(ValueError, match=r"whole_pipeline=True needs a pipeline.*bare model"):
        explainer.validate(whole_pipeline=True)


def test_sparse_rows_of_a_kernel_density():
    with pytest.raises(TypeError, match="dense data is required"):
        KDEInfluence().fit(sparse.csr_matrix(BLOBS))
    explainer = KDEInfluence().fit(BLOBS)
    with pytest.raises(TypeError, match="dense data is required"):
        explainer.score_influence(sparse.csr_matrix(BLOBS))


@pytest.mark.parametrize("Explainer", [GMMInfluence, KDEInfluence, KNNInfluence])
def test_without_a_threshold_fit_skips_the_training_scores(Explainer):
    novelty = {} if Explainer is GMMInfluence else {"novelty": True}
    plain = Explainer(contamination=None, **novelty).fit(BLOBS)
    full = Explainer(**novelty).fit(BLOBS)
    assert not hasattr(plain, "offset_")
    assert_allclose(plain.self_influence(), full.self_influence(), rtol=1e-12)
    assert_allclose(plain.score_samples(BLOBS[:3]), full.score_samples(BLOBS[:3]), rtol=1e-12)
    with pytest.raises(ValueError, match="contamination=None sets no threshold"):
        plain.predict(BLOBS)
    refitted = full.set_params(contamination=None).fit(BLOBS)
    assert not hasattr(refitted, "offset_")
