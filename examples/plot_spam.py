"""
Which messages taught the filter?
=================================

A spam filter is a pipeline: words are counted and weighed, and a logistic regression adds them up.
Its explanation is a list of *messages*, those that it learned its answer from. Some of ours were
labelled wrongly, and that is how it shows.
"""

# %%
# The messages
# ------------
# They are made up, so that the example needs no download and can be read: four kinds of spam, and
# four kinds of mail about them that is none.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skinfluence import InfluenceExplainer
from skinfluence.metrics import detection_table

SPAM = {
    "you won a {prize}, claim your {prize} {now}": ("holiday", "phone", "prize", "car"),
    "cheap {prize} online, no prescription, order {now}": ("pills", "watches", "loans"),
    "your account is suspended, confirm your {prize} {now}": ("password", "card", "bank details"),
    "invest in {prize} and double your money {now}": ("gold", "coins", "shares"),
}
HAM = {
    "can you bring the {thing} to the meeting {then}": ("slides", "contract", "report"),
    "the {thing} looks fine to me, shall we order it {then}": ("car", "phone", "laptop"),
    "our bank sent the {thing}, please check it {then}": ("account statement", "card", "invoice"),
    "are you free {then}, we could talk about the {thing}": ("holiday", "budget", "money"),
}
NOW = ("now", "today", "immediately", "before midnight")
THEN = ("tomorrow", "on monday", "this week", "after lunch")

pd.set_option("display.max_colwidth", None)
rng = np.random.default_rng(0)


def some(sentences, times, n_messages):
    """Messages drawn from sentences with blanks."""
    for pattern in rng.choice(list(sentences), size=n_messages):
        word, when = rng.choice(sentences[pattern]), rng.choice(times)
        yield pattern.format(prize=word, thing=word, now=when, then=when)


texts = pd.Series([*some(SPAM, NOW, 150), *some(HAM, THEN, 250)])
truth = np.repeat(["spam", "ham"], [150, 250])

# %%
# Whoever sorted them has never seen an investment fraud: some of those went to the ham.

fraud = texts.str.startswith("invest") & (rng.uniform(size=len(texts)) < 0.4)
label = np.where(fraud, "ham", truth)
print(f"{fraud.sum()} of {texts.str.startswith('invest').sum()} frauds are called ham")

# %%
# The filter
# ----------
# The explainer takes the pipeline and the texts as they are. Rows stay sparse. (The tolerance is
# smaller than the default, at which the solver stops short of the minimum; the explainer would
# say so, and finish the fit on a copy.)

model = make_pipeline(TfidfVectorizer(), LogisticRegression(C=10, tol=1e-6, max_iter=1000))
model.fit(texts, label)
explainer = InfluenceExplainer(model).fit(texts, label)

query = ["invest in silver and double your money this week"]
print(f"probability of spam: {model.predict_proba(query)[0, 1]:.2f}")

# %%
# Why is it so low? We say that the query is spam, and ask which training messages made that more
# likely (proponents) and which made it less likely (opponents). A score is by how much the
# log-loss of the query changes when the message is deleted.


def because(find):
    """The messages that `find` (proponents or opponents) names, with labels and scores."""
    scores, rows = find(query, ["spam"], k=40)
    table = pd.DataFrame({"score": scores[0], "label": label[rows[0]], "message": texts[rows[0]]})
    return table.drop_duplicates("message").head(4)


why = pd.concat([because(explainer.proponents), because(explainer.opponents)[::-1]])
why.round(4)

# %%
# Those that were called spam speak for it, as they should. And against it: the same kind of
# message, filed as ham. That is the error, found from a single complaint.

fig, ax = plt.subplots(figsize=(8, 3), layout="constrained")
colours = np.where(why["score"] > 0, "#b2182b", "#2166ac")  # proponents, opponents
ax.barh(why["message"] + "  (" + why["label"] + ")", why["score"], color=colours)
ax.axvline(0, color="0.3", linewidth=0.8)
ax.invert_yaxis()
ax.spines[["top", "right"]].set_visible(False)
ax.locator_params(axis="x", nbins=5)
ax.set(xlabel="loss of the query without it, minus with it")
plt.show()

# %%
# All of them
# -----------
# Without a complaint, ask which messages the filter has to bend for. The loss of each message,
# which costs nothing, finds the errors as well; it does not say whose fault an answer is.

proba = model.predict_proba(texts)[:, 1]
loss = -np.log(np.where(label == "spam", proba, 1 - proba))
score = {"self influence": explainer.self_influence()}
print(detection_table(fraud, score, baselines={"loss": loss}, random_state=0))

# %%
# The vocabulary is held fixed: a deletion refits the regression, not the vectoriser. What that
# costs is measured by refitting everything.

for whole_pipeline in (False, True):
    agreement = explainer.validate(n_refits=20, whole_pipeline=whole_pipeline, random_state=0)
    print(f"{whole_pipeline=!s:22} correlation {agreement.pearson:.4f}", end="   ")
    print(f"relative error {agreement.relative_error:.3f}")
