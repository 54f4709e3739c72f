"""
Why was it so sure?
===================

Two classes with a wide gap between them, and a network that is certain of every point. Influence
on the loss has next to nothing to say about such points, as no row alone could raise a loss that
is a few millionths. Representer values are about the *output*, and say what it is made of (Yeh et
al. 2018, figure 8).
"""

# %%
# Two squares
# -----------

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

from skinfluence import InfluenceExplainer, RepresenterExplainer

rng = np.random.default_rng(0)
y = np.repeat([0, 1], 100)
X = rng.uniform(-1, 1, (200, 2)) + np.where(y == 1, 2.0, -2.0)[:, None] * [1.0, 0.0]
X = X.astype(np.float32)
query, its_class = np.array([[2.0, 0.0]], dtype=np.float32), np.array([1])


def trained(rows, decay=1e-4):
    """A hidden layer of rectifiers, trained long beyond the last mistake."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 2))
    inputs, labels = torch.from_numpy(X[rows]), torch.from_numpy(y[rows])

    def objective():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(inputs), labels)
        loss = loss + decay / 2 * net[2].weight.square().sum()
        loss.backward()
        return loss

    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(1500):
        optimizer.step(objective)
    # The last layer on its own, to its minimum, where it is a sum over the rows.
    optimizer = torch.optim.LBFGS(
        net[2].parameters(), max_iter=300, tolerance_change=0, line_search_fn="strong_wolfe"
    )
    optimizer.step(objective)
    return net.eval()


net = trained(np.arange(200))

# %%
# Two answers
# -----------
# In mode "trained" the last layer minimises the loss of the labels with an l2 penalty, here that
# of its training (``l2`` is beside the *sum* of the losses).

l2 = 1e-4 * len(X)
representers = RepresenterExplainer(net, loss="cross_entropy", mode="trained", l2=l2).fit(X, y)
last_layer = {
    "loss": "cross_entropy",
    "params": "last_layer",
    "curvature": "ggn",
    "weight_decay": {"2.weight": 1e-4},
}
influence = InfluenceExplainer(net, **last_layer).fit(X, y)
print(f"layer and network correlate at {representers.reconstruction_.pearson:.3f}")

values = representers.score_influence(query, target_class=1)[0]
changes = influence.score_influence(query, its_class)[0]
print(f"largest representer value {np.abs(values).max():.2g}, of an output of {values.sum():.1f}")
print(f"largest influence on the loss {np.abs(changes).max():.2g} nats")

fig, axes = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
for ax, shown, title in zip(
    axes, (values, changes), ("representer values", "influence on the loss"), strict=True
):
    top = np.abs(shown).max()
    points = ax.scatter(*X.T, c=shown, cmap="coolwarm_r", vmin=-top, vmax=top, s=25, ec="0.6")
    ax.scatter(*query.T, marker="s", s=90, color="C2", ec="black", label="query")
    ax.set(title=title, aspect="equal")
    fig.colorbar(points, ax=ax, shrink=0.8)
axes[0].legend(loc="upper center")
plt.show()

# %%
# Blue points excite the class on the right. Only points at the gap have values to speak of: they
# are what the boundary rests upon, as the support vectors of a support vector machine. Those on
# the left inhibit it, but by little, since few rectifiers are active on both sides and rows are
# hardly alike. The colours of the right panel are as strong, and its bar says what for.

gap = np.abs(X[:, 0]) - 1
strongest = np.argsort(-np.abs(values))
print(f"the ten strongest lie {gap[strongest[:10]].mean():.2f} from the gap, others", end=" ")
print(f"{gap[strongest[10:]].mean():.2f}")
print(f"sign is that of the class for {np.mean((values > 0) == (y == 1)):.0%} of the rows")

# %%
# Neither is wrong
# ----------------
# A large representer value does not say that the row is *needed*. Without the strongest of them,
# the network is trained again, and it is as sure as before; this is what influence had said.


def margin(net):
    with torch.no_grad():
        below, above = net(torch.from_numpy(query)).double()[0]
    return float(above - below)


without = trained(np.delete(np.arange(200), strongest[0]))
print(f"logit of the query {margin(net):.2f}; without the strongest row {margin(without):.2f}")

# %%
# To ask what deletion does to the *output*, which is not flat, there is
# ``target="decision_function"``. A row that supports the output has a negative score there.

of_output = InfluenceExplainer(net, target="decision_function", **last_layer).fit(X, y)
moved = of_output.score_influence(query, its_class)[0]
print(f"largest influence on the output {np.abs(moved).max():.2g}")
