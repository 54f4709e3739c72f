"""The examples run, and what the README prints is true."""

import re
import runpy
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.conftest import import_optional

ROOT = Path(__file__).parents[1]
# They train networks for seconds. The gallery runs them as it runs all others, and an example that
# fails there fails the documentation, which every change has to pass too.
IN_THE_GALLERY_ONLY = {
    "plot_network_skorch.py",
    "plot_tracin_cnn.py",
    "plot_tracin_mlp.py",
    "plot_vae_tracin.py",
}
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [path for path in EXAMPLES if path.name not in IN_THE_GALLERY_ONLY],
    ids=lambda path: path.name,
)
def test_example_runs(path, monkeypatch, tmp_path):
    import_optional("pandas")
    import_optional("matplotlib.pyplot")
    if any(word in path.name for word in ("network", "tracin")):
        import_optional("torch")
    if "skorch" in path.name:
        import_optional("skorch")
    monkeypatch.chdir(tmp_path)  # the demo writes pictures
    runpy.run_path(str(path), run_name="__main__")
    if path.name == "run_demo.py":
        assert len(list((tmp_path / "demo_output").glob("*.png"))) == 3


def test_what_only_the_gallery_runs_is_there():
    assert {path.name for path in EXAMPLES} >= IN_THE_GALLERY_ONLY


@pytest.fixture(scope="module")
def readme():
    """The code of the README, block by block; that of networks is apart."""
    return [block for block in _readme_blocks() if "torch" not in block]


def _readme_blocks():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_readme_model_is_true(readme):
    """The numbers in the comments are what the lines return, and so is the frame below them."""
    import_optional("pandas")
    code, names = readme[0], {}
    exec(code, names)
    explainer = names["explainer"]
    assert "297, 73, 68" in code and "falls by 1.82" in code and "refits: 0.995" in code
    assert_array_equal(explainer.train_index_[explainer.rank_outliers(3)], [297, 73, 68])
    assert names["X_train"].index[names["rows"][0, 0]] == 297
    assert_allclose(names["scores"][0, 0], -1.82, rtol=0.003)
    assert_allclose(explainer.validate(random_state=0).pearson, 0.995, rtol=0.0006)
    assert f"{names['diagnostics'].shape[1]} columns" in code
    shown = names["diagnostics"][["cooks_d", "standard_resid", "hat_diag"]]
    text = shown.nlargest(3, "cooks_d").to_string()
    assert text in (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_network_is_true():
    import_optional("torch")
    code, traced, labelled = (block for block in _readme_blocks() if "torch" in block)
    names: dict = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        exec(code, names)
    explainer = names["explainer"]
    assert explainer.solver_ == "dense" and "no damping" in code
    assert explainer.damping_ == 0.0
    images, labels = names["X"], names["y"]
    scores, _ = explainer.opponents(images[1000:1010], labels[1000:1010], k=5)
    assert scores.shape == (10, 5)
    assert scores.max() < 0
    exec(traced, names)
    assert names["tracer"].score_unit_ == "loss" and "falls: 0.01" in traced
    agreement = names["tracer"].validate(images[1000:], labels[1000:])
    assert_allclose(agreement.relative_error, 0.01, atol=0.005)
    exec(labelled, names)
    assert np.sum(names["labels"] == -1) in (17, 18)  # one in a hundred of 1797


def test_readme_what_if_is_true(readme):
    import_optional("pandas")
    code, names = readme[1], {}
    exec(readme[0], names)
    exec(code, names)
    explainer, query, suspect = names["explainer"], names["query"], names["suspect"]
    change = explainer.score_replacement(y_new=names["other"], rows=suspect, queries=query)
    assert "loss - 1.75" in code and "-0.22 a unit" in code and "3 of 426 rows" in code
    assert_allclose(change, [[-1.75]], atol=0.005)
    slope = explainer.perturbation(*query, rows=suspect, features=["worst area"])
    assert_allclose(slope, [[[-0.22]]], atol=0.005)
    (flip,) = explainer.smallest_flip(query[0], n_random=0)
    assert flip.size == 3 and (flip.label_before, flip.label_after) == (1, 0)
    assert "98 %" in code
    assert_allclose(names["model"].predict_proba(query[0])[0, 1], 0.98, atol=0.005)


def test_readme_representers_are_true(readme):
    import_optional("pandas")
    names: dict = {}
    exec(readme[0], names)
    exec(readme[2], names)
    representer, model, new = names["representer"], names["model"], names["X_new"].loc[[213]]
    output = names["values"].sum() + representer.intercept_[0]
    assert "4.04" in readme[2] and "426" in readme[2] and "1e-12" in readme[2]
    assert_allclose(output, 4.04, atol=0.005)
    assert_allclose(output, model.decision_function(new), atol=0.05)
    assert names["values"].shape == (1, 426)
    assert representer.validate().decomposition_error < 1e-10


def test_readme_sketch_is_true(readme):
    code, names = readme[3], {}
    exec(code, names)
    assert "twenty" in code and "0.05" in code
    found = names["sketch"].rank_outliers(20)
    assert np.isin(found, np.arange(0, 20_000, 1000)).sum() >= 18
    assert_allclose(names["sketch"].shrinkage_, 0.05, atol=0.005)


def test_readme_density_is_true(readme):
    code, names = readme[4], {}
    exec(code, names)
    explainer = names["explainer"]
    assert "array([ 6, 13, 33])" in code
    assert_array_equal(explainer.rank_outliers(3), [6, 13, 33])
    assert "8.08 nats" in code
    assert_allclose(explainer.self_influence()[6], 8.08, atol=0.005)
    assert set(np.unique(explainer.fit_predict(names["stars"]))) == {-1, 1}
    assert explainer.validate().relative_error < 1e-12


def test_readme_labels_and_pipeline_are_true(readme):
    import_optional("pandas")
    names: dict = {}
    for code in readme:
        exec(code, names)
    explainer, pipe = names["explainer"], names["pipe"]
    named = ["star 6", "star 13", "star 33"]
    assert ", ".join(named) in readme[5]
    assert_array_equal(explainer.train_index_[explainer.rank_outliers(3)], named)
    assert_array_equal(explainer.self_influence().nlargest(3).index, named)
    assert "array([-1])" in readme[6]
    assert_array_equal(pipe.predict([[3.5, 6.0]]), [-1])
    assert pipe[-1].score_influence(pipe[:-1].transform([[3.5, 6.0]])).shape == (1, 47)
