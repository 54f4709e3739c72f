"""Detection by a score, always beside what needs no influence."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state

from skinfluence.metrics._detection import detection_auc, detection_curve
from skinfluence.metrics._rows import named_scores, without_reserved

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class DetectionTable:
    """What `detection_table` measures, best score first.

    ``print`` gives a block for people, `frame` a table for further work.

    Parameters
    ----------
    names : tuple of str
        Names of the scores, of the baselines, and "random".
    kinds : tuple of str
        "score", "baseline" or "random".
    auc : ndarray of shape (n_names,)
        Area under the detection curve; of "random", the mean over the draws.
    found : ndarray of shape (n_names, n_checked)
        Share of the bad rows found after checking each share `checked` of all rows.
    checked : ndarray of shape (n_checked,)
        Shares of the rows checked.
    random_spread : float
        Standard deviation of the AUC of a random order: differences from .5 that are not
        several times as large are chance.

    See Also
    --------
    detection_table : Computes it.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.metrics import detection_table
    >>> is_bad = np.arange(50) < 5
    >>> table = detection_table(is_bad, -np.arange(50), random_state=0)
    >>> table.names, table.kinds, float(table.auc[0])
    (('score', 'random'), ('score', 'random'), 0.95)
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    auc: Array
    found: Array
    checked: Array
    random_spread: float

    def frame(self) -> Any:
        """Return the table as a pandas DataFrame.

        Returns
        -------
        frame : pandas.DataFrame of shape (n_names, 2 + n_checked)
            Columns "kind", "auc" and "found@..." for each share checked, indexed by name.
        """
        import pandas as pd

        found = {f"found@{c:g}": f for c, f in zip(self.checked, self.found.T, strict=True)}
        return pd.DataFrame({"kind": self.kinds, "auc": self.auc, **found}, index=list(self.names))

    def __str__(self) -> str:
        width = max(map(len, self.names))
        header = "  ".join(f"found@{c:<5g}" for c in self.checked)
        lines = [f"{'':{width}}  {'kind':8}  {'AUC':>6}  {header}".rstrip()]
        for name, kind, auc, found in zip(
            self.names, self.kinds, self.auc, self.found, strict=True
        ):
            shares = "  ".join(f"{share:<11.3f}" for share in found)
            lines.append(f"{name:{width}}  {kind:8}  {auc:6.4f}  {shares}".rstrip())
        lines.append(f"A random order spreads by {self.random_spread:.4f} (standard deviation).")
        return "\n".join(lines)


def detection_table(
    is_bad: ArrayLike,
    scores: ArrayLike | Mapping[str, ArrayLike],
    *,
    baselines: Mapping[str, ArrayLike] | None = None,
    checked: Sequence[float] = (0.05, 0.1, 0.2),
    n_random: int = 100,
    random_state: int | np.random.RandomState | None = None,
) -> DetectionTable:
    """Detection AUC of scores beside trivial baselines and a random order, best first.

    A score that finds planted rows is worth its cost only if it finds them earlier than the
    loss, the gradient norm or the distance to the mean do, which cost nothing. Hand these in as
    `baselines`; the random order is always there.

    Parameters
    ----------
    is_bad : array-like of shape (n_rows,)
        Booleans (or zeros and ones): the rows to be found. At least one is True.
    scores : array-like of shape (n_rows,), or mapping of names to such
        High means suspicious. A DataFrame of columns works, and a lone vector is called "score".
    baselines : mapping of str to array-like of shape (n_rows,), default=None
        E.g. ``{"loss": losses, "distance": distances}``.
    checked : sequence of float, default=(0.05, 0.1, 0.2)
        Shares of all rows at which the share of the bad rows found is read off the curve.
    n_random : int, default=100
        Number of random orders.
    random_state : int, RandomState or None, default=None
        Draws them.

    Returns
    -------
    table : DetectionTable
        Sorted by AUC; ``print`` shows it, `DetectionTable.frame` gives a DataFrame.

    Raises
    ------
    ValueError
        If shapes differ, something is NaN, `is_bad` is nowhere True, a name occurs twice or is
        "random", a share is outside [0, 1], or `n_random` is below 2.

    See Also
    --------
    detection_curve : The whole curve of one score.
    detection_auc : How this AUC relates to that under the ROC curve.
    removal_curve : What removing the rows is worth.

    Notes
    -----
    With p the share of the ``n_bad`` bad among n rows, the AUC of a random order has the mean
    1/2 and the standard deviation ``(1 - p) * sqrt((n + 1) / (12 n_bad (n - n_bad)))`` (that of
    the Mann-Whitney statistic); the draws reproduce both.

    References
    ----------
    .. [1] P. W. Koh and P. Liang (2017), Understanding black-box predictions via influence
       functions, ICML, section 5.4 (influence beside train loss and random).

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.metrics import detection_table
    >>> is_bad = np.arange(40) < 4
    >>> distance = np.where(is_bad, 3.0, np.arange(40) % 5)
    >>> table = detection_table(
    ...     is_bad, {"influence": is_bad * 1.0}, baselines={"distance": distance},
    ...     checked=[0.1], random_state=0)
    >>> print(table)
               kind         AUC  found@0.1
    influence  score     0.9500  1.000
    distance   baseline  0.6625  0.000
    random     random    0.4996  0.075
    A random order spreads by 0.1403 (standard deviation).
    """
    is_bad = np.asarray(is_bad)
    given = named_scores(scores, is_bad.size)
    trivial = named_scores(baselines, is_bad.size)
    named = without_reserved(given, trivial)
    shares = _shares(checked)
    draws = _random_draws(is_bad, shares, n_random, check_random_state(random_state))
    rows = [_judge(is_bad, vector, shares) for vector in named.values()] + [draws.mean(axis=0)]
    kinds = ["score"] * len(given) + ["baseline"] * len(trivial) + ["random"]
    names, numbers = [*named, "random"], np.array(rows)  # (n_names, 1 + n_checked)
    order = np.argsort(-numbers[:, 0], kind="stable")
    return DetectionTable(
        names=tuple(names[i] for i in order),
        kinds=tuple(kinds[i] for i in order),
        auc=numbers[order, 0],
        found=numbers[order, 1:],
        checked=shares,
        random_spread=float(draws[:, 0].std(ddof=1)),
    )


def _judge(is_bad: NDArray, score: Array, shares: Array) -> Array:
    """AUC, then the share found at each share checked."""
    checked, found = detection_curve(is_bad, score)
    return np.append(detection_auc(is_bad, score), np.interp(shares, checked, found))


def _random_draws(
    is_bad: NDArray, shares: Array, n_random: int, rng: np.random.RandomState
) -> Array:
    if n_random < 2:
        raise ValueError(f"n_random is {n_random}, but a spread needs two draws. Pass e.g. 100.")
    return np.array(
        [_judge(is_bad, rng.random_sample(is_bad.size), shares) for _ in range(n_random)]
    )


def _shares(checked: Sequence[float]) -> Array:
    shares = np.atleast_1d(np.asarray(checked, dtype=np.float64))
    if shares.ndim != 1 or not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError(
            f"checked is {checked!r}, but it must hold shares of the rows, in [0, 1]. Pass e.g. "
            "(0.05, 0.1)."
        )
    return shares
