"""Classifiers, regressors and detectors that are no minimum, or not one that can be followed."""

from __future__ import annotations

from skinfluence.reasons.refusal import Refusal, register

_ROBUST = "HuberRegressor resists outliers by a smooth loss, and InfluenceExplainer reads it."

register(
    Refusal(
        ("Lars", "LarsCV"),
        "it walks along the path of least angles and stops at a number of columns, or where a "
        "cross-validation said: no objective has its minimum there",
        "LassoLars and LassoLarsCV walk to a minimum, that of Lasso, and InfluenceExplainer reads "
        "them.",
    )
)
register(
    Refusal(
        ("OrthogonalMatchingPursuit", "OrthogonalMatchingPursuitCV"),
        "it takes columns greedily, one by one: which ones is a discrete choice that a deletion "
        "turns over at once or not at all",
        "LinearRegression on the columns that it chose holds the choice fixed; LassoCV makes one "
        "by a convex penalty. InfluenceExplainer reads both.",
    )
)
register(
    Refusal(
        ("RANSACRegressor",),
        "its inliers are the best of random draws: a deletion changes the draws, and the set of "
        "inliers by whole rows",
        "Explain its estimator_ on the rows of inlier_mask_, which holds the inliers fixed. "
        + _ROBUST,
    )
)
register(
    Refusal(
        ("TheilSenRegressor",),
        "it is the spatial median of fits to random subsets of the rows, and no sum over rows is "
        "minimised",
        _ROBUST,
    )
)
register(
    Refusal(
        ("PassiveAggressiveClassifier", "PassiveAggressiveRegressor"),
        "each of its steps is as long as the loss of its row asks for, and it stops where the "
        "rows end: it is at no minimum, and has no rate that gradients could be summed by",
        "SGD{kind} has losses of the same kind and rates: InfluenceExplainer reads its minimum, "
        "and TracInExplainer its training.",
    )
)
register(
    Refusal(
        ("Perceptron",),
        "its loss is 0 at coefficients of 0, so that a fit is where the updates stopped and no "
        "minimum",
        "TracInExplainer follows its updates; InfluenceExplainer reads SGDClassifier and "
        "LinearSVC.",
    )
)
register(
    Refusal(
        ("SGDOneClassSVM",),
        "its objective has a kink at every row on the boundary, and stochastic steps end some "
        "way off its minimum, on either side of them",
        'OneClassSVM(kernel="linear") has the same objective and is followed exactly by '
        "InfluenceExplainer.",
    )
)
register(
    Refusal(
        ("IsotonicRegression",),
        "its steps are means of blocks of rows, which merge and split when a row goes: there is "
        "no derivative at the ties, and no parameter that outlives a block",
        "KNeighborsRegressor, which is read exactly by InfluenceExplainer, needs no form of the "
        "curve either; Ridge behind a SplineTransformer is smooth.",
    )
)
register(
    Refusal(
        ("CCA", "PLSCanonical", "PLSRegression"),
        "its components are found one after another, each in what the one before left: together "
        "they minimise no objective, and a deletion turns every later one",
        "Ridge shrinks the same directions by one objective, and LinearRegression on "
        "transform(X) holds the components fixed; InfluenceExplainer reads both.",
    )
)
register(
    Refusal(
        ("PLSSVD",),
        "it projects rows and targets on singular vectors of their covariance, and predicts "
        "nothing: a query has no loss that a deletion could change",
        "Ridge from the rows to the targets is read by InfluenceExplainer, and so is "
        "LinearRegression on transform(X), which holds the projection fixed.",
    )
)
register(
    Refusal(
        ("RadiusNeighborsClassifier", "RadiusNeighborsRegressor"),
        "a deletion can leave no row within the radius, and a query without neighbours has no "
        "prediction to compare with",
        "KNeighbors{kind} always has neighbours, and is read exactly by InfluenceExplainer.",
    )
)
register(
    Refusal(
        ("LabelPropagation", "LabelSpreading"),
        "labels flow through a graph of all rows, labelled and not, and a deletion takes away "
        "edges of all others: the rows are in the graph, and no loss is a sum over them",
        "KNeighborsClassifier on the labelled rows votes by the same graph, and is read exactly "
        "by InfluenceExplainer.",
    )
)
register(
    Refusal(
        ("LocalOutlierFactor",),
        "it is a ratio of densities, of a row and of its neighbours, which is the loss of no "
        "model and moves with the neighbours' neighbours",
        "KNNInfluence deletes rows exactly from the density behind it, that of NearestNeighbors, "
        "and is an outlier detector too.",
    )
)
register(
    Refusal(
        ("IsolationForest",),
        "its trees split random draws of the rows at random places: a refit without a row draws "
        "others, and what the draws do hides what the row did",
        "KNNInfluence and KDEInfluence are outlier detectors whose deletions are exact.",
    )
)
register(
    Refusal(
        (),
        "it labels rows as outliers by a rule whose loss and deletions are not known",
        "KNNInfluence, KDEInfluence and GMMInfluence are outlier detectors whose scores are "
        "deletions, and PyODAdapter makes them detectors of PyOD.",
    ),
    applies=lambda estimator: any(
        cls.__name__ == "OutlierMixin" for cls in type(estimator).__mro__
    ),
)
register(
    Refusal(
        ("EllipticEnvelope", "MinCovDet"),
        "it fits the half of the rows whose covariance has the least determinant, found from "
        "random starts: which half is a discrete choice that a deletion can turn over",
        "LedoitWolf and EmpiricalCovariance have exact deletions, by InfluenceExplainer: rows "
        "that mask one another show up in score_groups.",
    )
)
register(
    Refusal(
        ("GraphicalLasso", "GraphicalLassoCV"),
        "its penalty has a kink at each precision that is 0, and which are 0 changes with a row; "
        "the precisions between are a fixed point of an iteration over columns",
        "LedoitWolf, OAS and ShrunkCovariance regularise the covariance too, and have exact "
        "deletions, by InfluenceExplainer.",
    )
)
