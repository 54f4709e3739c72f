"""Yeh et al. (2018), figure 2: checking labels in the order of representer values.

    python benchmarks/replications/representer_fig2.py --data-dir DIR [--small] [--fresh]

Of the labels of two classes 40 % are flipped and a logistic regression is fitted. Someone checks
the rows in the order of a score and corrects the labels that are wrong: how many of the flips are
found, and how well does the model do that is fitted to what comes of it?
"""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.special import expit
from scipy.stats import spearmanr
from shared import LAMBDA, Checkpoints, digits, note, parser, picture, publish, read, table
from sklearn.linear_model import LogisticRegression

from skinfluence import InfluenceExplainer, RepresenterExplainer
from skinfluence.datasets import plant_mislabels
from skinfluence.metrics import detection_auc, detection_curve, relabel_curve

FLIPPED = 0.4
FRACTIONS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6)
SPLITS = 5
REPRESENTER, AT_ITSELF, INFLUENCE, LOSS, RANDOM = SCORES = (
    "size of alpha", "representer value at itself", "influence", "loss", "random",
)  # fmt: skip
# Of the weaker penalties only what is found is measured.
WEAKER = (1e-3, 1e-4)


# -- data -----------------------------------------------------------------------------------------


def automobiles_and_horses(options, side=16):
    """All images of the two classes of CIFAR-10, with an eighth to a fourth of their pixels."""
    found = read(options, "cifar10_jpegbytes.npz")
    if found is None:
        return None
    names = [str(name) for name in found["classes"]]
    labels = [names.index(name) for name in ("automobile", "horse")]
    rows = np.flatnonzero(np.isin(found["y"], labels))
    X = np.stack([picture(found, row, side).reshape(-1) for row in rows]) / 255.0
    return (X - X.mean()) / X.std(), (found["y"][rows] == labels[1]).astype(int), 10_000


def threes_and_eights():
    """Two of scikit-learn's digits."""
    X, y, Z, z_y = digits()
    X, y = np.vstack([X, Z]), np.append(y, z_y)
    rows = np.isin(y, (3, 8))
    return X[rows], (y[rows] == 8).astype(int), 250


# -- one split ------------------------------------------------------------------------------------


def fitted(X, y, penalty):
    """The penalty is that beside the mean loss, penalty/2 |w|^2."""
    return LogisticRegression(C=1.0 / (penalty * len(y)), tol=1e-6, max_iter=10_000).fit(X, y)


def suspicion(model, X, y, seed):
    """What rows are ranked by, highest first, in the order of SCORES."""
    explainer = RepresenterExplainer(model).fit(X, y)
    margin = np.where(y == 1, 1, -1) * model.decision_function(X)
    scores = (
        np.abs(explainer.alpha_[:, 0]),
        explainer.self_influence(),
        InfluenceExplainer(model).fit(X, y).self_influence(),
        -np.log(expit(margin)),
        np.random.default_rng(seed).random(len(y)),
    )
    return dict(zip(SCORES, scores, strict=True))


def one_split(data, penalty, seed, with_accuracy=True):
    """(score, fraction, [found, accuracy]); areas under the curves as one more fraction.

    Another line at the end: Spearman's correlation of |alpha| with the loss, the number of its
    flips, and the test accuracy without any.
    """
    X, right, n_train = data
    order = np.random.default_rng(seed).permutation(len(right))
    train, test = order[:n_train], order[n_train:]
    labels, flipped = plant_mislabels(right[train], FLIPPED, random_state=seed)
    model = fitted(X[train], labels, penalty)
    scores = suspicion(model, X[train], labels, seed)
    found = np.full((len(SCORES) + 1, len(FRACTIONS) + 1, 2), np.nan)
    for line, score in zip(found, scores.values(), strict=False):
        line[:-1, 0] = np.interp(FRACTIONS, *detection_curve(flipped, score))
        line[-1] = detection_auc(flipped, score)
    if with_accuracy:
        renamed = {f"by {name}": score for name, score in scores.items()}
        curve = relabel_curve(
            model.set_params(tol=1e-4), X[train], labels, renamed, y_true=right[train],
            X_test=X[test], y_test=right[test], fractions=FRACTIONS, n_random=0,
        )  # fmt: skip
        found[:-1, :-1, 1] = curve.values
        clean = fitted(X[train], right[train], penalty).score(X[test], right[test])
        agreement = spearmanr(scores[REPRESENTER], scores[LOSS]).statistic
        found[-1, :3, 0] = agreement, flipped.sum(), clean
    return found


