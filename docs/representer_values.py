"""What representer values say and what they do not: refits of a layer, wrong labels, deletions.

One network on digits with a twelfth of the labels wrong, after trainings of several lengths; and
the breast cancer table, with copies of a row.
"""

import warnings

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import scale

from skinfluence import InfluenceExplainer, RepresenterExplainer
from skinfluence.datasets import plant_mislabels
from skinfluence.exceptions import NotStationaryWarning
from skinfluence.metrics import agreement, detection_auc, top_k_overlap

images, digits = load_digits(return_X_y=True)
X, X_new, y, y_new = train_test_split(
    images / 16, digits, train_size=500, test_size=200, stratify=digits, random_state=0
)
y, is_wrong = plant_mislabels(y, 1 / 12, random_state=0)
every = np.arange(len(y))


def network(epochs):
    """64 pixels, 32 hidden units, 10 digits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return MLPClassifier(
            (32,),
            activation="tanh",
            learning_rate_init=0.01,
            batch_size=50,
            max_iter=epochs,
            tol=0.0,
            alpha=1e-3,
            random_state=0,
        ).fit(X, y)


def represented(model, X, y, **options):
    """An explainer; that another layer than the model's own is explained is what is shown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotStationaryWarning)
        return RepresenterExplainer(model, **options).fit(X, y)


def ratio(first, second):
    quotient = first / second
    return f"{quotient:.0f}" if quotient >= 10 else f"{quotient:.1f}"


def percent(share):
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%"


# -- the strength of the penalty -----------------------------------------------------------------

EPOCHS = (10, 30, 100, 300)
trained = {epochs: network(epochs) for epochs in EPOCHS}
model = trained[100]
chosen = represented(model, X, y)
asked = model.predict(X_new)
reference = chosen.score_influence(X_new, target_class=asked)

l2_header = (
    "``l2``",
    "correlation of the logits",
    "of the probabilities",
    "worst error of a probability",
    "top ten in common",
)
l2_table = []
for l2 in (None, 1e-3, 1e-1, 1.0, 10.0, 100.0):
    explainer = represented(model, X, y, l2=l2)
    found = explainer.validate(X_new)
    values = explainer.score_influence(X_new, target_class=asked)
    name = f"None: {explainer.l2_:.2g}" if l2 is None else f"{l2:g}"
    l2_table.append(
        [
            name,
            f"{found.pearson:.4f}",
            f"{found.activated_pearson:.4f}",
            f"{found.activated_worst_error:.3f}",
            percent(top_k_overlap(values, reference, k=10).mean()),
        ]
    )

# -- wrong labels --------------------------------------------------------------------------------

SUSPICIONS = {
    "loss of the network": None,
    'alpha, ``mode="pretrained"`` (the default)': {},
    'alpha, ``mode="trained"``, its own penalty': {"mode": "trained"},
    'alpha, ``mode="trained"``, ``l2=5``': {"mode": "trained", "l2": 5.0},
}


def suspicion(model, options):
    """What `rank_outliers` ranks by, or the loss."""
    if options is None:
        return -np.log(model.predict_proba(X)[every, y])
    return np.abs(represented(model, X, y, **options).alpha_[every, y])


label_header = ("epochs", *map(str, EPOCHS))
label_table = [
    ["accuracy on new rows", *(percent(m.score(X_new, y_new)) for m in trained.values())]
]
for name, options in SUSPICIONS.items():
    areas = [detection_auc(is_wrong, suspicion(m, options)) for m in trained.values()]
    label_table.append([name, *(f"{area:.3f}" for area in areas)])

# -- deletions -----------------------------------------------------------------------------------

cells, is_benign = load_breast_cancer(return_X_y=True)
patients, progression = load_diabetes(return_X_y=True)
cells, patients = scale(cells), scale(patients)
TIGHT = {"tol": 1e-9, "max_iter": 10_000}
CASES = {
    "`LogisticRegression`, ``C=1``, cancer": (LogisticRegression(**TIGHT), cells, is_benign),
    "... ``C=0.01``": (LogisticRegression(C=0.01, **TIGHT), cells, is_benign),
    "`Ridge`, ``alpha=10``, diabetes": (Ridge(10.0), patients, progression),
    "... ``alpha=1000``": (Ridge(1000.0), patients, progression),
}
N_QUERIES = 50


def carried(model, X, y, queries, asked):
    """By how much the output falls without each row, from refits."""
    explainer = InfluenceExplainer(model, method="refit", target="decision_function").fit(X, y)
    return -explainer.score_influence(queries, asked)


deletion_header = (
    "Model and rows",
    "correlation",
    "top ten in common",
    "values over deletions",
    "values over the output",
)
deletion_table = []
for name, (estimator, rows, targets) in CASES.items():
    estimator.fit(rows, targets)
    queries = rows[:N_QUERIES]
    asked = estimator.predict(queries)
    explainer = RepresenterExplainer(estimator).fit(rows, targets)
    values = explainer.score_influence(queries)
    truth = carried(estimator, rows, targets, queries, asked)
    outputs = np.abs(values.sum(axis=1)).mean()
    deletion_table.append(
        [
            name,
            f"{agreement(values, truth).pearson:.2f}",
            percent(top_k_overlap(values, truth, k=10).mean()),
            ratio(np.linalg.norm(values), np.linalg.norm(truth)),
            ratio(np.abs(values).sum(axis=1).mean(), outputs),
        ]
    )

copies_header = ("copies", "value of each", "of all of them", "output without one of them")
copies_table = []
estimator, row = LogisticRegression(**TIGHT), [297]
for copies in (1, 2, 4, 8):
    extra = np.repeat(row, copies - 1)
    rows, targets = np.vstack([cells, cells[extra]]), np.append(is_benign, is_benign[extra])
    estimator.fit(rows, targets)
    explainer = RepresenterExplainer(estimator).fit(rows, targets)
    value = explainer.score_influence(cells[row], target_class=is_benign[row])[0, row[0]]
    fall = carried(estimator, rows, targets, cells[row], is_benign[row])[0, row[0]]
    copies_table.append([str(copies), f"{value:.1f}", f"{copies * value:.1f}", f"-{fall:.2f}"])

if __name__ == "__main__":
    for head, rows in (
        (l2_header, l2_table),
        (label_header, label_table),
        (deletion_header, deletion_table),
        (copies_header, copies_table),
    ):
        print(*[" | ".join(row) for row in [head, *rows]], sep="\n")
