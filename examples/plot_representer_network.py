"""
Rows that excite, and rows that inhibit
=======================================

The output of a network is a sum over its training images: how like the new image each one is, to
the features of the last layer, times how hard it pulls there. Yeh et al. (2018) call the large
terms *representer points*. Here they are for a small convolutional network that reads digits, for
answers that are right and for some that are not.
"""

# %%
# The network
# -----------
# It is trained without a thought of explaining it. Only its last layer is fitted again, with an l2
# penalty, to the outputs that the network has: the largest penalty that reproduces what a softmax
# makes of them with a correlation of .999, and them as well, if any does.

import warnings

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from skinfluence import RepresenterExplainer
from skinfluence.exceptions import NotStationaryWarning

images, digits = load_digits(return_X_y=True)
images = (images / 16).astype(np.float32)
X, X_new, y, y_new = train_test_split(
    images, digits, train_size=1000, test_size=400, stratify=digits, random_state=0
)


def trained(labels):
    """A network trained on all rows; the same start and the same order at every call."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 4 * 4, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    inputs, labels = torch.from_numpy(X), torch.from_numpy(labels)
    for _ in range(30):
        for batch in torch.randperm(len(X)).split(100):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(inputs[batch]), labels[batch]).backward()
            optimizer.step()
    return net.eval()


def logits(net, rows):
    with torch.no_grad():
        return net(torch.from_numpy(rows)).numpy()


net = trained(y)
answer = logits(net, X_new).argmax(1)
explainer = RepresenterExplainer(net, loss="cross_entropy").fit(X, y)
print(f"{np.mean(answer == y_new):.1%} of new images are read correctly")
found = explainer.validate(X_new)
print(
    f"l2 = {explainer.l2_:.2g}; on new images outputs correlate at {found.pearson:.4f}, "
    f"probabilities at {found.activated_pearson:.4f}"
)

# %%
# The decomposition
# -----------------
# Whatever class is asked about, the values of all training images and the intercept add up to the
# output of the refitted layer. That is the network's, less a number that all classes share, which
# a softmax does not see, and but for what the penalty costs.

at = [int(np.flatnonzero((y_new == digit) & (answer == digit))[0]) for digit in (3, 8)]
values = explainer.score_influence(X_new[at], target_class=[3, 8])
for row, digit, value in zip(at, (3, 8), values, strict=True):
    print(
        f"{digit}: {value[value > 0].sum():.1f} that excite {value[value < 0].sum():.1f} that "
        f"inhibit, intercept {explainer.intercept_[digit]:.1f}: "
        f"{value.sum() + explainer.intercept_[digit]:.1f}; the network has "
        f"{logits(net, X_new[[row]])[0, digit]:.1f}"
    )


def draw(ax, image, title="", colour="black", **style):
    ax.imshow(image.reshape(8, 8), **{"cmap": "gray_r", **style})
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, color=colour, fontsize=8)


def draw_sides(explainer, labels, queries, captions, classes, marked=()):
    """Each query with the rows that excite the class most, and those that inhibit it most."""
    asked = {"k": 5, "target_class": classes, "return_scores": False}
    excite = explainer.proponents(X_new[queries], **asked)
    inhibit = explainer.opponents(X_new[queries], **asked)
    size = (10, 1.2 * len(queries) + 0.4)
    _, axes = plt.subplots(len(queries), 11, figsize=size, layout="constrained")
    for line, query, caption, pro, contra in zip(
        axes, queries, captions, excite, inhibit, strict=True
    ):
        draw(line[0], X_new[query], caption)
        for ax, row in zip(line[1:], np.append(pro, contra), strict=True):
            draw(ax, X[row], f"called {labels[row]}", "C3" if row in marked else "black")
    for column, title in (3, "excite"), (8, "inhibit"):
        axes[0, column].annotate(title, (0.5, 1.4), xycoords="axes fraction", ha="center", size=11)
    plt.show()
    return excite, inhibit


draw_sides(explainer, y, at, ["a 3", "an 8"], [3, 8])

# %%
# The same images again and again
# -------------------------------
# Features behind a rectifier are never negative, so that every training image is somewhat like
# every new one, and images that pull hard come first for *all* images of a class. How many
# different ones are there among the three that are shown?

right = np.flatnonzero(answer == y_new)
for name, rows in {
    "excite": explainer.proponents(X_new[right], k=3, return_scores=False),
    "inhibit": explainer.opponents(X_new[right], k=3, return_scores=False),
}.items():
    same = np.mean(y[rows] == y_new[right][:, None])
    print(
        f"{len(np.unique(rows))} images {name} {len(right)} new ones; {same:.0%} are of the class"
    )

# %%
# ``global_importance`` has these without any query.

importance = explainer.global_importance()
largest = np.sort(importance)[::-1][:20].sum()
print(f"the twenty largest of {len(X)} are {largest / importance.sum():.0%} of their sum")

# %%
# A mistake explained
# -------------------
# In the paper, antelopes are taken for deer, and antelopes with a wrong label inhibit *antelope*.
# Let a tenth of the 8s be called 1 in the training, and train again. Now some 8s are taken for
# a 1. In mode "trained" the last layer is fitted to the labels, and alpha says how hard a label
# pulls. That layer is another one than the network's, and a warning would say how far apart they
# are.

rng = np.random.default_rng(0)
bad = rng.choice(np.flatnonzero(y == 8), 10, replace=False)
y_bad = y.copy()
y_bad[bad] = 1
misled = trained(y_bad)
outputs = logits(misled, X_new)
eights = np.flatnonzero(y_new == 8)
worst = eights[np.argsort(-(outputs[eights, 1] - outputs[eights, 8]))[:4]]
captions = [f"an 8, read as {outputs[row].argmax()}" for row in worst]

of_labels = RepresenterExplainer(misled, loss="cross_entropy", mode="trained", l2=1e-3 * len(X))
with warnings.catch_warnings():
    warnings.simplefilter("ignore", NotStationaryWarning)
    of_labels.fit(X, y_bad)
print(f"outputs of the two correlate at {of_labels.reconstruction_.pearson:.2f}")
excite, inhibit = draw_sides(of_labels, y_bad, worst, captions, 8, marked=bad)
share = np.isin(inhibit, bad).mean()
base = len(bad) / np.sum(y_bad == 1)
print(f"wrong labels: {share:.0%} of those that inhibit 8, {base:.0%} of all that are called 1")

# %%
# Labels in red are wrong. To find them without a query, ``rank_outliers`` takes the size of alpha
# for the class that a row is said to have.

print(f"{np.isin(of_labels.rank_outliers(10), bad).sum()} of the first ten are wrong")

# %%
# Pixel by pixel
# --------------
# The derivative of the output in the pixels of a new image is a sum over the training images, too.
# Left, all of it; then the parts of the images that excite most. Blue: more ink there excites the
# class.

rows = explainer.proponents(X_new[at[:1]], k=5, return_scores=False)[0]
parts = explainer.sensitivity(X_new[at[:1]], rows=rows, n_samples=20, random_state=0)[0]
whole = explainer.sensitivity(X_new[at[:1]], n_samples=20, random_state=0)[0].sum(axis=0)
fig, axes = plt.subplots(2, 6, figsize=(8, 3), layout="constrained")
draw(axes[0, 0], X_new[at[0]], "a 3")
top = np.abs(whole).max()
draw(axes[1, 0], whole, "all", cmap="RdBu", vmin=-top, vmax=top)
for (above, below), row, part in zip(axes[:, 1:].T, rows, parts, strict=True):
    draw(above, X[row], f"called {y[row]}")
    top = np.abs(part).max()
    draw(below, part, cmap="RdBu", vmin=-top, vmax=top)
plt.show()
