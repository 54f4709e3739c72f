"""What a curvature, a solver and a damping do to the scores of a small network.

The truth is training to the minimum without a row: on from the fitted parameters, and once more
from the start.
"""

import time
import warnings
from copy import deepcopy

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn.functional import cross_entropy

from skinfluence import InfluenceExplainer
from skinfluence.datasets import plant_mislabels
from skinfluence.metrics import agreement
from skinfluence.torch import Lissa

DECAY = 0.01
N_DELETED = 12

images, digits = load_digits(return_X_y=True)
X, X_new, y, y_new = train_test_split(
    images / 16, digits, train_size=500, test_size=200, stratify=digits, random_state=0
)
y, _ = plant_mislabels(y, 0.05, random_state=0)
rows, labels = torch.tensor(X), torch.tensor(y)
queries, answers = torch.tensor(X_new), torch.tensor(y_new)


def untrained():
    """64 pixels, 32 hidden units, 10 digits; the same start at every call."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10)).double()


def trained(net, kept, steps):
    """The network at the minimum over some rows that it is near to."""
    weights = list(net.parameters())
    optimizer = torch.optim.LBFGS(
        weights, max_iter=steps, history_size=30, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        penalty = DECAY / 2 * sum(weight.square().sum() for weight in weights)
        value = cross_entropy(net(rows[kept]), labels[kept]) + penalty
        value.backward()
        return value.detach()

    optimizer.step(closure)
    return net


def losses(net):
    with torch.no_grad():
        return cross_entropy(net(queries), answers, reduction="none").numpy()


everything = np.arange(len(rows))
net = trained(untrained(), everything, steps=2000)


def scored(**options):
    """Scores of all rows on all queries, and the seconds they took."""
    begun = time.process_time()
    explainer = InfluenceExplainer(net, loss="cross_entropy", weight_decay=DECAY, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of residuals: the table has their errors
        scores = explainer.fit(X, y).score_influence(X_new, y_new)
    return scores, time.process_time() - begun


exact, seconds = scored(solver="dense")
rng = np.random.default_rng(0)
largest = np.argsort(-np.abs(exact).sum(0))[: N_DELETED // 2]
others = rng.choice(np.setdiff1d(everything, largest), N_DELETED // 2, replace=False)
deleted = np.append(largest, others)
kept = [np.delete(everything, i) for i in deleted]
truth = np.transpose([losses(trained(deepcopy(net), k, 300)) - losses(net) for k in kept])
again = np.transpose([losses(trained(untrained(), k, 600)) - losses(net) for k in kept])

CASES = {
    "``ggn``, ``dense``": {"solver": "dense"},
    "``ggn``, ``cg``": {"solver": "cg"},
    "``ggn``, ``arnoldi``, 100 directions": {"solver": "arnoldi"},
    "``ggn``, ``nystroem``, 100 directions": {"solver": "nystroem"},
    "``ggn``, ``lissa``, 100 steps": {"solver": Lissa(depth=100)},
    "``ggn``, ``ekfac`` corrected by 100 rows": {"solver": "ekfac"},
    "``ekfac``": {"curvature": "ekfac"},
    "``kfac``": {"curvature": "kfac"},
    "``fisher``, ``dense``": {"curvature": "fisher", "solver": "dense"},
    "``datainf``": {"solver": "datainf"},
    "``hessian``, ``dense``": {"curvature": "hessian", "solver": "dense"},
    '``method="newton"``': {"method": "newton"},
    "no curvature (``damping=1e4``)": {"damping": 1e4, "solver": "cg"},
}


def against(scores, reference):
    found = agreement(scores, reference)
    return [f"{found.pearson:.3f}", f"{100 * found.relative_error:,.0f}\N{NO-BREAK SPACE}%"]


header = (
    "Curvature, solver",
    "seconds",
    "Pearson with exact",
    "error",
    "... with training on",
    "error",
    "... with training anew",
)
table = []
for name, options in CASES.items():
    scores, spent = scored(**options)
    table.append(
        [
            name,
            f"{spent:.2f}",
            *against(scores, exact),
            *against(scores[:, deleted], truth),
            against(scores[:, deleted], again)[0],
        ]
    )

damping_header = ("``damping``", "Pearson with training on", "slope", "error")
damping_table = []
for damping in (0, 0.001, 0.01, 0.1, 1):
    found = agreement(scored(damping=damping)[0][:, deleted], truth)
    damping_table.append(
        [
            f"{damping:g}",
            f"{found.pearson:.3f}",
            f"{found.slope:.2f}",
            f"{100 * found.relative_error:.0f}\N{NO-BREAK SPACE}%",
        ]
    )
