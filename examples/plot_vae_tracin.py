"""
What a variational auto-encoder bends for
=========================================

Images without labels, and some that do not belong: digits, and forty of them lie on their side. A
variational auto-encoder is trained on all. Which images did it have to bend for, and which others
taught it a new one? This is VAE-TracIn (Kong & Chaudhuri 2021): training, traced by the gradients
of the evidence lower bound.
"""

# %%
# Train, record, trace
# --------------------
# ``BetaVAE`` records ten states of its training. The loss is an expectation over latents, so that
# a gradient is a mean over draws of them: eight here, other ones for every image and checkpoint.

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import KernelDensity

from skinfluence import KDEInfluence, TracInExplainer
from skinfluence.displays import ImageGridDisplay
from skinfluence.metrics import detection_table, identical_class_rate, self_proponent_rate
from skinfluence.torch import BetaVAE

images, digits = load_digits(return_X_y=True)
X = (images / 16).astype(np.float32)
lying = np.sort(np.random.default_rng(0).choice(len(X), 40, replace=False))
X[lying] = np.rot90(X[lying].reshape(-1, 8, 8), axes=(1, 2)).reshape(-1, 64)
is_foreign = np.isin(np.arange(len(X)), lying)

vae = BetaVAE(8, noise_scale=0.3, hidden=(128, 64), max_epochs=60, random_state=0)
explainer = TracInExplainer(vae, n_draws=8, contamination=None, random_state=0).fit(X)
print(explainer.checkpoints_)
print("a score is a", explainer.score_unit_)

# %%
# Self influence
# --------------
# How much the steps of an image did to its own loss. It is large where the loss is large (each
# point is an image, the foreign ones are red), and not the same: an image can be hard and alone,
# or hard like a hundred others.

own, error = explainer.self_influence(return_std=True)
loss = -explainer.estimator_.score_samples(X)
print(f"standard error by the draws: {np.median(error / own):.1%} of a self influence (median)")
print(f"rank correlation with the loss: {spearmanr(own, loss).statistic:.2f}")

fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
ax.scatter(loss[~is_foreign], own[~is_foreign], s=6, c="0.6", label="upright")
ax.scatter(loss[is_foreign], own[is_foreign], s=16, c="C3", label="on their side")
ax.set(xlabel="loss [nats]", ylabel="self influence", yscale="log")
ax.legend()
plt.show()

# %%
# Which order finds the foreign images first? Beside it orders that need no network.

trivial = {
    "loss of the VAE": loss,
    "kernel density": KDEInfluence(KernelDensity(bandwidth=0.6), contamination=None)
    .fit(X)
    .self_influence(),
    "IsolationForest": -IsolationForest(random_state=0).fit(X).score_samples(X),
}
print(detection_table(is_foreign, {"VAE-TracIn": own}, baselines=trivial, random_state=0))

# %%
# It finds them; so do the others, and faster. Foreign rows of another kind are found less well by
# it than by a kernel density: :doc:`the guide has a table </tracing/cleaning>`.
#
# The twelve images that were bent for most, and for least:

order = np.argsort(-own)
fig, axes = plt.subplots(2, 12, figsize=(10, 2.2), layout="constrained")
for line, rows, name in zip(axes, (order[:12], order[-12:]), ("high", "low"), strict=True):
    for ax, row in zip(line, rows, strict=True):
        ax.imshow(X[row].reshape(8, 8), cmap="gray_r")
        ax.set(xticks=[], yticks=[])
    line[0].set_ylabel(name)
plt.show()

# %%
# Who taught it this image?
# -------------------------
# Proponents are the training images whose steps lowered the loss of the query most, opponents
# those whose steps raised it.

normal = np.flatnonzero(~is_foreign)[[3, 6, 9]]
queries = np.append(normal, lying[0])
ImageGridDisplay.from_explainer(
    explainer,
    X[queries],
    image_shape=(8, 8),
    k=5,
    query_names=[*(f"a {digits[i]}" for i in normal), "foreign"],
    name="VAE-TracIn",
)
plt.show()

# %%
# For the first hundred images: how often is an image its own strongest proponent, and how many of
# the strongest proponents and opponents are the same digit?

scores = explainer.score_influence(X[:100])
print(f"its own strongest proponent: {self_proponent_rate(scores, rows=np.arange(100)):.0%}")
for name, found in ("proponents", scores), ("opponents", -scores):
    rate = identical_class_rate(found, digits[:100], digits, k=10)
    print(f"the same digit among the ten strongest {name}: {rate:.0%}")

# %%
# One digit in ten would be the same by chance. Opponents are other digits here, those farthest
# away from the query; near the end of a longer training they are the same digit, written otherwise
# (:doc:`/notebooks/from_densities_to_vaes` shows both). What training *without* a proponent would
# end in is another question, and no score here answers it.
