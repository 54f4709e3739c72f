"""
Recording a loop of torch
=========================

The training loop below is like any other, but for one line: a recorder watches the optimiser. What
it has kept tells, for a small convolutional network, which training images made it read an image
as it does, at which time, and which of them do harm.
"""

# %%
# The loop
# --------
# ``watch`` keeps the state before the first step and after the last, counts the steps and adds up
# their learning rates. With ``keep=`` the distance between checkpoints doubles as the training
# goes on, so that nobody has to know its length; ``at=`` names the steps instead. Gradients are
# largest in the beginning, so that is where checkpoints are wanted.

import tempfile

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from skinfluence import TracInExplainer
from skinfluence.checkpoints import CheckpointRecorder, read_checkpoints
from skinfluence.datasets import plant_mislabels
from skinfluence.metrics import detection_table

images, digits = load_digits(return_X_y=True)
images = (images / 16).astype(np.float32)
X, X_new, y_true, y_new = train_test_split(
    images, digits, train_size=1000, test_size=300, stratify=digits, random_state=0
)
y, is_wrong = plant_mislabels(y_true, 1 / 12, random_state=0)
STEPS = 300


def trained(rows, recorder=None):
    """A network trained on some rows; the same start at every call."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 8, 3, padding=1),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(16 * 4 * 4, 10),
    )
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    inputs, labels = torch.from_numpy(X[rows]), torch.from_numpy(y[rows])

    def loop():
        done = 0
        while done < STEPS:
            for batch in torch.randperm(len(rows)).split(100):
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(inputs[batch]), labels[batch]).backward()
                optimizer.step()
                done += 1

    if recorder is None:
        loop()
    else:
        with recorder.watch(net, optimizer, n_rows=len(rows)):  # the one line
            loop()
    return net.eval()


directory = tempfile.TemporaryDirectory()
steps = {*range(10), *range(10, STEPS + 1, 10)}
net = trained(np.arange(len(X)), CheckpointRecorder(directory.name, at=steps))
checkpoints = read_checkpoints(directory.name)
print(checkpoints)

# %%
# The files are safetensors with a manifest, so that any other session can read them.

explainer = TracInExplainer(net, checkpoints=checkpoints, loss="cross_entropy").fit(X, y)
found = explainer.validate(X_new, y_new)
print(
    f"mean fall of the loss of a new image: {found.actual.mean():.2f}; "
    f"mean sum of its scores: {found.estimated.mean():.2f}; correlation {found.pearson:.2f}"
)

# %%
# The sums are about the falls. They would not be with a larger learning rate, with ``ReLU`` and
# pooling by maxima, or with fifteen checkpoints instead of forty: sizes would then be wrong, also
# relative to each other, and ``validate`` is how to notice.
#
# When was it learnt?
# -------------------
# A slice of the checkpoints is the training up to then. Here is the image with the largest loss,
# and what the training images of each label had done to that loss by then.


def losses(net):
    with torch.no_grad():
        outputs = net(torch.from_numpy(X_new))
        return nn.functional.cross_entropy(
            outputs, torch.from_numpy(y_new), reduction="none"
        ).numpy()


worst = int(np.argmax(losses(net)))
with torch.no_grad():
    answer = int(net(torch.from_numpy(X_new[[worst]])).argmax())
ends = np.unique(np.geomspace(2, len(checkpoints), 10).round().astype(int))
parts = []
for end in ends:
    so_far = TracInExplainer(net, checkpoints=checkpoints[:end], loss="cross_entropy").fit(X, y)
    scores = so_far.score_influence(X_new[[worst]], y_new[[worst]])[0]
    parts.append([scores[y == label].sum() for label in range(10)])
times = [checkpoints.steps[end - 1] for end in ends]


def draw(ax, image, title, colour="black"):
    ax.imshow(image.reshape(8, 8), cmap="gray_r")
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, color=colour, fontsize=8)


fig, (left, right) = plt.subplots(
    1, 2, figsize=(9, 3.6), width_ratios=(1, 3), layout="constrained"
)
draw(left, X_new[worst], f"a {y_new[worst]}, read as {answer}")
for label, line in enumerate(np.transpose(parts)):
    own, taken = label == y_new[worst], label == answer
    style = {"color": "C2" if own else "C3", "lw": 2} if own or taken else {"color": "0.8"}
    right.plot(times, line, **style)
    if own or taken:
        right.annotate(f"called {label}", (STEPS, line[-1]), (4, 0), textcoords="offset points")
right.axhline(0, color="0.5", lw=0.8)
right.set_xscale("log")
right.set(xlabel="step", ylabel="what they took off the loss [nats]")
right.margins(x=0.15)
plt.show()

# %%
# Two forces pull at it, each of them many times the loss that there is to lose, and what remains
# is their small difference. That is why a score is no prediction of what happens *without* the
# row: the other force would have gone with it.
#
# Whom to look at
# ---------------
# Self influence for wrong labels, beside the loss; and, with some new images whose labels are
# trusted, the training images that do harm, by the sum of their scores over these.

own = explainer.self_influence()
with torch.no_grad():
    outputs = net(torch.from_numpy(X))
    loss = nn.functional.cross_entropy(outputs, torch.from_numpy(y), reduction="none").numpy()
trusted, left_over = np.arange(150), np.arange(150, 300)
harm = -explainer.score_influence(X_new[trusted], y_new[trusted], reduce="mean")
scores = {"self influence": own, "harm": harm}
print(detection_table(is_wrong, scores, baselines={"loss": loss}, random_state=0))

fig, axes = plt.subplots(1, 12, figsize=(10, 1.3), layout="constrained")
for ax, row in zip(axes, np.argsort(-harm), strict=False):
    draw(ax, X[row], f"called {y[row]}", "C3" if is_wrong[row] else "black")
plt.show()

# %%
# Labels in red are wrong. Without the eighty that do most harm, and without eighty at random, the
# network is trained again; its loss is taken on the new images that did *not* choose them.

everything = np.arange(len(X))
at_random = np.random.default_rng(0).choice(len(X), 80, replace=False)
print(f"trained on all: loss {losses(net)[left_over].mean():.3f}")
for name, out in {
    "the most harmful": np.argsort(-harm)[:80],
    "the largest self influence": np.argsort(-own)[:80],
    "the largest loss": np.argsort(-loss)[:80],
    "at random": at_random,
}.items():
    again = losses(trained(np.delete(everything, out)))[left_over].mean()
    print(f"without 80 by {name}: {again:.3f}")
directory.cleanup()

# %%
# Taking out what self influence finds helps much, and what the loss finds helps as much: mistakes
# made at random are what the loss finds best, at no cost. The harm done to others, which is what
# one would wish to know, is a difference of large numbers and the weakest of the three.
