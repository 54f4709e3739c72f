"""
Which digits make this digit likely?
====================================

Rows may be images. Here are two densities of handwritten digits, and the training images that
speak for and against a new one.
"""

# %%
# A pipeline projects the 64 pixels to twelve principal components, and the last step is the
# density. The explainer takes the whole pipeline: rows are deleted from the density, the
# projection stays.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline

from skinfluence import GMMInfluence, KDEInfluence
from skinfluence.displays import ImageGridDisplay

digits = load_digits()
X, y = digits.data[:1000], digits.target[:1000]
queries = np.array([1010, 1016, 1024, 1032])
Z = digits.data[queries]
captions = [f"a {digits.target[row]}" for row in queries]


def projected(density):
    return make_pipeline(PCA(12, random_state=0), density)


# %%
# Kernel density: proponents are the nearest images. All the others are opponents by the same
# small amount, so there is no "strongest" opponent to learn from.

kde = KDEInfluence(projected(KernelDensity(bandwidth=8.0))).fit(X)
ImageGridDisplay.from_explainer(
    kde, Z, X, image_shape=(8, 8), k=5, query_names=captions, name="kernel density"
)
plt.show()

# %%
# A mixture of twelve Gaussians: opponents are images that the query's component has to cover as
# well, at the query's expense.

mixture = GaussianMixture(12, covariance_type="diag", reg_covar=1.0, random_state=0)
gmm = GMMInfluence(projected(mixture), method="one_step").fit(X)
ImageGridDisplay.from_explainer(
    gmm, Z, X, image_shape=(8, 8), k=5, query_names=captions, name="mixture of 12 Gaussians"
)
plt.show()

# %%
# How often do they show the digit of the query? Over 200 new images:

Z, z_digit = digits.data[1000:1200], digits.target[1000:1200]
for name, explainer in (("kernel density", kde), ("mixture", gmm)):
    same = [
        np.mean(y[strongest(Z, k=1)[1][:, 0]] == z_digit)
        for strongest in (explainer.proponents, explainer.opponents)
    ]
    print(f"{name:15} strongest proponent {same[0]:.0%}, strongest opponent {same[1]:.0%}")

# %%
# Whom does the model bend for? The ten most influential images on themselves, and the ten least.

order = kde.rank_outliers()
fig, axes = plt.subplots(2, 10, figsize=(9, 2.2), layout="constrained")
for ax, row in zip(axes.flat, np.append(order[:10], order[-10:]), strict=True):
    ax.imshow(X[row].reshape(8, 8), cmap="gray_r")
    ax.set(xticks=[], yticks=[], xlabel=f"{y[row]}")
axes[0, 0].set_ylabel("highest")
axes[1, 0].set_ylabel("lowest")
fig.suptitle("self influence under the kernel density")
plt.show()
