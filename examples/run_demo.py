"""The main job on real data: the influential rows, and whether they include the planted ones.

``make demo`` runs this. It needs the core and matplotlib, prints tables, and writes pictures to
``demo_output/``.
"""

import time
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("agg")  # pictures go to files, with or without a screen

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity, LocalOutlierFactor, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import GMMInfluence, KDEInfluence, KNNInfluence
from skinfluence.datasets import load_old_faithful, plant_outliers
from skinfluence.displays import (
    DetectionCurveDisplay,
    ImageGridDisplay,
    InfluenceDisplay,
    SelfInfluenceDisplay,
)
from skinfluence.exceptions import DegenerateDeletionWarning
from skinfluence.metrics import detection_auc

OUTPUT = Path("demo_output")


def geyser():
    """Old Faithful with twelve planted rows: the rows, and which of them are planted."""
    return plant_outliers(load_old_faithful().data, 12, kind="uniform", random_state=0)


def explainers():
    """Each explains the last step of a pipeline; queries come in minutes."""
    mixture = GaussianMixture(2, random_state=0)
    return {
        "kernel density": KDEInfluence(scaled(KernelDensity(bandwidth=0.25))),
        "mixture of 2": GMMInfluence(scaled(mixture)),
        "k nearest neighbours": KNNInfluence(scaled(NearestNeighbors(n_neighbors=10))),
    }


def scaled(density):
    return make_pipeline(StandardScaler(), density)


def table_of_rows(explainer, X, planted, n=8):
    """Print the `n` most influential rows and what makes them so."""
    influence, log_p = explainer.self_influence(), explainer.log_density(X)
    _, nearest = explainer.proponents(X, k=2)
    print("   row   eruption   waiting   self influence   log density   next proponent")
    for row in explainer.rank_outliers(n):
        other = nearest[row][nearest[row] != row][0]
        print(
            f"  {row:4d}   {X[row, 0]:4.1f} min   {X[row, 1]:3.0f} min   "
            f"{influence[row]:9.2f} nats   {log_p[row]:6.2f} nats   row {other:3d}   "
            f"{'  planted' if planted[row] else ''}"
        )


def detection(fitted, X, planted):
    """Print how well each score finds the planted rows, by the area that the picture shows."""
    Z = StandardScaler().fit_transform(X)
    scores = {name: explainer.self_influence() for name, explainer in fitted.items()}
    scores |= {
        "LocalOutlierFactor": -LocalOutlierFactor().fit(Z).negative_outlier_factor_,
        "IsolationForest": -IsolationForest(random_state=0).fit(Z).score_samples(Z),
    }
    for name, score in scores.items():
        print(f"  {name:22} {detection_auc(planted, score):.3f}")
    print(f"  {'ideal':22} {1 - planted.mean() / 2:.3f}")
    print("  (k-NN influence looks for groups of exactly k rows, not for single ones)")
    return scores


def pictures(fitted, X, planted, scores):
    """Draw self influence, influence on one query, and detection curves."""
    query = np.array([[3.0, 65.0]])  # an eruption between the two kinds
    fig, axes = plt.subplots(2, len(fitted), figsize=(13, 8), layout="constrained")
    for column, (name, explainer) in zip(axes.T, fitted.items(), strict=True):
        SelfInfluenceDisplay.from_explainer(explainer, X, name=name, ax=column[0])
        InfluenceDisplay.from_explainer(explainer, query, X, name=name, ax=column[1])
        for ax in column:
            ax.set(xlabel="eruption [min]", ylabel="waiting [min]")
    save(fig, "geyser.png")
    save(DetectionCurveDisplay.from_influence(planted, scores).figure_, "detection.png")


def images():
    """Draw proponents and opponents of a few digits."""
    digits = load_digits()
    mixture = GaussianMixture(12, covariance_type="diag", reg_covar=1.0, random_state=0)
    projected = make_pipeline(PCA(12, random_state=0), mixture)
    explainer = GMMInfluence(projected, method="one_step").fit(digits.data[:1000])
    display = ImageGridDisplay.from_explainer(
        explainer, digits.data[1010:1014], digits.data[:1000], image_shape=(8, 8), k=5
    )
    save(display.figure_, "digits.png")


def save(figure, name):
    OUTPUT.mkdir(exist_ok=True)
    figure.savefig(OUTPUT / name, dpi=120)
    plt.close(figure)


def main():
    start = time.perf_counter()
    # A mixture flags deletions that are less certain; the table shows them all the same.
    warnings.simplefilter("ignore", DegenerateDeletionWarning)
    X, planted = geyser()
    print(f"Old Faithful: {len(X)} eruptions, {planted.sum()} of them planted.")
    fitted = {name: explainer.fit(X) for name, explainer in explainers().items()}
    for name, explainer in fitted.items():
        print(f"\nThe most influential rows under: {name}")
        table_of_rows(explainer, X, planted)
    print("\nNext proponent: the other row whose deletion would lower the density here most.")
    error = fitted["mixture of 2"].validate(n_refits=10, random_state=0).relative_error
    print(f"\nThe mixture against ten real refits: relative error {error:.1g}")
    print("\nHow well each score finds the planted rows (area under the detection curve):")
    scores = detection(fitted, X, planted)
    pictures(fitted, X, planted, scores)
    images()
    print(f"\nPictures are in {OUTPUT.resolve()}. Took {time.perf_counter() - start:.1f} s.")


if __name__ == "__main__":
    main()
