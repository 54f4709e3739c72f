"""Refits by sweeps end at the minimum, for every estimator whose deletion has derivatives."""

import numpy as np
import pytest

from skinfluence.deletion.linear.fit import fitted_parts
from skinfluence.solvers.stationarity import stationarity
from tests.test_objectives.cases import CASES, fitted

EXACT = [
    case
    for case in CASES
    if not fitted(case)[2].linear_programme
    and not any(problem.loss.temperature for problem in fitted(case)[2].problems)
]


@pytest.mark.parametrize("case", EXACT, ids=str)
def test_every_refit_is_stationary_without_its_row(case):
    _, data, fit, _ = fitted(case)
    rows = np.arange(len(data.y))
    result = fitted_parts(fit, data.rows.X, method="refit")
    for part in result.parts:
        moved = part.theta[:, :, None] + part.moves(rows)
        left = [
            stationarity(part.objective.without(rows[i : i + 1]), moved[:, :, i])
            for i in rows
            if i not in result.notes.failed
        ]
        assert max(left) < 1e-9
    assert len(result.notes.failed) <= 1
