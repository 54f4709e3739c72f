"""The benchmarks still run: one small part of them."""

import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).resolve().parents[1] / "benchmarks" / "run.py"


@pytest.mark.skipif(not RUN.exists(), reason="the benchmarks are not part of a release")
def test_a_quick_part_runs_and_meets_its_target():
    command = [sys.executable, str(RUN), "faithfulness", "--quick", "--only", "knn"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert "1e-9: met" in result.stdout
    assert "MISSED" not in result.stdout
