"""The floor under a log density that counts the row itself, as the example shows it."""

import runpy
from pathlib import Path

import pytest
from numpy.testing import assert_allclose

from tests.conftest import import_optional

EXAMPLE = Path(__file__).parents[2] / "examples" / "plot_kde_counts_itself.py"


@pytest.fixture(scope="module")
def table():
    """Log density counting the row, leaving it out, and their difference, by the row's place."""
    import_optional("matplotlib")
    rows = runpy.run_path(str(EXAMPLE))["table"]
    return {place: [float(cell) for cell in cells] for place, *cells in rows}


def test_counting_the_row_puts_a_floor_under_its_log_density(table):
    assert [table[place][0] for place in (4.0, 5.5, 10.0, 40.0)] == [-4.7] * 4


def test_leaving_the_row_out_removes_the_floor(table):
    assert table[5.5][1] == -39.4
    left_out = [cells[1] for cells in table.values()]
    assert left_out == sorted(left_out, reverse=True)
    for counting, leaving_out, influence in table.values():
        assert_allclose(counting - leaving_out, influence, atol=0.15)  # printed to one digit
