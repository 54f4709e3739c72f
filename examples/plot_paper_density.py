r"""
Three densities, three ideas of influence
=========================================

Six clusters in the plane, and three ways to turn them into a density: nearest neighbours, kernels
and a Gaussian mixture. Which rows does each of them bend for? And which rows are responsible for
the density at one point? This is the experiment of section 3 and appendix B.1 of Kong & Chaudhuri
(2021), figures 7 to 9 and table 2.
"""

# %%
# The rows and the models
# -----------------------
# Sizes and spreads are the paper's: 25, 15, 20, 25, 10 and 5 rows, with standard deviations from
# 0.4 to 1.0. Note cluster 4, which has ten rows, the ``n_neighbors`` of the first model.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity, NearestNeighbors

from skinfluence import GMMInfluence, KDEInfluence, KNNInfluence
from skinfluence.datasets import make_six_clusters
from skinfluence.displays import InfluenceDisplay, SelfInfluenceDisplay

X, cluster = make_six_clusters(random_state=0)

mixture = GaussianMixture(6, covariance_type="spherical", n_init=10, random_state=0)
explainers = {
    "k-NN": KNNInfluence(NearestNeighbors(n_neighbors=10)),
    "KDE": KDEInfluence(KernelDensity(bandwidth=1.0)),
    "mixture": GMMInfluence(mixture, method="refit"),  # exact, like the other two
}
for explainer in explainers.values():
    explainer.fit(X)

# %%
# Figure 7: the rows over the log density of each model, one nat from shade to shade.

low, high = X.min(axis=0) - 2, X.max(axis=0) + 2
grid = np.stack(np.meshgrid(*np.linspace(low, high, 150).T), axis=-1)

fig, axes = plt.subplots(1, 3, figsize=(11, 3.9), sharex=True, sharey=True, layout="constrained")
for ax, (name, explainer) in zip(axes, explainers.items(), strict=True):
    log_p = explainer.log_density(grid.reshape(-1, 2)).reshape(grid.shape[:2])
    levels = np.floor(log_p.max()) + np.arange(-12, 1)
    ax.contourf(
        *np.moveaxis(grid, -1, 0),
        log_p,
        levels=levels,
        vmax=levels[-1] + 8,
        cmap="Greys",
        extend="both",
    )
    ax.scatter(*X.T, c=cluster, cmap="Set1", vmax=8, s=16, ec="white", lw=0.4)
    ax.set(title=name, aspect="equal")
plt.show()

# %%
# Whom does the model bend for?
# -----------------------------
# Figure 8. Self influence is the log density that a row loses when it is deleted itself: over the
# rows, and against their log density.

self_influence = {name: explainer.self_influence() for name, explainer in explainers.items()}
log_density = {name: explainer.log_density(X) for name, explainer in explainers.items()}

fig, axes = plt.subplots(2, 3, figsize=(11, 7), layout="constrained")
for column, name in zip(axes.T, explainers, strict=True):
    for ax, kind in zip(column, ("scatter", "density"), strict=True):
        SelfInfluenceDisplay.from_influence(
            self_influence[name], X, log_density=log_density[name], kind=kind, name=name, ax=ax
        )
plt.show()

# %%
# Three answers.
#
# *k-NN* bends for a group of exactly k rows: the ten rows of cluster 4 have the ten highest
# self influences. The lone rows of cluster 5 do not stand out, though nothing is more
# isolated.
#
# *KDE* bends for rows in empty places, whatever cluster they belong to. The picture below is a
# single falling curve: self influence is likelihood in reverse.
#
# *The mixture* bends for rows far from the centre of their own cluster, and for all rows of a
# small cluster.

for name, score in self_influence.items():
    top = np.argsort(-score)[:10]
    print(f"{name:8}  clusters of the ten highest: {cluster[top]}")

# %%
# Who is responsible for one point?
# ---------------------------------
# Figure 9. The query is the row nearest to the centre of cluster 0. Proponents are red, opponents
# blue.

centre = X[cluster == 0].mean(axis=0)
query = X[[np.argmin(np.sum((X - centre) ** 2, axis=1))]]
influence = {name: e.score_influence(query)[0] for name, e in explainers.items()}
distance = np.sqrt(np.sum((X - query) ** 2, axis=1))

fig, axes = plt.subplots(2, 3, figsize=(11, 7), layout="constrained")
for column, name in zip(axes.T, explainers, strict=True):
    for ax, kind in zip(column, ("scatter", "distance"), strict=True):
        InfluenceDisplay.from_influence(influence[name], X, query, kind=kind, name=name, ax=ax)
plt.show()

# %%
# The same, for cluster 0 only.

own = cluster == 0
fig, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
for ax, name in zip(axes, explainers, strict=True):
    InfluenceDisplay.from_influence(influence[name][own], X[own], query, name=name, ax=ax)
plt.show()

# %%
# In all three the strongest proponents are the nearest rows. For *k-NN* they are the ten nearest,
# all alike. *KDE* is its soft version: influence fades with distance, and the rows of other
# clusters are slight opponents, because they hold weight and give nothing. In the *mixture* the
# strongest opponents are rows of *the same cluster*. The query is near the centre, and rows far
# out make the cluster wider than the query would have it. A parametric model has few parameters,
# and rows of one cluster compete for them.

for name, score in influence.items():
    order = np.argsort(-score)
    print(
        f"{name:8}  proponents from clusters {cluster[order[:5]]}, "
        f"opponents from clusters {cluster[order[::-1][:5]]}"
    )
