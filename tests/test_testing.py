"""A test of the tests: wrong explainers must not pass the contract checks."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import KernelDensity

from skinfluence import KDEInfluence
from skinfluence.deletion.kde import KDEDeletion
from skinfluence.testing import check_explainer, explainer_checks
from tests.cases import BLOBS


class WrongSign(KDEDeletion):
    def change(self, X, deleted):
        return -super().change(X, deleted)

    def self_change(self, rows):
        return -super().self_change(rows)


class ForgottenSampleSize(KDEDeletion):
    """Without log((N - 1) / N), which is small and the same for all rows."""

    def change(self, X, deleted):
        return super().change(X, deleted) - np.log1p(-1.0 / self.n_train)

    def self_change(self, rows):
        return super().self_change(rows) - np.log1p(-1.0 / self.n_train)


class OffByAFactor(KDEDeletion):
    """A hidden 1/n."""

    def change(self, X, deleted):
        return super().change(X, deleted) / self.n_train

    def self_change(self, rows):
        return super().self_change(rows) / self.n_train


class FirstOrder(KDEDeletion):
    """q instead of -log(1 - q): an approximation that claims to be exact."""

    def change(self, X, deleted):
        return 1.0 - np.exp(-super().change(X, deleted))

    def self_change(self, rows):
        return 1.0 - np.exp(-super().self_change(rows))


class OtherDiagonal(KDEDeletion):
    def self_change(self, rows):
        return super().self_change(rows) + 1e-6


class ShiftedColumns(KDEDeletion):
    def change(self, X, deleted):
        return np.roll(super().change(X, deleted), 1, axis=1)


class BlockDependent(KDEDeletion):
    """Scores relative to the other queries of the block."""

    def change(self, X, deleted):
        changes = super().change(X, deleted)
        return changes - changes.mean(axis=0)


class NotANumber(KDEDeletion):
    def change(self, X, deleted):
        changes = super().change(X, deleted)
        changes[np.abs(X).max(axis=1) > 100] = np.nan
        return changes


class UnweightedRows(KDEDeletion):
    """Right for equal weights, where nobody looks."""

    def change(self, X, deleted):
        if self.weights is None:
            return super().change(X, deleted)
        return KDEDeletion(KernelDensity().fit(self._X), self._X).change(X, deleted)


class Explainer(KDEInfluence):
    """KDEInfluence on a deletion of choice."""

    def __init__(self, estimator=None, *, deletion=KDEDeletion, n_jobs=None, progress=False):
        super().__init__(estimator, n_jobs=n_jobs, progress=progress)
        self.deletion = deletion

    def _make_deletion(self, model, rows, sample_weight):
        right = super()._make_deletion(model, rows, sample_weight)
        return self.deletion(model, rows, right.weights)


def test_the_right_deletion_passes():
    check_explainer(Explainer(), BLOBS)


@pytest.mark.parametrize(
    ("wrong", "caught_by"),
    [
        (WrongSign, "check_refits"),
        (ForgottenSampleSize, "check_refits"),
        (OffByAFactor, "check_refits"),
        (FirstOrder, "check_refits"),
        (OtherDiagonal, "check_self_influence"),
        (ShiftedColumns, "check_self_influence"),
        (ShiftedColumns, "check_permutation"),
        (ShiftedColumns, "check_duplicates"),
        (BlockDependent, "check_single_queries"),
        (NotANumber, "check_far_queries"),
        (UnweightedRows, "check_sample_weight"),
    ],
)
def test_wrong_deletions_are_caught(wrong, caught_by):
    explainer = Explainer(deletion=wrong)
    with pytest.raises((AssertionError, FloatingPointError)):
        check_explainer(explainer, BLOBS)
    with pytest.raises((AssertionError, FloatingPointError)):
        dict(explainer_checks(explainer, BLOBS))[caught_by]()


class Impure(Explainer):
    """Changes its inner estimator."""

    def fit(self, X, y=None, sample_weight=None):
        super().fit(X, y, sample_weight)
        self.estimator_.bandwidth = 2.0
        return self


class Leaky(Explainer):
    """Leaves a trace of a fit that fails."""

    def fit(self, X, y=None, sample_weight=None):
        if np.isnan(X).any():
            vars(self).pop("_deletion", None)
        return super().fit(X, y, sample_weight)


class Unstable(Explainer):
    """Ranks by something else than the self influence."""

    def rank_outliers(self, n=None):
        return np.arange(self.n_samples_fit_)[::-1][:n]


class Mislabelled(Explainer):
    """Labels against its own scores."""

    def predict(self, X):
        return -super().predict(X)


class Swapped(Explainer):
    def opponents(self, X, y=None, *, k=10, return_scores=True):
        return self.proponents(X, k=k, return_scores=return_scores)


@pytest.mark.parametrize(
    ("wrong", "caught_by"),
    [
        (Impure, "check_fitted_estimator"),
        (Leaky, "check_interrupted_fit"),
        (Unstable, "check_self_influence"),
        (Mislabelled, "check_outlier_contract"),
        (Swapped, "check_strongest"),
    ],
)
def test_wrong_explainers_are_caught(wrong, caught_by):
    checks = dict(explainer_checks(wrong(), BLOBS))
    with pytest.raises((AssertionError, AttributeError)):
        checks[caught_by]()


def test_the_promised_error_counts():
    checks = dict(explainer_checks(Explainer(deletion=FirstOrder), BLOBS, error=10.0))
    checks["check_refits"]()


def test_names_are_unique():
    names = [name for name, _ in explainer_checks(KDEInfluence(), BLOBS)]
    assert len(set(names)) == len(names)
