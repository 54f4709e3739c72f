"""Trees, and votes of several models."""

from __future__ import annotations

from skinfluence.reasons.refusal import Refusal, register

# Packages of gradient boosting whose estimators have trees under all names.
_PACKAGES = ("catboost", "lightgbm", "xgboost")
_NEIGHBOURS = (
    "KNeighbors{kind} is as flexible, and read exactly by InfluenceExplainer; KNNShapley values "
    "its rows."
)

register(
    Refusal(
        (
            "BaseDecisionTree",
            "DecisionTreeClassifier",
            "DecisionTreeRegressor",
            "ExtraTreeClassifier",
            "ExtraTreeRegressor",
        ),
        "a tree predicts a constant in each cell and chooses its cells one split after another: "
        "predictions have no derivative in the weight of a row, and no update says which splits "
        "a deletion changes",
        _NEIGHBOURS,
    )
)
register(
    Refusal(
        (
            "BaseForest",
            "ExtraTreesClassifier",
            "ExtraTreesRegressor",
            "RandomForestClassifier",
            "RandomForestRegressor",
        ),
        "its trees are piecewise constant and grown on random draws of the rows: predictions have "
        "no derivative in the weight of a row, and a refit without one differs by its draws too",
        _NEIGHBOURS,
    )
)
register(
    Refusal(
        (
            "BaseGradientBoosting",
            "BaseHistGradientBoosting",
            "GradientBoostingClassifier",
            "GradientBoostingRegressor",
            "HistGradientBoostingClassifier",
            "HistGradientBoostingRegressor",
        ),
        "each of its trees is fitted to what the trees before it left over, and splits are "
        "discrete: a deletion can change all trees from the first one on, and no derivative says "
        "how",
        "MLP{kind} is fitted by gradients of the same losses, and TracInExplainer follows its "
        "training; " + _NEIGHBOURS,
    ),
    applies=lambda estimator: type(estimator).__module__.partition(".")[0] in _PACKAGES,
)
register(
    Refusal(
        ("AdaBoostClassifier", "AdaBoostRegressor"),
        "each of its members is fitted to weights made of the errors of those before it, and "
        "votes with another: there is no one objective at whose minimum it is",
        "A linear model has one, also behind a SplineTransformer, and InfluenceExplainer reads "
        "it. " + _NEIGHBOURS,
    )
)
register(
    Refusal(
        ("BaggingClassifier", "BaggingRegressor"),
        "its members are fitted to random draws of the rows: a refit without a row draws others, "
        "and what the draws do hides what the row did",
        "Explain its base estimator fitted to all rows, where that is read.",
    )
)
register(
    Refusal(
        ("VotingClassifier", "VotingRegressor"),
        "it averages members each of which minimises a loss of its own, and none is minimised by "
        "the average",
        "Explain its estimators_ one by one: what a deletion does to an averaged prediction is "
        'the average of what it does to theirs (target="decision_function", or "proba" of soft '
        "votes).",
    )
)
register(
    Refusal(
        ("StackingClassifier", "StackingRegressor"),
        "its last estimator is fitted to predictions of cross-validation folds, which a deletion "
        "moves together with every member",
        "Explain its estimators_ one by one, or fit the last estimator to the members' "
        "predictions by hand (cross_val_predict) and explain that.",
    )
)
