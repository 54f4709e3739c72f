"""The benchmarks still run: small parts of them."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import import_optional

RUN = Path(__file__).resolve().parents[1] / "benchmarks" / "run.py"
pytestmark = pytest.mark.skipif(not RUN.exists(), reason="benchmarks are not part of a release")


def _printed(name, *parts):
    only = ["--only", *parts] if parts else []
    command = [sys.executable, str(RUN), name, "--quick", *only]
    # A part that fails says why on stderr, which a captured error would keep to itself.
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=240)
    return result.stdout


def test_a_quick_part_runs_and_meets_its_target():
    printed = _printed("faithfulness", "knn")
    assert "1e-9: met" in printed
    assert "MISSED" not in printed


def test_exact_models_are_refits_of_changed_rows():
    printed = _printed("faithfulness_exact", "exact")
    assert "| OneClassSVM" in printed
    assert "1e-08: met" in printed
    assert "MISSED" not in printed


def test_smoothed_machines_stand_beside_their_path():
    rows = [row.split("|") for row in _printed("faithfulness_exact", "smoothed").splitlines()]
    pearson = {row[4].strip(): float(row[-4]) for row in rows if "| SVC" in "|".join(row)}
    assert 0.5 < pearson["first_order"] < pearson["newton"] < 1.0


def test_replaced_rows_of_linear_models_meet_their_targets():
    printed = _printed("faithfulness_replacement")
    assert ".99, 1 +- .02: met" in printed
    assert "1e-06: met" in printed
    assert "MISSED" not in printed


def test_networks_meet_their_tolerances_and_do_not_depend_on_batches():
    import_optional("torch")
    printed = _printed("faithfulness_networks", "F5", "F7")
    assert "1e-12: met" in printed
    assert "Gauss-Newton >= .95: met" in printed
    assert "MISSED" not in printed


def test_the_speed_of_networks_stands_beside_its_floor():
    import_optional("torch")
    rows = _printed("speed_networks", "N2").splitlines()
    scale, rest, _ = next(row for row in rows if "RowGradients" in row).split("|")[-2].split("/")
    assert float(scale) == pytest.approx(1.0, rel=1e-5)
    assert float(rest) < 1e-5


def test_the_speed_of_tracing_stands_beside_its_floor():
    import_optional("torch")
    rows = _printed("speed_tracing", "T3").splitlines()
    row = next(row for row in rows if "return_std" in row)
    scale, rest, _ = row.split("|")[-3].split("/")
    assert float(scale) == pytest.approx(1.0, rel=1e-5)
    assert float(rest) < 1e-5


def test_a_sketch_agrees_with_its_formula_and_finds_what_was_planted():
    rows = _printed("speed_sketch").splitlines()
    ours = [row.split("|") for row in rows if "fit(blocks)" in row]
    assert len(ours) == 2
    assert all(float(row[-3]) < 1e-4 for row in ours)
    assert all(float(row[-2].split()[1].rstrip(",")) > 0.9 for row in ours)


def test_representer_values_are_those_of_a_loop_and_decompose_the_refitted_layer():
    import_optional("torch")
    rows = _printed("speed_representers", "R1").splitlines()
    scale, rest, _ = (
        next(row for row in rows if "| score_influence " in row).split("|")[-2].split("/")
    )
    assert float(scale) == pytest.approx(1.0, rel=1e-10)
    assert float(rest) < 1e-12
    fits = [row for row in rows if row.startswith("| fit, ")]
    assert len(fits) == 3
    assert max(float(row.split("|")[-2]) for row in fits) < 1e-8


def test_what_is_killed_goes_on_with_the_same_numbers():
    import_optional("torch")
    rows = [row for row in _printed("speed_tracing", "T5").splitlines() if row.startswith("| ")]
    assert [row.split("|")[-2].strip() for row in rows[1:]] == ["yes", "yes"]
