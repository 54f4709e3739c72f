"""Koh & Liang (2017), figure 4: two models that are right for different reasons.

    python benchmarks/replications/koh_liang_fig4.py --data-dir DIR [--small] [--figure FILE]

A support vector machine with an RBF kernel on the pixels, and a logistic regression on the
features of a frozen network, tell two kinds of images apart. What do training images do to the
decision for a test image that both get right? The first is said to be a soft nearest neighbour:
influence falls with the distance of the pixels, and near images of the same class help. In the
second, influence has little to do with pixels, and images of the *other* class help too.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr
from shared import Checkpoints, digits, parser, picture, publish, read, table
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC

from skinfluence import InfluenceExplainer

PENALTIES = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
# Of the kernel, in units of 1 / (pixels x variance).
WIDTHS = (0.25, 1.0, 4.0, 16.0)
TOP, NEAR = 20, 0.1
SVM, LINEAR, PIXELS = (
    "SVM, RBF kernel on pixels",
    "logistic regression on features",
    "logistic regression on pixels",
)


# -- data -----------------------------------------------------------------------------------------


def two_digits_and_features(options):
    """Threes and eights; features of a perceptron that has seen the other digits only."""
    X, y, Z, z_y = digits()
    rest = ~np.isin(y, (3, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        net = MLPClassifier((48,), max_iter=60, random_state=0).fit(X[rest], y[rest])
    kept = [np.isin(labels, (3, 8)) for labels in (y, z_y)]
    X, Z = X[kept[0]], Z[kept[1]]
    features = [np.maximum(A @ net.coefs_[0] + net.intercepts_[0], 0.0) for A in (X, Z)]
    return (X, (y[kept[0]] == 8).astype(int)), (Z, (z_y[kept[1]] == 8).astype(int)), features


def two_animals_and_features(found, options, one="dog", other="frog", n_each=900, n_test=300):
    """Two classes of CIFAR-10; features of a network trained on images of the eight others."""
    import torch
    from networks_shared import parameters, with_parameters
    from representer_shared import Recipe, fit, network

    torch.set_num_threads(1)
    rng, names = np.random.default_rng(0), [str(name) for name in found["classes"]]
    pair = [names.index(one), names.index(other)]
    train = found["is_train"].astype(bool)

    def some(mask, n):
        rows = rng.permutation(np.flatnonzero(mask))[:n]
        return np.stack([picture(found, i) for i in rows]) / 255.0

    X, Z = (
        np.concatenate([some((found["y"] == k) & held, n) for k in pair])
        for held, n in ((train, n_each), (~train, n_test))
    )
    recipe = Recipe("CIFAR-10, eight classes", 20_000, 0, (32, 64, 64), 128, epochs=10)
    rows = rng.permutation(np.flatnonzero(train & ~np.isin(found["y"], pair)))[: recipe.n_train]
    rest = np.stack([picture(found, i) for i in rows]) / 255.0
    mean, spread = rest.mean(), rest.std()
    codes = np.unique(found["y"][rows], return_inverse=True)[1]
    images = [torch.as_tensor(((A - mean) / spread).astype(np.float32)) for A in (rest, X, Z)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = network(X.shape[1:], recipe, n_classes=8)
    kept = Checkpoints("koh-liang-fig4", (recipe, pair), options)
    theta = kept.keep(
        "network", lambda: parameters(fit(module, images[0], torch.as_tensor(codes), recipe))
    )
    body = with_parameters(module, theta)[:-1]
    with torch.no_grad():
        features = [body(A).double().numpy() for A in images[1:]]
    labels = np.repeat([0, 1], n_each), np.repeat([0, 1], n_test)
    return (X.reshape(len(X), -1), labels[0]), (Z.reshape(len(Z), -1), labels[1]), features


# -- influence ------------------------------------------------------------------------------------


def helps(model, X, y, Z, z_y):
    """What each training row adds to the decision of each test image for its class, (q, n)."""
    explainer = InfluenceExplainer(model, target="decision_function").fit(X, y)
    return -explainer.score_influence(Z, z_y)


def measures(help_, distance, y, z_y):
    """Medians over the test images."""
    n = len(y)
    near = distance.argsort(axis=1)[:, : int(NEAR * n)]
    top = (-help_).argsort(axis=1)[:, :TOP]
    same = y == z_y[:, None]
    size = np.abs(help_)
    ranks = distance.argsort(axis=1).argsort(axis=1) / n

    def by(mask, rows=None):
        """Share of rows that help, among those of a class that do anything."""
        chosen = mask & (size > 0)
        if rows is not None:
            inside = np.zeros_like(chosen)
            np.put_along_axis(inside, rows, True, axis=1)
            chosen &= inside
        counts = np.maximum(chosen.sum(axis=1), 1)
        return np.median(((help_ > 0) & chosen).sum(axis=1) / counts)

    taken = np.take_along_axis
    return {
        "rank correlation": np.median(
            [spearmanr(a[a > 0], b[a > 0]).statistic for a, b in zip(size, distance, strict=True)]
        ),
        "near share": np.median(taken(size, near, axis=1).sum(axis=1) / size.sum(axis=1)),
        "same, near": by(same, near),
        "other, near": by(~same, near),
        "same": by(same),
        "other": by(~same),
        "top, other": np.mean(~taken(same, top, axis=1)),
        "top, nearness": np.median(taken(ranks, top, axis=1)),
        "idle": np.mean((size == 0).all(axis=0)),
    }


def chosen_logistic(X, y):
    """A logistic regression with the best penalty by cross-validation."""
    loose = LogisticRegression(max_iter=300, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search = GridSearchCV(loose, {"C": PENALTIES}, cv=3).fit(X, y)
    return LogisticRegression(**search.best_params_, max_iter=10_000, tol=1e-5).fit(X, y)


def chosen_svm(X, y, unit):
    """A machine with the best width and penalty by cross-validation."""
    squares = cdist(X, X, "sqeuclidean")
    kernels = {width: np.exp(-width * unit * squares) for width in WIDTHS}
    scores = {
        (width, C): cross_val_score(SVC(kernel="precomputed", C=C), K, y, cv=4).mean()
        for width, K in kernels.items()
        for C in (1.0, 10.0)
    }
    width, C = max(scores, key=scores.get)
    return SVC(gamma=width * unit, C=C).fit(X, y)


def study(train, test, features, *, n_queries):
    """Models, what they say about the same test images, and how it looks."""
    (X, y), (Z, z_y), (F, G) = train, test, features
    mean, spread = F.mean(axis=0), F.std(axis=0) + 1e-12
    F, G = (F - mean) / spread, (G - mean) / spread
    unit = 1.0 / (X.shape[1] * X.var())
    svm, linear, plain = chosen_svm(X, y, unit), chosen_logistic(F, y), chosen_logistic(X, y)
    models = {SVM: (svm, X, Z), LINEAR: (linear, F, G), PIXELS: (plain, X, Z)}
    right = np.all([model.predict(B) == z_y for model, _, B in models.values()], axis=0)
    queries = np.random.default_rng(0).permutation(np.flatnonzero(right))[:n_queries]
    distance = cdist(Z[queries], X)
    found = {"n": len(X), "n_queries": len(queries), "helps": {}, "measures": {}}
    found["accuracy"] = {k: np.mean(m.predict(B) == z_y) for k, (m, _, B) in models.items()}
    found["options"] = f"gamma = {svm.gamma / unit:g} / (pixels x variance), C = {svm.C:g}"
    found["options"] += f"; C = {linear.C:g} on features, {plain.C:g} on pixels"
    for name, (model, A, B) in models.items():
        found["helps"][name] = helps(model, A, y, B[queries], z_y[queries])
    for width in WIDTHS:
        other = SVC(C=svm.C, gamma=width * unit).fit(X, y)
        name = f"SVM, gamma = {width:g} / (pixels x variance)"
        found["accuracy"][name] = np.mean(other.predict(Z) == z_y)
        found["helps"][name] = helps(other, X, y, Z[queries], z_y[queries])
    for name, scores in found["helps"].items():
        found["measures"][name] = measures(scores, distance, y, z_y[queries])
    found |= {"distance": distance, "queries": queries, "y": y, "z_y": z_y[queries]}
    return found


# -- report ---------------------------------------------------------------------------------------


def report(found):
    rows = []
    for name, one in found["measures"].items():
        rows.append(
            [name, f"{found['accuracy'][name]:.1%}", f"{one['rank correlation']:.2f}",
             f"{one['near share']:.0%}",
             f"{one['same, near']:.0%} / {one['other, near']:.0%}",
             f"{one['same']:.0%} / {one['other']:.0%}", f"{one['top, other']:.0%}",
             f"{one['top, nearness']:.2f}", f"{one['idle']:.0%}"]
        )  # fmt: skip
    header = [
        "model", "accuracy", "rank correlation of size, where there is any, and distance",
        "share of the nearest tenth", "near rows that help, same class / other",
        "all rows that help", f"other class in top {TOP}",
        f"distance of top {TOP} (share of rows nearer)", "rows of no influence",
    ]  # fmt: skip
    return "\n\n".join(
        [
            f"{found['n']} training images; {found['n_queries']} test images that the first three "
            f"models get right; by cross-validation {found['options']}. What a row adds to the "
            "decision for the test image's class: by the exact path for support vector machines, "
            "by Newton steps for the logistic regressions. Medians over the test images; "
            "distances are those of the pixels.",
            table(header, rows),
            "Paper: a picture of one test image. SVM: influence falls with distance, near images "
            "of the same class mostly help and others mostly harm; network: much less correlated "
            "with distance, both classes help or harm, and an image of the other class is among "
            "the most helpful.",
        ]
    )


def draw(found, train, test, path):
    """Influence over distance for one test image, and the images that help it most."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    X, Z = train[0], test[0]
    j = 0
    z_class, distance, y = found["z_y"][j], found["distance"][j], found["y"]
    fig = plt.figure(figsize=(10, 5.6), layout="constrained")
    left, right = fig.subfigures(1, 2, width_ratios=[1.3, 1])
    axes = left.subplots(2, 1, sharex=True)
    grid = right.subplots(2, 3)
    for ax, images, name in zip(axes, grid, (SVM, LINEAR), strict=True):
        help_ = found["helps"][name][j]
        for label, colour, word in ((z_class, "C2", "same class"), (1 - z_class, "C3", "other")):
            rows = y == label
            ax.scatter(distance[rows], help_[rows], s=8, color=colour, alpha=0.6, lw=0, label=word)
        ax.axhline(0, color="0.7", lw=0.8, zorder=0)
        ax.set(title=name, ylabel="added to the decision")
        order = np.argsort(-help_)
        others = order[y[order] != z_class]
        shown = [(X[order[0]], "helps most"), (X[order[1]], "helps second")]
        shown.append((X[others[0]], "most of the other class"))
        for image_ax, (image, title) in zip(images, shown, strict=True):
            _show(image_ax, image, title)
    axes[0].legend(markerscale=2)
    axes[1].set_xlabel("distance of the pixels to the test image")
    inset = axes[0].inset_axes((0.42, 0.55, 0.28, 0.42))
    _show(inset, Z[found["queries"][j]], "")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=120)


