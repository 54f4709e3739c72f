"""Koh & Liang (2017), figure 2 left: influence against leave-one-out retraining.

    python benchmarks/replications/koh_liang_fig2_left.py --data-dir DIR [--small] [--fresh]

Multinomial logistic regression on ten digits, one test image that it gets wrong, and the training
images of largest first-order influence on the loss there. What deleting each really does is found
twice: by this package's batched refits of all of them, and for some of them by fitting
scikit-learn's estimator again, moved to the optimum by code of its own.
"""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax, softmax
from shared import (
    LAMBDA,
    Checkpoints,
    digits,
    first_order_of_all,
    mnist,
    note,
    parser,
    publish,
    scores_of,
    strongest,
    table,
)
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from skinfluence import InfluenceExplainer
from skinfluence.metrics import agreement

# The test image of the authors' published script: a 5 that is taken for a 6.
FAVOURITE = 8
N_VALIDATION = 5_000  # the authors train on the last 55,000 of the 60,000 images
BLOCK = 25


class Retraining:
    """Loss at one test image, before and after real refits of scikit-learn's estimator.

    Parameters
    ----------
    model : LogisticRegression
        Fitted to all rows.
    X, y : ndarray
    inverse : callable
        About the inverse Hessian: it only decides how fast the optimum is reached.
    """

    def __init__(self, model, X, y, inverse):
        self.model, self.X, self.inverse = model, X, inverse
        self.y = y
        self.codes = np.searchsorted(model.classes_, y)
        self.full = self._polished(model.coef_.T, np.ones(len(X), dtype=bool))

    def change(self, row, z, z_y):
        """Loss at z without the row minus that with it, and the relative gradient left over."""
        kept = np.arange(len(self.X)) != row
        model = clone(self.model).set_params(warm_start=True)
        model.coef_, model.intercept_ = self.full[0].T.copy(), np.zeros(len(self.full[0].T))
        model.classes_ = self.model.classes_
        model.fit(self.X[kept], self.y[kept])
        theta, left = self._polished(model.coef_.T, kept)
        after, before = (self._loss(one, z, z_y) for one in (theta, self.full[0]))
        return after - before, left

    def _loss(self, theta, z, z_y):
        code = np.searchsorted(self.model.classes_, z_y)
        return -log_softmax(z @ theta)[code]

    def _polished(self, theta, kept, tol=1e-13, max_steps=60):
        best = np.inf
        for _ in range(max_steps):
            gradient, size = self._gradient(theta, kept)
            left = float(np.abs(gradient).max() / size)
            if left < tol or left > 0.9 * best:
                break
            best = left
            theta = theta - self.inverse(gradient)
        return theta, left

    def _gradient(self, theta, kept):
        slopes = softmax(self.X @ theta, axis=1)
        slopes[np.arange(len(self.y)), self.codes] -= 1.0
        slopes[~kept] = 0.0
        gradient = self.X.T @ slopes
        return gradient + theta / self.model.C, np.abs(gradient).max()


def chord(explainer):
    """The inverse Hessian of an explainer, for gradients by scikit-learn's coefficients."""
    part = explainer._engine.parts[0]
    # Columns are divided by their spread: the same map carries gradients there and steps back.
    to_user = part.objective.coordinates.to_user
    inverse = part.curvature.inverse()
    return lambda g: to_user(inverse(to_user(g).reshape(-1, 1)).reshape(g.shape))


def misclassified(model, Z, z_y):
    """The favourite if the model gets it wrong, or else the first that it gets wrong."""
    wrong = np.flatnonzero(model.predict(Z) != z_y)
    return FAVOURITE if FAVOURITE in wrong else int(wrong[0])


