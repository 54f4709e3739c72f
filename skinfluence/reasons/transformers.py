"""Transformers: they change rows and predict nothing."""

from __future__ import annotations

from typing import Any

from skinfluence.reasons.refusal import Refusal, register

_IN_A_PIPELINE = (
    "Put it before a model in a Pipeline: the model is explained behind it, the transformer held "
    "fixed, and validate(whole_pipeline=True) measures what that costs."
)


def _transforms(estimator: Any) -> bool:
    return hasattr(estimator, "transform") and not hasattr(estimator, "predict")


register(
    Refusal(
        (
            "AdditiveChi2Sampler",
            "Binarizer",
            "ColumnTransformer",
            "FeatureUnion",
            "KBinsDiscretizer",
            "KNNImputer",
            "KernelCenterer",
            "MaxAbsScaler",
            "MinMaxScaler",
            "MissingIndicator",
            "OneHotEncoder",
            "OrdinalEncoder",
            "PolynomialFeatures",
            "PowerTransformer",
            "QuantileTransformer",
            "RobustScaler",
            "SimpleImputer",
            "SplineTransformer",
            "StandardScaler",
            "TargetEncoder",
            "TfidfTransformer",
        ),
        "it transforms rows and predicts nothing, so that a query has no loss that a deletion "
        "could change",
        _IN_A_PIPELINE,
    ),
    applies=_transforms,
)
register(
    Refusal(
        (
            "DictVectorizer",
            "CountVectorizer",
            "FeatureHasher",
            "FunctionTransformer",
            "HashingVectorizer",
            "Normalizer",
            "PatchExtractor",
            "SparseCoder",
            "TfidfVectorizer",
        ),
        "it writes each row anew, by itself or by counts, and predicts nothing: a query has no "
        "loss that a deletion could change",
        _IN_A_PIPELINE,
    )
)
register(
    Refusal(
        ("LabelBinarizer", "LabelEncoder", "MultiLabelBinarizer"),
        "it renames labels, and learns from rows only which labels there are",
        "Classifiers that are read, such as LogisticRegression, take the labels as they are; "
        "OneVsRestClassifier takes several labels a row.",
    )
)
register(
    Refusal(
        (
            "GaussianRandomProjection",
            "Nystroem",
            "PolynomialCountSketch",
            "RBFSampler",
            "RandomTreesEmbedding",
            "SkewedChi2Sampler",
            "SparseRandomProjection",
        ),
        "it maps rows by random numbers and predicts nothing: a query has no loss that a deletion "
        "could change",
        _IN_A_PIPELINE,
    )
)
register(
    Refusal(
        (
            "GenericUnivariateSelect",
            "RFE",
            "RFECV",
            "SelectFdr",
            "SelectFpr",
            "SelectFromModel",
            "SelectFwe",
            "SelectKBest",
            "SelectPercentile",
            "SequentialFeatureSelector",
            "VarianceThreshold",
        ),
        "it chooses columns: a column is in or out, and the choice has no derivative in the "
        "weight of a row",
        _IN_A_PIPELINE,
    )
)
register(
    Refusal(
        ("FeatureAgglomeration",),
        "it merges columns one after another, a discrete choice, and predicts nothing",
        _IN_A_PIPELINE,
    )
)
register(
    Refusal(
        ("KNeighborsTransformer", "RadiusNeighborsTransformer"),
        "it lists distances to training rows and predicts nothing: a query has no loss that a "
        "deletion could change",
        "KNNInfluence deletes from the density of NearestNeighbors exactly, and "
        "InfluenceExplainer from KNeighborsClassifier and KNeighborsRegressor.",
    )
)
register(
    Refusal(
        ("NeighborhoodComponentsAnalysis",),
        "its loss is of pairs of rows, as each row votes for all others, and what it learns is a "
        "metric that predicts nothing",
        _IN_A_PIPELINE + " KNeighborsClassifier behind it is read exactly.",
    )
)
