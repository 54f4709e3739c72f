"""
Regression diagnostics
======================

Leverage, studentised residuals, Cook's distance, DFBETAS: the classical questions to a regression,
asked of a scikit-learn model, on two tables that every book about them prints. The names and the
numbers are those of statsmodels; what is new is that the model may be penalised, weighted or not
a regression at all.
"""

# %%
# Prestige
# --------
# Duncan's occupations: what share of raters thinks well of them, given the income and the
# education of those who work in them.

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

from skinfluence import InfluenceExplainer
from skinfluence.datasets import load_duncan, load_stackloss
from skinfluence.displays import InfluenceBubbleDisplay, InfluenceIndexDisplay

duncan = load_duncan(as_frame=True)
X, prestige = duncan.data, duncan.target
explainer = InfluenceExplainer(LinearRegression()).fit(X, prestige)
diagnostics = explainer.diagnostics()
diagnostics.summary_frame().nlargest(4, "cooks_d").round(3)

# %%
# A row moves a regression if it could (leverage, to the right) *and* the other rows contradict it
# (residual, up or down). The area of a bubble is Cook's distance, which says how far it does.

InfluenceBubbleDisplay.from_diagnostics(diagnostics, name="Prestige of occupations")
plt.show()

# %%
# The railroad engineer is the rarest kind of row, well paid and little educated, but it lies where
# the others expect it. The minister, educated and badly paid, does not: it pulls the slope of
# education up and that of income down, each by more than one standard error. The conductor, well
# paid and little educated, pulls the same way from the other end.
#
# Is the minister an outlier? One of 45 residuals is always the largest, so a test has to be
# corrected for having looked at all of them:

diagnostics.outlier_test().frame().nsmallest(2, "unadj_p").round(3)

# %%
# It is not. It is *influential*, which is another thing: a row with influence deserves a second
# look, and no row deserves to be deleted for its influence alone.
#
# Two rows together
# -----------------
# The minister and the conductor lean on the same slope from two ends. Single deletions
# understate what they do together, since each covers for the other. ``score_groups`` deletes them
# at once; for least squares that is exactly the refit without them.

for target in ("coef:income", "coef:education"):
    slope = InfluenceExplainer(LinearRegression(), target=target).fit(X, prestige)
    single = slope.score_influence(None)[0, [5, 15]]
    both = slope.score_groups(None, groups=[[5, 15]])[0, 0]
    print(f"{target:15} minister {single[0]:+.3f}   conductor {single[1]:+.3f}", end="   ")
    print(f"sum {single.sum():+.3f}   both together {both:+.3f}")

without = LinearRegression().fit(
    X.drop(["minister", "conductor"]), prestige.drop(X.index[[5, 15]])
)
print("refit:         ", (without.coef_ - explainer.estimator_.coef_).round(3))

# %%
# Stack loss
# ----------
# Twenty-one days in the life of a plant that oxidises ammonia, in the order in which they came.
# An index plot shows which days stand out, and whether neighbours do together.

plant = load_stackloss(as_frame=True)
least_squares = InfluenceExplainer(LinearRegression()).fit(plant.data, plant.target)
InfluenceIndexDisplay.from_explainer(least_squares, name="Stack loss: Cook's distance")
plt.show()

# %%
# Which coefficient does day 20 decide?

InfluenceIndexDisplay.from_explainer(
    least_squares,
    statistic="dfbetas",
    param="water_temperature",
    name="Stack loss: slope of the water's temperature",
)
plt.show()

# %%
# Robust regressions agree on four outlying days: 0, 2, 3 and 20. One at a time, only day 20
# passes the line, and that is the limit of all diagnostics of single rows: outlying rows cover for
# one another (*masking*). Without day 20, the residual of day 3 is far out; days 0 and 2 still
# hide.

later = InfluenceExplainer(LinearRegression()).fit(plant.data[:-1], plant.target[:-1])
frame = pd.DataFrame(
    {
        "with day 20": least_squares.diagnostics().resid_studentized_external[:-1],
        "without": later.diagnostics().resid_studentized_external,
    },
    index=later.train_index_,
)
frame.loc[[0, 2, 3]].round(2)

# %%
# Beyond least squares
# --------------------
# The same numbers for a ridge regression, where the number of parameters is the *effective* one,
# and for a logistic regression of whether the loss was above 15.

for model, target in ((Ridge(100.0), plant.target), (LogisticRegression(), plant.target > 15)):
    d = InfluenceExplainer(model).fit(plant.data, target).diagnostics()
    largest = d.cooks_distance.argmax()
    print(f"{type(model).__name__:19} {d.n_effective_params:.2f} effective parameters", end="   ")
    print(f"largest Cook's distance {d.cooks_distance[largest]:.2f} on day {largest}")
