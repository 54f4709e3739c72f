"""
An explainer as a scikit-learn estimator
========================================

The explainers are outlier detectors and behave like scikit-learn's own: in a pipeline, in a grid
search, with data frames.
"""

# %%
# Choose a bandwidth
# ------------------
# Old Faithful: how long the geyser erupts, and how long one then waits. The columns are
# standardised first; the grid search reaches through the pipeline and through the explainer to
# the bandwidth. ``score`` is the mean log density of held-out rows, so no scorer is needed.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import KDEInfluence
from skinfluence.datasets import load_old_faithful
from skinfluence.displays import SelfInfluenceDisplay

X = load_old_faithful(as_frame=True).data

search = GridSearchCV(
    make_pipeline(StandardScaler(), KDEInfluence(KernelDensity())),
    {"kdeinfluence__estimator__bandwidth": np.geomspace(0.05, 1, 14)},
    cv=10,
).fit(X)
bandwidth = search.best_params_["kdeinfluence__estimator__bandwidth"]
print(f"bandwidth {bandwidth:.3f}, mean log density {search.best_score_:.3f}")

# %%
# Ask the last step
# -----------------
# A pipeline passes on what it knows. ``fit_predict`` labels the rows that it is fitted on, each
# judged by the others, as in `LocalOutlierFactor`.

pipe = search.best_estimator_
outliers = np.flatnonzero(pipe.fit_predict(X) == -1)
print("eruptions labelled as outliers:", outliers)

# %%
# New rows are another question: ``novelty=True`` gives ``predict``, ``decision_function`` and
# ``score_samples`` for them.

new = X.iloc[:2].assign(eruptions=[3.6, 5.0], waiting=[79.0, 40.0])
print("new eruptions:", pipe.set_params(kdeinfluence__novelty=True).fit(X).predict(new))

# %%
# For influence, transform the queries and ask the explainer: a pipeline does not pass on
# ``score_influence`` or ``proponents``. The query is an eruption in the gap between the two
# kinds: who makes it at all likely?

query = X.iloc[[0]].assign(eruptions=3.0, waiting=65.0)
scores, rows = pipe[-1].proponents(pipe[:-1].transform(query), k=5)
X.iloc[rows[0]].assign(score=scores[0].round(4))

# %%
# Or put the pipeline into the explainer
# --------------------------------------
# Then queries come in the units of the table, and ``set_output`` labels the answers with the rows
# of the frame.

pipeline = make_pipeline(StandardScaler(), KernelDensity(bandwidth=bandwidth))
explainer = KDEInfluence(pipeline)
explainer.set_output(transform="pandas").fit(X)
explainer.self_influence().nlargest(5)

# %%
# Pictures take the frame too, and name its rows.

SelfInfluenceDisplay.from_explainer(explainer, X, name="Old Faithful", n_labels=4)
plt.show()

# %%
# What it costs to hold the scaler fixed, as every explainer of a pipeline does: refit the whole
# pipeline without a row, for twenty rows.

for whole_pipeline in (False, True):
    agreement = explainer.validate(whole_pipeline=whole_pipeline, random_state=0)
    print(f"{whole_pipeline=!s:22} relative error {agreement.relative_error:.2g}")
