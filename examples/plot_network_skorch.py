"""
A network on a table, with skorch
=================================

skorch makes a torch module a scikit-learn estimator, which can stand behind a scaler in a
pipeline. The explainer takes the pipeline: loss, weight decay and parameters are read off the
net. Which patients is a prediction of the progression of diabetes made of, and when can the
answer be trusted?
"""

# %%
# The pipeline
# ------------
# A hidden layer of sixteen units, trained on all rows at every step until little of the gradient
# is left. Weight decay is the choice that will matter: here it is strong.

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetRegressor
from torch import nn

from skinfluence import InfluenceExplainer
from skinfluence.displays import AgreementDisplay

table = load_diabetes(as_frame=True, scaled=False)
columns = table.data.astype(np.float32)
target = ((table.target - table.target.mean()) / table.target.std()).to_numpy(np.float32)[:, None]
X, X_new, y, y_new = train_test_split(columns, target, train_size=300, random_state=0)


class Net(nn.Module):
    """Ten measurements, sixteen units, one number."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Linear(16, 1))

    def forward(self, X):
        return self.layers(X)


net = NeuralNetRegressor(
    Net,
    optimizer=torch.optim.Adam,
    optimizer__weight_decay=0.1,
    lr=0.02,
    max_epochs=200,
    batch_size=-1,
    train_split=None,
    verbose=0,
)
torch.manual_seed(0)
model = make_pipeline(StandardScaler(), net).fit(X, y)
print(f"R2 on {len(X_new)} new patients: {model.score(X_new, y_new):.2f}")

# %%
# What carries a prediction
# -------------------------
# The target is the output, so a score is how much the prediction *rises without* a training
# patient: whoever pulls it up has a negative one. ``stationarity_`` is the share of the gradients
# of the rows that does not cancel at these parameters.

explainer = InfluenceExplainer(model, target="decision_function").fit(X, y)
print(
    f"{explainer.curvature_} inverted by {explainer.solver_}, damping {explainer.damping_:g}, "
    f"stationarity {explainer.stationarity_[0]:.1e}"
)

predicted = model.predict(X_new)[:, 0]
asked = int(np.argmax(predicted))
patient = X_new.iloc[[asked]]
pulls = -explainer.score_influence(patient)[0]
print(f"patient {patient.index[0]}: predicted {predicted[asked]:.2f}, was {y_new[asked, 0]:.2f}")

# %%
# Each training patient, by body mass index and the logarithm of triglycerides; red ones pull the
# prediction of the star up, blue ones pull it down.

fig, ax = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
size = np.abs(pulls).max()
points = ax.scatter(
    X["bmi"],
    X["s5"],
    c=pulls,
    s=10 + 90 * np.abs(pulls) / size,
    cmap="RdBu_r",
    vmin=-size,
    vmax=size,
    edgecolors="0.6",
    linewidths=0.4,
)
ax.scatter(patient["bmi"], patient["s5"], marker="*", s=260, c="gold", edgecolors="black")
ax.set(xlabel="body mass index", ylabel="s5, log of triglycerides")
fig.colorbar(points, label="pulls the prediction up by")
plt.show()

# %%
# The strongest, with their labels from the table and the outcome that they were trained with:

strongest = np.argsort(-np.abs(pulls))[:6]
shown = X.iloc[strongest][["age", "bmi", "bp", "s5"]].astype(float).round(2)
shown.assign(
    outcome=y[strongest, 0],
    predicted=model.predict(X.iloc[strongest])[:, 0],
    pull=pulls[strongest],
).round(3)

# %%
# A pull is the residual of the training patient times a similarity that the network has learned.
# Most of these have an outcome far above what is predicted for them, and are like the patient in
# question. Patient 123 has one far below, and pulls *up*: here the similarity is negative.
# Nearness in the table says neither how much nor in which direction.
#
# When can it be trusted?
# -----------------------
# ``validate`` trains the net again without single patients, and compares. It clones the net, and
# gives every training the same random start. The same is done for a net with a fifth of the
# weight decay.

weak = clone(model).set_params(neuralnetregressor__optimizer__weight_decay=0.02)
torch.manual_seed(0)
weak.fit(X, y)
print(f"R2 of the other net: {weak.score(X_new, y_new):.2f}")

fig, axes = plt.subplots(1, 2, figsize=(9.6, 4.8), layout="constrained")
for ax, (name, fitted) in zip(
    axes, {"weight decay 0.1": model, "weight decay 0.02": weak}.items(), strict=True
):
    found = InfluenceExplainer(fitted, target="decision_function").fit(X, y)
    agreement = found.validate(X_new, n_refits=6, random_state=0)
    print(f"{name}: Pearson {agreement.pearson:.3f}, slope {agreement.slope:.2f}")
    AgreementDisplay.from_agreement(agreement, name=name, ax=ax)
plt.show()

# %%
# With strong decay a training without a patient ends near the old parameters, and the derivative
# knows where. With weak decay, which is also worse on new patients, the objective has more than
# one valley: without *one* patient of three hundred the same training may end in another, and no
# derivative at the fitted parameters can know that. The scores then speak of the *nearest* minimum
# without the row, and not of all that happens when a network is trained anew.