def already_right(data, seed=0):
    """Of the first tenth by alpha: share of flips, and of these, where the model was right anyway.

    And the share of all flips where it was.
    """
    X, right, n_train = data
    train = np.random.default_rng(seed).permutation(len(right))[:n_train]
    labels, flipped = plant_mislabels(right[train], FLIPPED, random_state=seed)
    model = fitted(X[train], labels, LAMBDA)
    scores = suspicion(model, X[train], labels, seed)
    first = np.argsort(-scores[REPRESENTER], kind="stable")[: n_train // 10]
    agrees = model.predict(X[train]) == right[train]
    return np.array(
        [flipped[first].mean(), agrees[first][flipped[first]].mean(), agrees[flipped].mean()]
    )


# -- all splits -----------------------------------------------------------------------------------


def study(data, checkpoints, splits):
    """Results of every split, by penalty: (splits, scores + 1, fractions + 1, 2)."""
    results = {}
    for penalty in (LAMBDA, *WEAKER):
        parts = [
            checkpoints.keep(
                f"{penalty:g}-{seed}", partial(one_split, data, penalty, seed, penalty == LAMBDA)
            )
            for seed in range(splits if penalty == LAMBDA else min(splits, 2))
        ]
        results[penalty] = np.array(parts)
        note(f"penalty {penalty:g}: done")
    main = results[LAMBDA]
    return {
        "results": {penalty: found[:, :-1] for penalty, found in results.items()},
        "already right": checkpoints.keep("already-right", partial(already_right, data)),
        "agreement": main[:, -1, 0, 0].min(),
        "clean": main[:, -1, 2, 0].mean(),
        "shape": data[0].shape,
        "n_train": data[2],
    }


def cell(values):
    return f"{values.mean():.1%} ± {values.std(ddof=1):.1%}"


def report(found):
    main, parts = found["results"][LAMBDA], []
    for k, title in enumerate(("flips found", "test accuracy")):
        header = [f"{title}, checked", *(f"{f:.0%}" for f in FRACTIONS[k == 0 :])]
        rows = [
            [name, *(cell(main[:, i, j, k]) for j in range(k == 0, len(FRACTIONS)))]
            for i, name in enumerate(SCORES)
        ]
        parts.append(table(header, rows))
    rows = [
        [f"{penalty:g}", len(one), *(f"{one[:, i, -1, 0].mean():.3f}" for i in range(len(SCORES)))]
        for penalty, one in found["results"].items()
    ]
    n, d = found["shape"]
    return "\n\n".join(
        [
            f"{found['n_train']} training and {n - found['n_train']} test rows, {d} features, "
            f"{FLIPPED:.0%} of the labels flipped, {len(main)} splits, penalty {LAMBDA:g}/2 |w|^2 "
            f"beside the mean loss; mean ± standard deviation. Without flips {found['clean']:.1%} "
            f"of the test rows are right. Spearman's correlation of the size of alpha with "
            f"the loss: {found['agreement']:.6f} or more.",
            *parts,
            table(["area under the curve, penalty", "splits", *SCORES], rows),
            "In the first split {:.0%} of the first tenth by alpha are flips, and the model is "
            "right about {:.0%} of these in spite of the label; it is about {:.0%} of all "
            "flips.".format(*found["already right"]),
        ]
    )


NOTES = """\
The paper shows curves: representers find as many flips as influence and repair more of the
accuracy, and both do better than a random order. Here they find more than influence. Of a logistic
regression with two classes, alpha is y - p over the penalty, whose size is an increasing function
of the loss: checking by alpha *is* checking by the loss. The value of a row at itself, alpha times
its squared length, is another order.

Twice the flips of a random order repair *less* of the accuracy than it does, whichever score they
are found by. So many labels are wrong that what the scores find are rows where the model knew
better than the label, and to correct these teaches it little; the flips that it believes are left,
and they are no longer symmetric noise."""


def main(argv=None):
    options = parser(__doc__.splitlines()[0]).parse_args(argv)
    data = threes_and_eights() if options.quick else automobiles_and_horses(options)
    if data is None:
        return None
    checkpoints = Checkpoints("representer-fig2", (SCORES, FRACTIONS, data[0].shape), options)
    found = study(data, checkpoints, SPLITS)
    text = report(found)
    if not options.quick:
        cut = "Cut: images of 16 x 16 pixels; weaker penalties in two splits, without accuracies."
        text = "\n\n".join([f"Command: `representer_fig2.py`. {cut}", text, NOTES])
    publish("representer-fig2", "Yeh et al., figure 2: wrong labels", text, options)
    return found


if __name__ == "__main__":
    main()
