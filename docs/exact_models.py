"""The tables of the page on exact deletions: what each estimator's loss is, and its errors."""

import warnings

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.covariance import OAS, EmpiricalCovariance, LedoitWolf, ShrunkCovariance
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import ARDRegression, BayesianRidge, LogisticRegression
from sklearn.naive_bayes import (
    BernoulliNB,
    CategoricalNB,
    ComplementNB,
    GaussianNB,
    MultinomialNB,
)
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestCentroid
from sklearn.svm import SVC, SVR, NuSVC, NuSVR, OneClassSVM

from skinfluence import InfluenceExplainer

N_ROWS = 60
LOG_LOSS, SQUARES, DENSITY = "-log p(y | x)", "squared error", "-log p(x)"
PROCESS = {"kernel": RBF(1.0) + WhiteKernel(0.2), "optimizer": None}


def data_for(estimator):
    """Rows and targets that the estimator takes."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N_ROWS, 3))
    if isinstance(estimator, FactorAnalysis):
        return X + 1.5 * rng.standard_normal((N_ROWS, 1)), None
    eta = X @ [1.0, -0.7, 0.3] + 0.7 * rng.standard_normal(N_ROWS)
    if isinstance(estimator, MultinomialNB | ComplementNB | CategoricalNB):
        X = np.clip(np.round(X + 2), 0, 4)
    if not hasattr(estimator, "predict_proba") and not isinstance(
        estimator, SVC | NuSVC | NearestCentroid
    ):
        return X, eta
    return X, (eta > 0).astype(int)


def facts(estimator, loss):
    """Loss, method, and the worst error against refits, relative to the largest change."""
    X, y = data_for(estimator)
    explainer = InfluenceExplainer(estimator).fit(X, y)
    found = explainer.validate(n_refits=8, random_state=0)
    return [loss, f"``{explainer.method_}``", f"{found.relative_error:.0e}"]


CASES = {
    "`SVC`": (SVC(), "hinge, max(0, 1 - y f)"),
    "`NuSVC`": (NuSVC(), "hinge"),
    "`SVR`": (SVR(), "max(0, abs(y - f) - epsilon)"),
    "`NuSVR`": (NuSVR(), "abs(y - f)"),
    "`OneClassSVM`": (OneClassSVM(nu=0.2), "max(0, -f)"),
    "`KernelRidge`": (KernelRidge(kernel="rbf"), SQUARES),
    "`GaussianProcessRegressor`": (GaussianProcessRegressor(**PROCESS), SQUARES),
    "`LinearDiscriminantAnalysis`": (LinearDiscriminantAnalysis(), LOG_LOSS),
    "`QuadraticDiscriminantAnalysis`": (QuadraticDiscriminantAnalysis(), LOG_LOSS),
    "`GaussianNB`": (GaussianNB(), LOG_LOSS),
    "`MultinomialNB`": (MultinomialNB(), LOG_LOSS),
    "`ComplementNB`": (ComplementNB(), LOG_LOSS),
    "`BernoulliNB`": (BernoulliNB(), LOG_LOSS),
    "`CategoricalNB`": (CategoricalNB(min_categories=5), LOG_LOSS),
    "`NearestCentroid`": (NearestCentroid(), LOG_LOSS),
    "`KNeighborsClassifier`": (KNeighborsClassifier(15), LOG_LOSS),
    "`KNeighborsRegressor`": (KNeighborsRegressor(), SQUARES),
    "`DummyClassifier`": (DummyClassifier(), LOG_LOSS),
    "`DummyRegressor`": (DummyRegressor(), SQUARES),
    "`EmpiricalCovariance`": (EmpiricalCovariance(), DENSITY),
    "`ShrunkCovariance`": (ShrunkCovariance(), DENSITY),
    "`OAS`": (OAS(), DENSITY),
    "`LedoitWolf`": (LedoitWolf(), DENSITY),
    "`PCA`": (PCA(2), DENSITY),
    "`FactorAnalysis`": (FactorAnalysis(1, tol=1e-8), DENSITY),
    "`CalibratedClassifierCV`": (CalibratedClassifierCV(LogisticRegression()), LOG_LOSS),
    "`BayesianRidge`": (BayesianRidge(), SQUARES),
    "`ARDRegression`": (ARDRegression(), SQUARES),
    "`GaussianProcessClassifier`": (
        GaussianProcessClassifier(1.0 * RBF(1.0), optimizer=None),
        LOG_LOSS,
    ),
}

header = ("Estimator", "Loss of a query", "``method_``", "Error")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    rows = [[name, *facts(*case)] for name, case in CASES.items()]
