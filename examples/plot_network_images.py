"""
Which images taught the network this?
=====================================

A small convolutional network reads handwritten digits, and one label in twelve of its training
images is wrong. Which images is a wrong answer made of, which labels should be looked at first,
and what happens when they are taken out?
"""

# %%
# The network
# -----------
# Any ``torch.nn.Module`` will do. What it was trained on is said once more to the explainer: the
# loss, and the weight decay of the optimiser. Both belong to what a training *without* a row would
# have minimised.

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from skinfluence import InfluenceExplainer
from skinfluence.datasets import plant_mislabels
from skinfluence.metrics import detection_table

DECAY = 1e-3

images, digits = load_digits(return_X_y=True)
images = (images / 16).astype(np.float32)
X, X_new, y_true, y_new = train_test_split(
    images, digits, train_size=1000, test_size=300, stratify=digits, random_state=0
)
y, is_wrong = plant_mislabels(y_true, 1 / 12, random_state=0)


def trained(rows):
    """A network trained on some rows; the same start and the same order at every call."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 4 * 4, 10),
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3, weight_decay=DECAY)
    inputs, labels = torch.from_numpy(X[rows]), torch.from_numpy(y[rows])
    for _ in range(25):
        for batch in torch.randperm(len(rows)).split(100):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(inputs[batch]), labels[batch]).backward()
            optimizer.step()
    return net.eval()


def predicted(net):
    with torch.no_grad():
        return net(torch.from_numpy(X_new)).argmax(1).numpy()


def losses(net):
    with torch.no_grad():
        outputs = net(torch.from_numpy(X_new))
        return nn.functional.cross_entropy(
            outputs, torch.from_numpy(y_new), reduction="none"
        ).numpy()


net = trained(np.arange(len(X)))
print(f"{np.mean(predicted(net) == y_new):.1%} of new images are read correctly")

# %%
# Proponents and opponents
# ------------------------
# ``curvature="ekfac"`` approximates the Gauss-Newton matrix and costs little for large networks
# too (:doc:`how to choose </networks/choosing>`). Nothing is trained again. A score is the loss of
# the new image without the training image minus the loss with it, so the opponents are the images
# *without which it would be read better*.

explainer = InfluenceExplainer(
    net, loss="cross_entropy", weight_decay=DECAY, curvature="ekfac", damping=0.01
).fit(X, y)

worst = np.argsort(-losses(net))[:4]
queries = X_new[worst], y_new[worst]
captions = [f"a {y_new[i]}, read as {predicted(net)[i]}" for i in worst]
helping, hurting = explainer.proponents(*queries, k=5), explainer.opponents(*queries, k=5)


def draw(ax, image, title, colour="black"):
    ax.imshow(image.reshape(8, 8), cmap="gray_r")
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, color=colour, fontsize=8)


fig, axes = plt.subplots(4, 11, figsize=(10, 4.6), layout="constrained")
for line, query, caption, pro, contra in zip(
    axes, worst, captions, helping[1], hurting[1], strict=True
):
    draw(line[0], X_new[query], caption)
    for ax, row in zip(line[1:], np.append(pro, contra), strict=True):
        draw(ax, X[row], f"called {y[row]}", "C3" if is_wrong[row] else "black")
for column, title in (3, "proponents"), (8, "opponents"):
    axes[0, column].annotate(title, (0.5, 1.4), xycoords="axes fraction", ha="center", size=11)
plt.show()

# %%
# Labels in red are wrong. Nearly all opponents have one: they are digits like the query, called
# something else. Some proponents have one as well, which makes the query's digit likelier for the
# wrong reason.
#
# Labels to look at first
# -----------------------
# ``self_influence`` is what the loss of a training image would become without it: large for the
# images whose label nothing but themselves speaks for. The loss itself is the cheap alternative.

own = explainer.self_influence()
with torch.no_grad():
    loss = nn.functional.cross_entropy(
        net(torch.from_numpy(X)), torch.from_numpy(y), reduction="none"
    ).numpy()
score = {"self influence": own}
print(detection_table(is_wrong, score, baselines={"loss": loss}, random_state=0))


fig, axes = plt.subplots(1, 12, figsize=(10, 1.3), layout="constrained")
for ax, row in zip(axes, explainer.rank_outliers(12), strict=True):
    draw(ax, X[row], f"called {y[row]}", "C3" if is_wrong[row] else "black")
plt.show()

# %%
# Mistakes made at random are found as well by the loss alone (others are not:
# :doc:`plot_mislabels`). What the loss cannot say is whose fault the answer to a *new* image is.
#
# Is it true?
# -----------
# The fifty images that hurt the new images most, by the sum of their scores (which takes one
# solve), are taken out, and the network is trained again. Fifty drawn at random are the control.

harm = -explainer.score_influence(X_new, y_new, reduce="mean")
most_harmful = np.argsort(-harm)[:50]
at_random = np.random.default_rng(0).choice(len(X), 50, replace=False)
for name, out in {"the most harmful": most_harmful, "at random": at_random}.items():
    again = trained(np.delete(np.arange(len(X)), out))
    print(
        f"without 50 {name}: loss {losses(net).mean():.3f} -> {losses(again).mean():.3f}, "
        f"predicted {losses(net).mean() - harm[out].sum():.3f}"
    )

# %%
# Both directions are right, and both sizes are exaggerated: EK-FAC is an approximation, to first
# order fifty deletions are fifty times one, and a loss cannot fall below zero. Rankings are what
# such scores are good for.
#
# Pixel by pixel
# --------------
# How should an opponent change, so that the first of the new images would be read better after
# training again? ``perturbation`` is the derivative of the query's loss in the pixels of a
# training row. Blue: ink there lowers the loss.

opponents = hurting[1][0]
slopes = explainer.perturbation(X_new[worst[:1]], y_new[worst[:1]], rows=opponents)[0]
fig, axes = plt.subplots(2, 6, figsize=(8, 3), layout="constrained")
draw(axes[0, 0], X_new[worst[0]], captions[0])
axes[1, 0].set_visible(False)
top = np.abs(slopes).max()
for (above, below), row, slope in zip(axes[:, 1:].T, opponents, slopes, strict=True):
    draw(above, X[row], f"called {y[row]}", "C3" if is_wrong[row] else "black")
    below.imshow(slope.reshape(8, 8), cmap="RdBu_r", vmin=-top, vmax=top)
    below.set(xticks=[], yticks=[])
plt.show()
