"""Small published tables, shipped as comma-separated files beside this module."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np
from sklearn.utils import Bunch

_OLD_FAITHFUL = """Old Faithful geyser, Yellowstone National Park: 272 eruptions.

Columns: duration of the eruption and waiting time to the next one, both in minutes. Two clusters
(short eruptions are followed by short waits) with a thin bridge between them.

Source: W. Haerdle (1991), Smoothing Techniques with Implementation in S, Springer; table shipped
with R as `faithful`. Times and dates of observation: A. Azzalini and A. W. Bowman (1990), A look
at some data on the Old Faithful geyser, Applied Statistics 39, 357-365.
"""

_STARS_CYG = """Hertzsprung-Russell diagram of the star cluster CYG OB1: 47 stars.

Columns: decimal logarithms of the effective surface temperature and of the light intensity.
Forty-three stars lie on the main sequence; four giants (rows 10, 19, 29, 33, counted from 0) are
cool and bright: foreign to the rest, and close to each other.

Source: P. J. Rousseeuw and A. M. Leroy (1987), Robust Regression and Outlier Detection, Wiley,
p. 27, table 3; data by C. Doom, read from the diagram of R. M. Humphreys (1978), Astrophysical
Journal Supplement 38, 309-350.
"""

_HBK = """Hawkins-Bradu-Kass data: an artificial table with planted outliers, 75 rows.

Columns: three predictors; target: y. Rows 0 to 13 lie far from the others in the predictors. The
first ten of them also break the linear relation; the next four follow it (good leverage points),
and least squares accuses those four.

Source: D. M. Hawkins, D. Bradu and G. V. Kass (1984), Location of several outliers in
multiple-regression data using elemental sets, Technometrics 26, 197-208.
"""

_STACKLOSS = """Stack loss of a plant that oxidises ammonia to nitric acid: 21 days.

Columns: air flow, cooling water temperature (degrees C), acid concentration (10 * (percent - 50));
target: percentage of the ammonia that escapes through the stack, times 10. Rows 0, 2, 3 and 20
are the outliers that robust regressions agree on.

Source: K. A. Brownlee (1965), Statistical Theory and Methodology in Science and Engineering, 2nd
edition, Wiley, pp. 491-500; outliers: D. F. Andrews (1974), A robust method for multiple linear
regression, Technometrics 16, 523-531.
"""

_DUNCAN = """Duncan's occupational prestige: 45 occupations in the United States, 1950.

Columns: percentage of men in the occupation who earned 3,500 dollars or more, percentage who
finished high school; target: percentage of raters who called the prestige good or better. The
minister (row 5), the conductor (row 15) and the railroad engineer (row 26) dominate a regression.

Source: O. D. Duncan (1961), A socioeconomic index for all occupations, in A. J. Reiss (ed.),
Occupations and Social Status, Free Press, table VI-1; singled out by J. Fox (1991), Regression
Diagnostics, Sage.
"""

_GALAXIES = """Velocities of 82 galaxies in the Corona Borealis region, in km/s.

Column: velocity away from our galaxy, from six well-separated conic sections of the sky. Gaps
between the velocities are voids, and the slowest seven and fastest three galaxies stand apart. The
78th value is 26690 as published (some copies of the table have 26960).