def study(data, checkpoints, *, n_top, n_genuine):
    """Predicted and actual changes for the most influential rows on one misclassified image."""
    X, y, Z, z_y = data
    model = LogisticRegression(
        C=1.0 / (LAMBDA * len(X)), fit_intercept=False, tol=1e-8, max_iter=5_000
    ).fit(X, y)
    accuracy, query = model.score(Z, z_y), misclassified(model, Z, z_y)
    z, label = Z[query : query + 1], z_y[query : query + 1]
    note(f"fitted: accuracy {accuracy:.4f}, test image {query}")
    explainer = InfluenceExplainer(model, method="refit").fit(X, y)
    note(f"factorised: stationarity {explainer.stationarity_}")

    first_order = checkpoints.keep("first-order", lambda: first_order_of_all(explainer, z, label))
    rows = strongest(first_order, n_top)
    blocks = [rows[start : start + BLOCK] for start in range(0, n_top, BLOCK)]
    newton, refit = (
        np.concatenate(
            [
                checkpoints.keep(
                    f"{method}-{i}", lambda b=b, m=method: scores_of(explainer, z, label, b, m)[0]
                )
                for i, b in enumerate(blocks)
            ]
        )
        for method in ("newton", "refit")
    )
    retraining = Retraining(model, X, y, chord(explainer))
    some = np.sort(np.random.default_rng(0).choice(n_top, n_genuine, replace=False))
    genuine = np.array(
        [
            checkpoints.keep(
                f"genuine-{i}", lambda i=i: np.array(retraining.change(rows[i], z[0], label[0]))
            )
            for i in some
        ]
    )
    return {
        "n": len(X),
        "p": model.coef_.size,
        "accuracy": accuracy,
        "query": query,
        "label": int(label[0]),
        "predicted": int(model.predict(z)[0]),
        "loss": float(-model.predict_log_proba(z)[0, label[0]]),
        "same class": float(np.mean(y[rows] == label[0])),
        "harmful": float(np.mean(refit < 0)),
        "first order": agreement(first_order[rows], refit),
        "newton": agreement(newton, refit),
        "largest": float(np.abs(refit).max()),
        "genuine": {
            "first order": agreement(first_order[rows[some]], genuine[:, 0]),
            "newton": agreement(newton[some], genuine[:, 0]),
            "refit": agreement(refit[some], genuine[:, 0]),
        },
        "n_genuine": n_genuine,
        "n_top": n_top,
        "left": float(genuine[:, 1].max()),
    }


def report(found):
    truths = {
        f"batched refits of all {found['n_top']}": ("first order", "newton"),
        f"{found['n_genuine']} scikit-learn refits, polished": ("first order", "newton", "refit"),
    }
    rows = []
    for truth, methods in truths.items():
        results = found if "batched" in truth else found["genuine"]
        for method in methods:
            one = results[method]
            rows.append(
                [truth, method, f"{one.pearson:.6f}", f"{one.spearman:.6f}", f"{one.slope:.5f}",
                 f"{one.relative_error:.1e}"]
            )  # fmt: skip
    header = ["truth", "score", "Pearson", "Spearman", "slope", "relative error"]
    return "\n\n".join(
        [
            f"{found['n']} training images, {found['p']} parameters (no intercepts), lambda = "
            f"{LAMBDA}, test accuracy {found['accuracy']:.2%}. Test image {found['query']}, a "
            f"{found['label']} taken for a {found['predicted']} with loss {found['loss']:.3f}; "
            f"the {found['n_top']} rows of largest first-order influence on it, of which "
            f"{found['same class']:.0%} are of its class and {found['harmful']:.0%} harm it. The "
            f"largest change is {found['largest']:.2e}.",
            table(header, rows),
            "The scikit-learn refits end at relative gradients of at most "
            f"{found['left']:.0e}. The paper shows a scatter plot and says that predicted "
            "and actual changes match closely, without a number.",
        ]
    )


def main(argv=None):
    options = parser(__doc__.splitlines()[0]).parse_args(argv)
    data = digits() if options.quick else mnist(options)
    if data is None:
        return None
    if not options.quick:
        X, y, *tests = data
        data = (X[N_VALIDATION:], y[N_VALIDATION:], *tests)
    sizes = {"n_top": 50, "n_genuine": 10} if options.quick else {"n_top": 500, "n_genuine": 40}
    found = study(data, Checkpoints("koh-liang-fig2-left", sizes, options), **sizes)
    source = "scikit-learn's 8 x 8 digits" if options.quick else "MNIST, as in the paper"
    cut = (
        f"Cut: genuine refits for {found['n_genuine']} of the {found['n_top']} rows, at random; "
        "the batched refits are of all of them."
    )
    text = f"Data: {source}. Command: `koh_liang_fig2_left.py`. {cut}\n\n{report(found)}"
    title = "Koh & Liang, figure 2 left: influence against retraining"
    publish("koh-liang-fig2-left", title, text, options)
    return found


if __name__ == "__main__":
    main()
