"""
A network on a table, with skorch
=================================

skorch makes a torch module a scikit-learn estimator, which can stand behind a scaler in a
pipeline. The explainer takes the pipeline: loss, weight decay and parameters are read off the
net. Whose records is a prediction of the progression of diabetes made of, and can the answer be
trusted?
"""

# %%
# The pipeline
# ------------
# A hidden layer of sixteen units. Weight decay keeps the curvature positive, so that no damping
# has to be chosen, and many steps on all rows bring the network near a minimum, which deletions
# are about.

import matplotlib.pyplot as plt
import numpy as np
import torch
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


torch.manual_seed(0)
net = NeuralNetRegressor(
    Net,
    max_epochs=400,
    batch_size=-1,
    optimizer=torch.optim.Adam,
    optimizer__weight_decay=0.02,
    lr=0.02,
    train_split=None,
    verbose=0,
)
model = make_pipeline(StandardScaler(), net).fit(X, y)
print(f"R2 on {len(X_new)} new patients: {model.score(X_new, y_new):.2f}")

# %%
# The explainer knows what was minimised: the mean squared error of the net's criterion and the
# decay of its optimiser. ``stationarity_`` says how much of the gradient is left at these
# parameters, as a share of the sizes of the rows' gradients.

explainer = InfluenceExplainer(model).fit(X, y)
print(explainer.curvature_, explainer.solver_, explainer.damping_)
print(f"stationarity {explainer.stationarity_[0]:.1e}, scores are changes of the {explainer.score_unit_}")