def _show(ax, image, title):
    if image.size == 3072:
        ax.imshow(image.reshape(3, 32, 32).transpose(1, 2, 0))
    else:
        side = int(np.sqrt(image.size))
        ax.imshow(image.reshape(side, side), cmap="gray_r")
    ax.set_title(title, fontsize=9)
    ax.set(xticks=[], yticks=[])


def main(argv=None):
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--figure", help="where to save a figure of one test image")
    options = options.parse_args(argv)
    if options.quick:
        train, test, features = two_digits_and_features(options)
        source = "3 and 8 of scikit-learn's digits; features of a perceptron that saw the others"
    else:
        found = read(options, "cifar10_jpegbytes.npz")
        if found is None:
            return None
        train, test, features = two_animals_and_features(found, options)
        source = (
            "dogs and frogs of CIFAR-10 for the paper's dogs and fish of ImageNet; 128 features "
            "of a network of three convolutions, trained on 20,000 images of the eight other "
            "classes, for Inception's"
        )
    found = study(train, test, features, n_queries=20 if options.quick else 60)
    if options.figure:
        draw(found, train, test, options.figure)
    text = f"Data: {source}. Command: `koh_liang_fig4.py`.\n\n{report(found)}"
    title = "Koh & Liang, figure 4: distance against influence"
    publish("koh-liang-fig4", title, text, options)
    return found


if __name__ == "__main__":
    main()
