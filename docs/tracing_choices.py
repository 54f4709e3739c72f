"""What tracing a training says of it: checkpoints, optimisers, and the truth without a row.

One network on digits with a twelfth of the labels wrong, trained by several optimisers.
"""

import time
import warnings

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from skinfluence import InfluenceExplainer, TracInExplainer
from skinfluence.datasets import plant_mislabels
from skinfluence.exceptions import IncompleteTraceWarning, NotStationaryWarning
from skinfluence.metrics import agreement, detection_auc

EPOCHS = 100

images, digits = load_digits(return_X_y=True)
X, X_new, y, y_new = train_test_split(
    images / 16, digits, train_size=500, test_size=200, stratify=digits, random_state=0
)
y, is_wrong = plant_mislabels(y, 1 / 12, random_state=0)


def network(**options):
    """64 pixels, 32 hidden units, 10 digits; plain gradient descent unless told otherwise."""
    plain = {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.02, "alpha": 0.0}
    return MLPClassifier(
        (32,),
        activation="tanh",
        batch_size=options.pop("batch_size", 50),
        max_iter=options.pop("max_iter", EPOCHS),
        tol=0.0,
        random_state=0,
        **{**plain, **options},
    )


def traced(estimator, **options):
    """An explainer, fitted; nothing has to converge here, and sums are what the tables show."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", IncompleteTraceWarning)
        return TracInExplainer(estimator, **options).fit(X, y)


def percent(share):
    return f"{100 * share:,.0f}\N{NO-BREAK SPACE}%"


# -- which checkpoints ---------------------------------------------------------------------------

recorded = traced(network(), n_checkpoints=EPOCHS + 1)
model, every = recorded.estimator_, recorded.checkpoints_
reference = recorded.score_influence(X_new, y_new)
fall = recorded.validate(X_new, y_new).actual

n = 10
last = every.steps[-1]
spread = np.unique(np.geomspace(1, last, n - 1).round().astype(int))
early = every.at([0, *spread])

CHOICES = {
    "all, one an epoch": {"checkpoints": every},
    "``evenly(30)``": {"checkpoints": every.evenly(30)},
    "``evenly(10)``": {"checkpoints": every.evenly(n)},
    "``largest_drops(10)``": {"checkpoints": every.largest_drops(n)},
    "``at([0, 1, 3, ...])``, ten whose distances grow": {"checkpoints": early},
    "``evenly(3)``": {"checkpoints": every.evenly(3)},
    "the last": {"checkpoints": every.evenly(1)},
    '``evenly(10)``, ``params="last_layer"``': {
        "checkpoints": every.evenly(n),
        "params": "last_layer",
    },
    "``evenly(10)``, ``projection=256``": {
        "checkpoints": every.evenly(n),
        "projection": 256,
        "random_state": 0,
    },
}

header = (
    "checkpoints",
    "sum over drop",
    "error of the sums",
    "Pearson with all",
    "AUC",
    "seconds",
)
table = []
for name, options in CHOICES.items():
    begun = time.process_time()
    explainer = traced(model, **options)
    scores = explainer.score_influence(X_new, y_new)
    seconds = time.process_time() - begun
    sums = agreement(scores.sum(axis=1), fall)
    table.append(
        [
            name,
            f"{scores.sum() / fall.sum():.2f}",
            percent(sums.relative_error),
            f"{agreement(scores, reference).pearson:.3f}",
            f"{detection_auc(is_wrong, explainer.self_influence()):.3f}",
            f"{seconds:.1f}",
        ]
    )
proba = model.predict_proba(X)
loss_auc = f"{detection_auc(is_wrong, -np.log(proba[np.arange(len(y)), y])):.3f}"
table.append(["no influence: the loss of each row", "", "", "", loss_auc, ""])

# -- which optimiser -----------------------------------------------------------------------------

OPTIMISERS = {
    "gradient descent": ({}, {}),
    "... rate ten times larger": ({"learning_rate_init": 0.2}, {}),
    "... with ``momentum=0.9``, a tenth of the rate": (
        {"momentum": 0.9, "nesterovs_momentum": False, "learning_rate_init": 0.002},
        {},
    ),
    "... with weight decay, ``alpha=10``": ({"alpha": 10.0}, {}),
    "Adam": ({"solver": "adam", "learning_rate_init": 2e-4}, {}),
    '... with ``preconditioner="optimizer"``': (
        {"solver": "adam", "learning_rate_init": 2e-4},
        {"preconditioner": "optimizer"},
    ),
}

optimiser_header = ("optimiser", "``score_unit_``", "sum over drop", "Pearson of sums", "error")
optimiser_table = []
for name, (options, settings) in OPTIMISERS.items():
    explainer = traced(network(**options), n_checkpoints=EPOCHS + 1, **settings)
    found = explainer.validate(X_new, y_new)
    optimiser_table.append(
        [
            name,
            explainer.score_unit_,
            f"{found.estimated.sum() / found.actual.sum():.3g}",
            f"{found.pearson:.3f}",
            percent(found.relative_error),
        ]
    )

# -- against training without a row --------------------------------------------------------------

N_DELETED, RATE = 6, 0.1


def losses(estimator):
    return -np.log(estimator.predict_proba(X_new)[np.arange(len(y_new)), y_new])


def trained(kept, max_iter):
    """All rows at every step, so that the order is no part of the difference."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return network(batch_size=len(kept), max_iter=max_iter, learning_rate_init=RATE).fit(
            X[kept], y[kept]
        )


everything = np.arange(len(X))
deletion_header = ("steps", "explainer", "Pearson", "slope", "error")
deletion_table = []
for steps in (5, 50, 500):
    explainer = traced(
        network(batch_size=len(X), max_iter=steps, learning_rate_init=RATE),
        n_checkpoints=min(steps, 50) + 1,
    )
    scores = explainer.score_influence(X_new, y_new)
    largest = np.argsort(-np.abs(scores).sum(axis=0))[: N_DELETED // 2]
    rest = np.setdiff1d(everything, largest)
    others = np.random.default_rng(0).choice(rest, N_DELETED // 2, replace=False)
    deleted = np.append(largest, others)
    fitted = losses(explainer.estimator_)
    without = [losses(trained(np.delete(everything, i), steps)) - fitted for i in deleted]
    truth = np.transpose(without)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotStationaryWarning)
        curved = InfluenceExplainer(explainer.estimator_, damping=0.01).fit(X, y)
    for name, found in {
        "``TracInExplainer``": scores,
        "``InfluenceExplainer(damping=0.01)``": curved.score_influence(X_new, y_new),
    }.items():
        judged = agreement(found[:, deleted], truth)
        deletion_table.append(
            [
                str(steps),
                name,
                f"{judged.pearson:.3f}",
                f"{judged.slope:.2f}",
                percent(judged.relative_error),
            ]
        )

if __name__ == "__main__":
    for head, rows in (
        (header, table),
        (optimiser_header, optimiser_table),
        (deletion_header, deletion_table),
    ):
        print(*[" | ".join(row) for row in [head, *rows]], sep="\n")
