r"""
What smoothing the hinge does
=============================

Influence needs derivatives, and the loss of a linear SVM has a kink. Koh & Liang (2017) replace
it by a smooth one, :math:`t \log(1 + e^{(1 - s)/t})`, for the derivatives alone: the model stays
the SVM that was fitted. Here is what goes wrong without, what goes right with, and how to choose
t. The judge is the SVM with its true hinge, fitted again without each row.
"""

# %%
# The hinge and its curvature
# ---------------------------
# The smooth loss is hardly another one. Its second derivative is: the hinge has none anywhere, and
# the smooth loss has it near the kink.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import expit
from sklearn.datasets import load_digits
from sklearn.svm import LinearSVC

from skinfluence import InfluenceExplainer
from skinfluence.displays import AgreementDisplay
from skinfluence.exceptions import NotStationaryWarning
from skinfluence.metrics import agreement, leave_one_out

TEMPERATURES = (0.3, 0.1, 0.03)
s = np.linspace(-0.2, 2.2, 500)
fig, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
axes[0].plot(s, np.maximum(0, 1 - s), "k", lw=1, label="hinge")
for t in TEMPERATURES:
    inside = expit((1 - s) / t)
    axes[0].plot(s, t * np.logaddexp(0, (1 - s) / t), label=f"t = {t}")
    axes[1].plot(
        s, inside * (1 - inside) / t, label=f"t = {t}", color=axes[0].lines[-1].get_color()
    )
axes[0].set(xlabel="margin s", ylabel="loss")
axes[1].set(xlabel="margin s", ylabel="second derivative")
axes[0].legend()
plt.show()

# %%
# A machine, and the truth
# ------------------------
# Digits 8 and 9, two hundred training images, and the test image that the SVM gets most wrong.
# ``leave_one_out`` fits the SVM again without each row. liblinear's default tolerance would drown
# these changes in noise.

digits = load_digits()
rows = np.isin(digits.target, (8, 9))
images, y = digits.data[rows] / 16, np.where(digits.target[rows] == 9, 1, -1)
X, y, Z, z_y = images[:200], y[:200], images[200:], y[200:]

svm = LinearSVC(C=0.02, loss="hinge", fit_intercept=False, tol=1e-8, max_iter=10**6).fit(X, y)
worst = np.argmin(z_y * svm.decision_function(Z))
z, label = Z[[worst]], z_y[[worst]]
actual = leave_one_out(svm, X, y, loss="hinge", X_query=z, y_query=label)

# %%
# Without smoothing, the Hessian is that of the penalty alone, the identity. Nothing tells the
# formula that the rows at the kink hold the solution in place: the others may come and go, and
# those adapt. This formula believes that every row inside the margin moves the solution by all of
# its weight.

signed = y[:, None] * X
inside = signed @ svm.coef_[0] < 1 - 1e-6
raw = svm.C * (label[:, None] * z) @ (inside[:, None] * signed).T

# %%
# With smoothing, the rows near the kink resist. ``smoothing`` is t. The scores are changes of the
# true hinge all the same.


def smoothed(t):
    with warnings.catch_warnings():
        # The SVM is at the minimum of its own loss, not of the smoothed one.
        warnings.simplefilter("ignore", NotStationaryWarning)
        return InfluenceExplainer(svm, smoothing=t).fit(X, y).score_influence(z, label)


predicted = {"raw hinge": raw} | {f"t = {t}": smoothed(t) for t in (0.001, 0.01, 0.1)}
fig, axes = plt.subplots(1, 4, figsize=(13, 3.6), layout="constrained")
for ax, (name, scores) in zip(axes, predicted.items(), strict=True):
    AgreementDisplay.from_predictions(scores[0], actual[0], name=name, ax=ax)
plt.show()

# %%
# Which temperature?
# ------------------
# A slope below 1 says that the predictions are too large. The raw ones are fifty times too large
# and hardly in order. Any t between .001 and .1 is of another kind. In between it is a matter of
# how densely the rows lie: with t narrower than their margins are apart, no row is in the bend;
# with t as wide as the margin, it is another model. The default is 0.01.

print(f"{'':12}{'Pearson':>9}{'Spearman':>10}{'slope':>8}")
for t in (0.0001, 0.001, 0.01, 0.1, 1.0):
    predicted[f"t = {t}"] = smoothed(t)
for name in ("raw hinge", *sorted(name for name in predicted if name.startswith("t"))):
    one = agreement(predicted[name], actual)
    print(f"{name:12}{one.pearson:9.3f}{one.spearman:10.3f}{one.slope:8.3f}")
