"""Importing the package must stay cheap: nothing optional is imported before it is used."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

import skinfluence

# A spy on the import system, in an interpreter of its own. It refuses the optional packages, as an
# environment without them would, and notes which module asked. Looking into sys.modules afterwards
# would not do: scikit-learn itself imports pandas where there is one.
SPY = """
import importlib, json, sys

OPTIONAL = {"dask", "matplotlib", "pandas", "polars", "torch", "tqdm"}
asked = []

class Spy:
    def find_spec(self, name, path=None, target=None):
        if name in OPTIONAL:
            frame = sys._getframe(1)
            while frame.f_globals["__name__"].startswith("importlib."):
                frame = frame.f_back
            asked.append([name, frame.f_globals["__name__"]])
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Spy())
for module in sys.argv[1:]:
    importlib.import_module(module)
print(json.dumps(asked))
"""
CORE = {"numpy", "scipy", "sklearn", "joblib", "threadpoolctl"}


def optional_imports(modules: list[str]) -> list[tuple[str, str]]:
    """Pairs (optional package, who asked for it) of importing `modules`, our core apart."""
    command = [sys.executable, "-c", SPY, *modules]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    asked = [tuple(pair) for pair in json.loads(run.stdout)]
    return [(name, by) for name, by in asked if by.partition(".")[0] not in CORE]


def core_modules() -> list[str]:
    """Every module of the package outside the one folder that may import torch."""
    found = pkgutil.walk_packages(skinfluence.__path__, prefix="skinfluence.")
    return [m.name for m in found if not m.name.startswith("skinfluence.torch")]


def test_the_package_asks_for_nothing_optional():
    assert optional_imports(["skinfluence"]) == []


def test_no_module_asks_for_anything_optional():
    assert optional_imports(core_modules()) == []


def test_the_spy_notices(tmp_path, monkeypatch):
    """A probe that misses an import, even one that is caught, would pass on anything."""
    guilty = "try:\n    import pandas\nexcept ImportError:\n    pass\n"
    (tmp_path / "guilty.py").write_text(guilty, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert optional_imports(["guilty"]) == [("pandas", "guilty")]