Source: K. Roeder (1990), Density estimation with confidence sets exemplified by superclusters and
voids in galaxies, Journal of the American Statistical Association 85, 617-624, table 1.
"""


def _load(
    table: str, description: str, *, target: bool, notable: Sequence[int], as_frame: bool
) -> Bunch:
    """Read ``data/<table>.csv``; the last column is the target where there is one.

    A first column called ``row`` holds row names; otherwise rows are named "0", "1", ...
    """
    text = resources.files(__package__).joinpath("data", f"{table}.csv").read_text("utf-8")
    header, *lines = csv.reader(text.splitlines())
    if header[0] == "row":
        header, row_names = header[1:], [line[0] for line in lines]
        lines = [line[1:] for line in lines]
    else:
        row_names = [str(position) for position in range(len(lines))]
    values = np.array(lines, dtype=np.float64)
    n_features = len(header) - int(target)
    bunch = Bunch(
        data=values[:, :n_features],
        feature_names=header[:n_features],
        row_names=np.array(row_names),
        notable_rows=np.array(notable, dtype=np.intp),
        DESCR=description,
    )
    if target:
        bunch.update(target=values[:, -1], target_name=header[-1])
    return _framed(bunch) if as_frame else bunch


def _framed(bunch: Bunch) -> Bunch:
    """The same bunch with pandas objects, rows labelled by `row_names` where these are names."""
    import pandas as pd

    named = not bunch.row_names[0].isdigit()
    index = pd.Index(bunch.row_names) if named else pd.RangeIndex(len(bunch.data))
    bunch.data = pd.DataFrame(bunch.data, columns=bunch.feature_names, index=index)
    if "target" in bunch:
        bunch.target = pd.Series(bunch.target, name=bunch.target_name, index=index)
    return bunch


def load_old_faithful(*, as_frame: bool = False) -> Any:
    """Load the Old Faithful eruptions: 272 rows, duration and waiting time in minutes.

    Two clusters with a thin bridge; the customary first example for densities and mixtures.

    Parameters
    ----------
    as_frame : bool, default=False
        If True, `data` is a pandas DataFrame.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With ``data`` (272, 2), ``feature_names``, ``row_names``, ``notable_rows`` (positions that
        the literature singles out; none here) and ``DESCR`` (description and source).

    See Also
    --------
    load_galaxies : A one-dimensional table with clusters.
    make_six_clusters : Two-dimensional clusters with known labels.

    References
    ----------
    .. [1] W. Haerdle (1991), Smoothing Techniques with Implementation in S, Springer.

    Examples
    --------
    >>> from skinfluence.datasets import load_old_faithful
    >>> geyser = load_old_faithful()
    >>> geyser.data.shape, geyser.feature_names
    ((272, 2), ['eruptions', 'waiting'])
    >>> print(geyser.data.mean(axis=0).round(2))
    [ 3.49 70.9 ]
    """
    return _load("old_faithful", _OLD_FAITHFUL, target=False, notable=(), as_frame=as_frame)


def load_stars_cyg(*, as_frame: bool = False) -> Any:
    """Load the stars of CYG OB1: 47 rows, log temperature and log light intensity.

    Four giants lie far from the main sequence but close to each other, so that each hides the
    others (masking): deleting one of them changes little.

    Parameters
    ----------
    as_frame : bool, default=False
        If True, `data` is a pandas DataFrame.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With ``data`` (47, 2), ``feature_names``, ``row_names``, ``notable_rows`` (the four
        giants) and ``DESCR`` (description and source).

    See Also
    --------
    load_hbk : Planted outliers that mask each other in a regression.

    References
    ----------
    .. [1] P. J. Rousseeuw and A. M. Leroy (1987), Robust Regression and Outlier Detection, Wiley.

    Examples
    --------
    >>> from skinfluence.datasets import load_stars_cyg
    >>> stars = load_stars_cyg()
    >>> print(stars.data[stars.notable_rows, 0])
    [3.49 3.49 3.48 3.49]
    """
    giants = (10, 19, 29, 33)
    return _load("stars_cyg", _STARS_CYG, target=False, notable=giants, as_frame=as_frame)


def load_hbk(*, as_frame: bool = False) -> Any:
    """Load the artificial Hawkins-Bradu-Kass table: 75 rows, three predictors and a target.

    The first fourteen rows are outlying in the predictors; ten of these also in the target.

    Parameters
    ----------
    as_frame : bool, default=False
        If True, `data` is a pandas DataFrame and `target` a Series.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With ``data`` (75, 3), ``target`` (75,), ``target_name``, ``feature_names``,
        ``row_names``, ``notable_rows`` (the fourteen) and ``DESCR`` (description and source).

    See Also
    --------
    load_stars_cyg : Real outliers that mask each other.

    References
    ----------
    .. [1] D. M. Hawkins, D. Bradu and G. V. Kass (1984), Location of several outliers in
       multiple-regression data using elemental sets, Technometrics 26, 197-208.

    Examples
    --------
    >>> from skinfluence.datasets import load_hbk
    >>> hbk = load_hbk()
    >>> print(hbk.data[:14].min(), hbk.data[14:].max())
    9.3 3.4
    """
    return _load("hbk", _HBK, target=True, notable=range(14), as_frame=as_frame)


def load_stackloss(*, as_frame: bool = False) -> Any:
    """Load Brownlee's stack loss: 21 days of a chemical plant, three predictors and a target.

    Perhaps the most analysed table of robust statistics.

    Parameters
    ----------
    as_frame : bool, default=False
        If True, `data` is a pandas DataFrame and `target` a Series.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With ``data`` (21, 3), ``target`` (21,), ``target_name``, ``feature_names``,
        ``row_names``, ``notable_rows`` (the four outlying days) and ``DESCR`` (description and
        source).

    See Also
    --------
    load_duncan : Influential rows with names.

    References
    ----------
    .. [1] K. A. Brownlee (1965), Statistical Theory and Methodology in Science and Engineering,
       2nd edition, Wiley, pp. 491-500.

    Examples
    --------
    >>> from skinfluence.datasets import load_stackloss
    >>> plant = load_stackloss()
    >>> print(plant.target[plant.notable_rows])
    [42. 37. 28. 15.]
    """
    return _load("stackloss", _STACKLOSS, target=True, notable=(0, 2, 3, 20), as_frame=as_frame)


def load_duncan(*, as_frame: bool = False) -> Any:
    """Load Duncan's prestige of 45 occupations, with income and education.

    The standard example of influence in regression: the minister and the conductor, each
    remarkable for education or income alone, change the fit together.

    Parameters
    ----------
    as_frame : bool, default=False
        If True, `data` is a pandas DataFrame labelled by occupation and `target` a Series.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With ``data`` (45, 2), ``target`` (45,), ``target_name``, ``feature_names``,
        ``row_names`` (occupations), ``notable_rows`` (minister, conductor, railroad engineer)
        and ``DESCR`` (description and source).

    See Also
    --------
    load_stackloss : Another classic of regression diagnostics.

    References
    ----------
    .. [1] O. D. Duncan (1961), A socioeconomic index for all occupations, in A. J. Reiss (ed.),
       Occupations and Social Status, Free Press.

    Examples
    --------
    >>> from skinfluence.datasets import load_duncan
    >>> duncan = load_duncan()
    >>> print(*duncan.row_names[duncan.notable_rows], sep=", ")
    minister, conductor, RR engineer
    """
    return _load("duncan", _DUNCAN, target=True, notable=(5, 15, 26), as_frame=as_frame)


def load_galaxies(*, as_frame: bool = False) -> Any:
    """Load the velocities of 82 galaxies (km/s), a one-dimensional density with clusters.

    Few enough rows that a picture of every one's influence is readable.

    Parameters
    ----------
    as_frame : bool, default=False
        If True, `data` is a pandas DataFrame.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With ``data`` (82, 1), ``feature_names``, ``row_names``, ``notable_rows`` (the slowest
        seven and the fastest three) and ``DESCR`` (description and source).

    See Also
    --------
    load_old_faithful : Two clusters in two dimensions.

    References
    ----------
    .. [1] K. Roeder (1990), Density estimation with confidence sets exemplified by superclusters
       and voids in galaxies, JASA 85, 617-624.

    Examples
    --------
    >>> from skinfluence.datasets import load_galaxies
    >>> velocity = load_galaxies().data
    >>> print(velocity.min(), velocity.max())
    9172.0 34279.0
    """
    apart = (*range(7), 79, 80, 81)
    return _load("galaxies", _GALAXIES, target=False, notable=apart, as_frame=as_frame)
