"""Well-separated spherical mixtures: every row belongs to one component only.

Then deleting a row changes its own component in closed form, and the first-order expansion of
that form shows what makes a proponent and an opponent.
"""

from __future__ import annotations

import numpy as np

from .covariance_types import Spherical
from .sample import responsibilities
from .statistics import Array, Frame


def hard_responsibilities(frame: Frame, X: Array) -> tuple[Array, Array]:
    """Log responsibilities (0 and -inf) of the likeliest component, and the log density."""
    log_r, density = responsibilities(frame, X)
    hard = np.full_like(log_r, -np.inf)
    hard[np.argmax(log_r, axis=0), np.arange(log_r.shape[1])] = 0.0
    return hard, density


def hard_frame(frame: Frame, X: Array) -> Spherical:
    """Weights, means and variances of the rows that each component of `frame` wins."""
    r = np.exp(hard_responsibilities(frame, X)[0])
    moved = frame.moved(frame.statistics(X, r))
    alive = moved.weights > 0
    return Spherical(
        moved.weights[alive], moved.means[alive], moved.scale[alive], frame.reg, len(X)
    )


def well_separated_first_order(
    Z: Array, X: Array, *, n_total: int | None = None, printed: bool = False
) -> Array:
    """First-order influence of the rows of one spherical component on queries in it, to teach.

    With ``u = x_i - mean``, ``v = z - mean``, N0 rows in the component of variance s2 per
    coordinate, and N rows in all::

        score = (1/N0 - 1/N)  +  u.v / (N0 s2)  +  d/(2 N0) (|u|^2/(d s2) - 1)(|v|^2/(d s2) - 1)

    The terms are the mixing weight, the mean and the variance. For a typical query
    (``|v|^2 = d s2``) the opponents are the rows on the other side of the mean,
    ``u.v < -s2 (1 - N0/N)``. A first look at what influence means for a density; for numbers use
    ``GMMInfluence(method="well_separated")``.

    Parameters
    ----------
    Z : ndarray of shape (n_queries, d)
        Queries that belong to the component.
    X : ndarray of shape (n_rows, d)
        All rows of the component, not all alike.
    n_total : int, default=None
        Rows of the whole mixture; None for `n_rows`, a single component.
    printed : bool, default=False
        Return the published equation instead, which has ``|v|^2/s2`` where ``|u|^2 |v|^2/(d s2)``
        belongs (the expansion of the new variance lost a factor ``|u|^2/d``). Its correlation
        with real deletions is 0.3 to 0.7 on well-separated data, that of the corrected one 1.

    Returns
    -------
    scores : ndarray of shape (n_queries, n_rows)
        First-order change of the loss ``-log p`` when a row is deleted, in nats: positive for
        proponents. It misses terms of order 1/N0^2.

    See Also
    --------
    skinfluence.GMMInfluence : ``method="well_separated"`` is the exact form.

    References
    ----------
    .. [1] Z. Kong and K. Chaudhuri, "Understanding Instance-based Interpretability of Variational
       Auto-Encoders", NeurIPS 2021, eq. (4) (``printed=True``).

    Examples
    --------
    Rows at distance 1 from the mean. For a query there, the row on its own side helps and the
    one on the other side hurts:

    >>> import numpy as np
    >>> from skinfluence.deletion.gmm import well_separated_first_order
    >>> X = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> well_separated_first_order(X[:1], X)
    array([[ 0.5, -0.5,  0. ,  0. ]])
    """
    d, N0 = X.shape[1], len(X)
    N = N0 if n_total is None else n_total
    u, v = X - X.mean(axis=0), Z - X.mean(axis=0)
    s2 = np.mean(u * u)
    uu, vv = np.sum(u * u, axis=1), np.sum(v * v, axis=1)[:, None]
    distance = vv + uu - 2.0 * v @ u.T
    product = vv / s2 if printed else uu * vv / (d * s2)
    return (d + 2) / (2 * N0) - 1 / N + (product - distance) / (2 * N0 * s2)
