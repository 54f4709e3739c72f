"""The scripts of ``benchmarks/replications`` in their small modes."""

import importlib
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks" / "replications"


@pytest.fixture(scope="module")
def small():
    """Results of a script in its small mode, which writes nothing; each runs once a module."""
    known, found = set(sys.modules), {}
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else None

    def run(name):
        if name not in found:
            found[name] = importlib.import_module(name).main(["--small"])
        return found[name]

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        patch.syspath_prepend(SCRIPTS.parent)
        yield run
    if torch:
        torch.set_num_threads(threads)
    for name in set(sys.modules) - known:  # "common" and "shared" could be anybody's
        if str(SCRIPTS.parent) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
