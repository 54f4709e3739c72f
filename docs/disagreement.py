"""The same influence under other conventions: what each difference does to the numbers."""

import numpy as np
from scipy.special import expit
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import scale

from skinfluence import InfluenceExplainer, polish
from skinfluence.metrics import agreement

C = 0.1
X, y = load_breast_cancer(return_X_y=True)
X = scale(X)
n, p = X.shape

model = polish(LogisticRegression(C=C, max_iter=1000).fit(X, y), X, y)
truth = InfluenceExplainer(model, method="refit").fit(X, y).score_influence(X, y)
newton = InfluenceExplainer(model).fit(X, y).score_influence(X, y)

rows = np.column_stack([X, np.ones(n)])
proba = expit(rows @ np.append(model.coef_, model.intercept_))
gradients = (proba - y)[:, None] * rows
penalty = np.diag(np.append(np.full(p, 1 / C), 0.0))
hessian = (proba * (1 - proba) * rows.T) @ rows + penalty


def first_order(matrix=hessian, g=gradients):
    """``g_z' matrix^-1 g_i``: the first-order effect of a deletion."""
    return g @ np.linalg.solve(matrix, g.T)


def in_batches(size):
    """Mean over batches of the mean Hessian of a batch, the last one shorter, times n."""
    starts = np.arange(0, n, size)
    means = [(proba * (1 - proba))[s : s + size] * rows[s : s + size].T for s in starts]
    blocks = [m @ rows[s : s + size] / m.shape[1] for m, s in zip(means, starts, strict=True)]
    return n * np.mean(blocks, axis=0) + penalty


def early():
    """First order at the parameters of a solver that stopped early."""
    loose = LogisticRegression(C=C, tol=1e-1).fit(X, y)
    q = expit(rows @ np.append(loose.coef_, loose.intercept_))
    h = (q * (1 - q) * rows.T) @ rows + penalty
    return first_order(h, (q - y)[:, None] * rows)


CASES = {
    "Newton step (the default here)": newton,
    "first order": first_order(),
    "... of *adding* a row": -first_order(),
    "... the derivative by a row's weight in a mean": -n * first_order(),
    "... penalty left out of the Hessian": first_order(hessian - penalty),
    "... penalty also on the intercept": first_order(
        hessian + np.diag(np.append(np.zeros(p), 1 / C))
    ),
    "... intercept left out": first_order(hessian[:-1, :-1], gradients[:, :-1]),
    "... damping 0.01 on the mean Hessian": first_order(hessian + 0.01 * n * np.eye(p + 1)),
    "... damping 0.1": first_order(hessian + 0.1 * n * np.eye(p + 1)),
    "... outer products of gradients for the Hessian": first_order(
        gradients.T @ gradients + penalty
    ),
    "... the mean of batches of 100": first_order(in_batches(100)),
    "... the mean of batches of 284": first_order(in_batches(284)),
    "... a solver that stopped early": early(),
    "... no Hessian (dot products of gradients)": first_order(np.eye(p + 1)),
}

header = ("Scores", "Pearson", "Spearman", "slope", "error", "error against first order")
table = []
for name, scores in CASES.items():
    found = agreement(scores, truth)
    errors = (found.relative_error, agreement(scores, CASES["first order"]).relative_error)
    table.append(
        [name, f"{found.pearson:.3f}", f"{found.spearman:.3f}", f"{found.slope:.3g}"]
        + [f"{100 * e:,.{0 if e > 0.1 else 1}f} %" for e in errors]
    )
