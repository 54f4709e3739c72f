"""Importing the package must stay cheap: nothing optional is imported before it is used."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

import skinfluence
from tests.conftest import import_optional

# A spy on the import system, in an interpreter of its own. It refuses the packages it is given, as
# an environment without them would, and notes which module asked. Looking into sys.modules
# afterwards would not do: scikit-learn itself imports pandas where there is one.
SPY = """
import importlib, json, sys

refused = set(sys.argv[1].split(","))
asked = []

class Spy:
    def find_spec(self, name, path=None, target=None):
        if name in refused:
            frame = sys._getframe(1)
            while frame.f_globals["__name__"].startswith("importlib."):
                frame = frame.f_back
            asked.append([name, frame.f_globals["__name__"]])
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Spy())
for module in sys.argv[2:]:
    importlib.import_module(module)
print(json.dumps(asked))
"""
CORE = {"numpy", "scipy", "sklearn", "joblib", "threadpoolctl"}
OPTIONAL = {"dask", "matplotlib", "pandas", "polars", "safetensors", "skorch", "statsmodels"}
OPTIONAL |= {"torch", "tqdm"}


def optional_imports(modules: list[str], allowed: set[str] = frozenset()) -> list[tuple[str, str]]:
    """Pairs (optional package, who asked for it) of importing `modules`, our core apart."""
    command = [sys.executable, "-c", SPY, ",".join(OPTIONAL - allowed), *modules]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    asked = [tuple(pair) for pair in json.loads(run.stdout)]
    return [(name, by) for name, by in asked if by.partition(".")[0] not in CORE | allowed]


def modules_of(*, torch: bool) -> list[str]:
    """Every module in the one folder that may import torch, or every other one."""
    found = pkgutil.walk_packages(skinfluence.__path__, prefix="skinfluence.")
    return [m.name for m in found if m.name.startswith("skinfluence.torch") == torch]


def test_the_package_asks_for_nothing_optional():
    assert optional_imports(["skinfluence"]) == []


def test_no_module_asks_for_anything_optional():
    assert optional_imports(modules_of(torch=False)) == []


def test_the_modules_of_torch_ask_for_nothing_else():
    import_optional("torch")
    assert optional_imports(modules_of(torch=True), allowed={"torch"}) == []


def test_the_spy_notices(tmp_path, monkeypatch):
    """A probe that misses an import, even one that is caught, would pass on anything."""
    guilty = "try:\n    import pandas\nexcept ImportError:\n    pass\n"
    (tmp_path / "guilty.py").write_text(guilty, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert optional_imports(["guilty"]) == [("pandas", "guilty")]
