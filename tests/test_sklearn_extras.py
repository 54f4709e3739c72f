"""The checks that scikit-learn runs on its own estimators and ``check_estimator`` leaves out."""

from __future__ import annotations

import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.utils import estimator_checks

from skinfluence import GMMInfluence, KDEInfluence, KNNInfluence
from tests.conftest import import_optional

EXPLAINERS = [
    KDEInfluence(),
    GMMInfluence(random_state=0),
    KNNInfluence(),
    KNNInfluence(novelty=True),
]
# scikit-learn asks these of classes that have a transform.
TRANSFORMERS = [clone(explainer).set_params(influence_features=True) for explainer in EXPLAINERS]

CHECKS = [
    "check_param_validation",
    "check_inplace_ensure_writeable",
]
FRAME_CHECKS = [
    ("pandas", "check_dataframe_column_names_consistency"),
]
TRANSFORMER_CHECKS = [
    "check_set_output_transform",
    "check_get_feature_names_out_error",
    "check_transformer_get_feature_names_out",
]
TRANSFORMER_FRAME_CHECKS = [
    ("pandas", "check_set_output_transform_pandas"),
    ("pandas", "check_global_output_transform_pandas"),
    ("polars", "check_set_output_transform_polars"),
    ("polars", "check_global_set_output_transform_polars"),
    ("pandas", "check_transformer_get_feature_names_out_pandas"),
]


def run(name: str, explainer: BaseEstimator) -> None:
    check = getattr(estimator_checks, name)
    check(type(explainer).__name__, clone(explainer))


@pytest.mark.parametrize("explainer", EXPLAINERS, ids=repr)
@pytest.mark.parametrize("name", CHECKS)
def test_explainers(name, explainer):
    run(name, explainer)


@pytest.mark.parametrize("explainer", EXPLAINERS, ids=repr)
@pytest.mark.parametrize(("container", "name"), FRAME_CHECKS)
def test_explainers_and_frames(container, name, explainer):
    import_optional(container)
    run(name, explainer)


@pytest.mark.parametrize("explainer", TRANSFORMERS, ids=repr)
@pytest.mark.parametrize("name", TRANSFORMER_CHECKS)
def test_transformers(name, explainer):
    run(name, explainer)


@pytest.mark.parametrize("explainer", TRANSFORMERS, ids=repr)
@pytest.mark.parametrize(("container", "name"), TRANSFORMER_FRAME_CHECKS)
def test_transformers_and_frames(container, name, explainer):
    import_optional(container)
    run(name, explainer)
