"""
Finding outliers
================

Self influence as an outlier score, beside the detectors one would use otherwise, on outliers that
were planted and on outliers that are genuine. No score wins everywhere, and the table says where.
"""

# %%
# The detectors
# -------------
# All of them see standardised columns, or their first eight principal components where there are
# more: densities need few columns. The kernel density takes the bandwidth with the largest
# leave-one-out likelihood on the rows themselves, outliers included; the mixture has three
# diagonal components; LOF and the isolation forest have their defaults.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import rankdata
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity, LocalOutlierFactor
from sklearn.preprocessing import scale

from skinfluence import GMMInfluence, KDEInfluence, KNNInfluence
from skinfluence.datasets import load_hbk, load_old_faithful, load_stars_cyg, plant_outliers
from skinfluence.displays import DetectionCurveDisplay
from skinfluence.exceptions import DegenerateDeletionWarning

# A component that hangs on one or two rows is flagged, and here it is what we are looking for.
warnings.simplefilter("ignore", DegenerateDeletionWarning)


def prepared(X):
    """Standardised columns, eight at most."""
    X = scale(X)
    return X if X.shape[1] <= 8 else PCA(8, random_state=0).fit_transform(X)


def kde_influence(X):
    """Explainer with the bandwidth of the largest leave-one-out likelihood."""
    fits = [KDEInfluence(KernelDensity(bandwidth=h)).fit(X) for h in np.geomspace(0.1, 3, 12)]
    return max(fits, key=lambda fit: fit.score(X) - fit.self_influence().mean())


def suspicion(X):
    """Scores of all detectors on the rows they were fitted on, high means suspicious."""
    kde = kde_influence(X)
    mixture = GaussianMixture(3, covariance_type="diag", reg_covar=0.01, random_state=0)
    gmm = GMMInfluence(mixture).fit(X)
    return {
        "KDE influence": kde.self_influence(),
        "mixture influence": gmm.self_influence(),
        "mixture likelihood": -gmm.log_density(X),
        "LOF": -LocalOutlierFactor().fit(X).negative_outlier_factor_,
        "forest": -IsolationForest(random_state=0).fit(X).score_samples(X),
    }


# %%
# The rows
# --------
# Two sets with planted rows, two famous tables with known outliers, and two classification sets
# of which one class is kept whole and another one is reduced to a few foreign rows.


def foreign(data, target, kept, reduced, n_foreign):
    """Rows of the class `kept`, and the first `n_foreign` rows of the class `reduced`."""
    rows = np.append(np.flatnonzero(target == kept), np.flatnonzero(target == reduced)[:n_foreign])
    return data[rows], target[rows] == reduced


def notable(table):
    return table.data, np.isin(np.arange(len(table.data)), table.notable_rows)


wine, cancer, digits = load_wine(), load_breast_cancer(), load_digits()
tables = {
    "Old Faithful + 5 %, anywhere": plant_outliers(
        load_old_faithful().data, 0.05, kind="uniform", random_state=0
    ),
    "wine + 5 %, far out": plant_outliers(wine.data, 0.05, distance=1.1, random_state=0),
    "stars: 4 giants": notable(load_stars_cyg()),
    "Hawkins-Bradu-Kass: first 14": notable(load_hbk()),
    "cancer: 10 malignant": foreign(cancer.data, cancer.target, 1, 0, 10),
    "digits: 10 zeros in sixes": foreign(digits.data, digits.target, 6, 0, 10),
}

# %%
# The table
# ---------
# Area under the ROC curve: 1 for a perfect order, one half for a random one.

scores = {name: suspicion(prepared(X)) for name, (X, _) in tables.items()}


def width(name):
    return max(8, len(name) + 2)


names = list(scores["stars: 4 giants"])
print(" " * 28 + "".join(f"{name:>{width(name)}}" for name in names))
for table, (_, bad) in tables.items():
    aucs = {name: roc_auc_score(bad, rankdata(scores[table][name])) for name in names}
    print(f"{table:28}" + "".join(f"{auc:{width(name)}.3f}" for name, auc in aucs.items()))

# %%
# Planted far out, everything finds them. Among genuine outliers three lines deserve a look.
#
# *The stars.* The *likelihood* of the mixture is no better than a coin. The mixture has given the
# four giants a component of their own, under which they are very likely. The *influence* is high
# for the same reason: without one of four rows that component is another one. Influence asks what
# the model owes to the row, and that cannot be bought by fitting the row well.
#
# *The digits and the cancer cells.* Local outlier factors are ahead. They compare a row with its
# neighbours, which is what an outlier detector should do in many columns. If labels are all you
# want, take LOF; influence answers in nats, about the model you have, and tells which rows are
# behind each score.
#
# *k-NN influence* is not in the table, because it is not a detector of single rows. It finds
# *groups of a known size*: give it the size.

for table in ("stars: 4 giants", "Hawkins-Bradu-Kass: first 14"):
    X, bad = tables[table]
    for k in (5, bad.sum()):
        score = KNNInfluence(n_neighbors=k).fit(prepared(X)).self_influence()
        print(f"{table:28}   k = {k:2d}   AUC {roc_auc_score(bad, rankdata(score)):.3f}")

# %%
# How much looking does it save?
# ------------------------------
# The share of the malignant cells found against the share of patients looked at.

table = "cancer: 10 malignant"
DetectionCurveDisplay.from_influence(tables[table][1], scores[table])
plt.title(table)
plt.show()
