"""Set-up shared by the whole suite.

Two environments run it. The full one has every optional dependency, and one that is missing
there is an error: a skip would hide that nothing was tested. The minimal one (``make
test-oldest``, which sets ``SKINFLUENCE_MINIMAL=1``) has the core dependencies only, at the lowest
versions the package claims; tests that need more are skipped there, and only there.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

# Before the first import of SciPy: scikit-learn skips its array API check without it.
os.environ.setdefault("SCIPY_ARRAY_API", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

MINIMAL = os.environ.get("SKINFLUENCE_MINIMAL") == "1"


def import_optional(name: str) -> ModuleType:
    """Import an optional dependency, or skip where the environment is minimal on purpose.

    Call it at the top of a test, or at the top of a module whose tests all need it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Only the top-level package may be missing: `import matplotlib.typo` is always a bug.
        if MINIMAL and error.name == name.partition(".")[0]:
            pytest.skip(f"{name} is not part of the minimal environment", allow_module_level=True)
        raise


class SkippedFolder(pytest.Directory):
    """Tests that are not even imported, because torch is missing on purpose."""

    def collect(self) -> Iterator[pytest.Item]:
        pytest.skip("torch is not part of the minimal environment")


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Skip tests/test_torch in the minimal environment, so that its modules just import torch."""
    if MINIMAL and path.name == "test_torch" and find_spec("torch") is None:
        return SkippedFolder.from_parent(parent, path=path)
    return None


def pytest_configure(config: pytest.Config) -> None:
    """Turn our own warnings into errors, whichever there are: a test says which it expects."""
    # Not at the top: importing the package imports SciPy.
    from skinfluence import exceptions

    for name in exceptions.__all__:
        if issubclass(getattr(exceptions, name), Warning):
            config.addinivalue_line("filterwarnings", f"error::skinfluence.exceptions.{name}")

    # The same examples in every run, and no deadline: a busy machine is not a failure.
    settings.register_profile("skinfluence", derandomize=True, deadline=None, max_examples=30)
    settings.load_profile("skinfluence")


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    """Close what a test drew; matplotlib keeps every figure alive otherwise."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
