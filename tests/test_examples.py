"""The examples run, and what the README prints is true."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.conftest import import_optional

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_runs(path, monkeypatch, tmp_path):
    import_optional("pandas")
    import_optional("matplotlib.pyplot")
    monkeypatch.chdir(tmp_path)  # the demo writes pictures
    runpy.run_path(str(path), run_name="__main__")
    if path.name == "run_demo.py":
        assert len(list((tmp_path / "demo_output").glob("*.png"))) == 3


def test_readme_example_is_true():
    """The numbers in the comments are what the lines return."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", readme, re.DOTALL).group(1)
    names = {}
    exec(code, names)
    explainer = names["explainer"]
    assert "array([ 6, 13, 33])" in code
    assert_array_equal(explainer.rank_outliers(3), [6, 13, 33])
    assert "8.08 nats" in code
    assert_allclose(explainer.self_influence()[6], 8.08, atol=0.005)
    assert set(np.unique(explainer.fit_predict(names["stars"]))) == {-1, 1}
    assert explainer.validate().relative_error < 1e-12
