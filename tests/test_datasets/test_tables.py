"""The shipped tables hold what their descriptions say."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skinfluence import datasets
from tests.conftest import import_optional

# loader: shape, column means as summary() prints them in R (target last), target?
TABLES = {
    "load_duncan": ((45, 2), [41.87, 52.56, 47.69], True),
    "load_galaxies": ((82, 1), [20828.17], False),
    "load_hbk": ((75, 3), [3.207, 5.597, 7.231, 1.279], True),
    "load_old_faithful": ((272, 2), [3.488, 70.897], False),
    "load_stackloss": ((21, 3), [60.43, 21.10, 86.29, 17.52], True),
    "load_stars_cyg": ((47, 2), [4.31, 5.012], False),
}


@pytest.mark.parametrize("name", TABLES)
def test_shape_names_and_means(name):
    shape, means, has_target = TABLES[name]
    table = getattr(datasets, name)()
    assert table.data.shape == shape
    assert len(table.feature_names) == shape[1]
    assert table.row_names.shape == (shape[0],)
    assert ("target" in table) == has_target
    assert "Source:" in table.DESCR
    assert np.isfinite(table.data).all()
    columns = [*table.data.T, table.target] if has_target else [*table.data.T]
    assert_allclose([column.mean() for column in columns], means, rtol=3e-4)


@pytest.mark.parametrize("name", TABLES)
def test_frame_holds_the_same_numbers(name):
    pd = import_optional("pandas")
    load = getattr(datasets, name)
    plain, framed = load(), load(as_frame=True)
    assert isinstance(framed.data, pd.DataFrame)
    assert list(framed.data.columns) == plain.feature_names
    assert_array_equal(framed.data.to_numpy(), plain.data)
    if "target" in plain:
        assert_array_equal(framed.target.to_numpy(), plain.target)
        assert framed.target.name == plain.target_name


def test_frame_is_labelled_by_row_names_where_rows_have_names():
    import_optional("pandas")
    duncan = datasets.load_duncan(as_frame=True)
    assert duncan.target.loc["minister"] == 87
    assert_array_equal(datasets.load_hbk(as_frame=True).data.index, np.arange(75))


def test_notable_rows_are_what_the_descriptions_claim():
    stars = datasets.load_stars_cyg()
    giants = np.flatnonzero((stars.data[:, 0] < 3.6) & (stars.data[:, 1] > 5.5))
    assert_array_equal(stars.notable_rows, giants)

    hbk = datasets.load_hbk()
    assert_array_equal(np.flatnonzero(hbk.data.min(axis=1) > 5), hbk.notable_rows)
    assert hbk.target[:10].min() > 9 > 1 >= np.abs(hbk.target[10:]).max()

    galaxies = datasets.load_galaxies()
    velocity = galaxies.data[:, 0]
    apart = np.flatnonzero((velocity < 12000) | (velocity > 30000))
    assert_array_equal(galaxies.notable_rows, apart)
    assert velocity[77] == 26690


def test_files_are_small():
    from importlib import resources

    folder = resources.files("skinfluence.datasets").joinpath("data")
    sizes = [len(path.read_bytes()) for path in folder.iterdir() if path.name.endswith(".csv")]
    assert len(sizes) == len(TABLES)
    assert max(sizes) < 3 * 1024
