"""Factorisations, mixtures and other models of X alone that are refused."""

from __future__ import annotations

from skinfluence.reasons.refusal import Refusal, register

_PCA = "PCA is a density with exact deletions, by InfluenceExplainer"
_BOTH = "PCA and FactorAnalysis are densities with exact deletions, by InfluenceExplainer."

register(
    Refusal(
        ("BayesianGaussianMixture",),
        "its priors pull on every deletion, and what it maximises is a bound, the same at many "
        "points",
        "Fit GaussianMixture with as many components as the Bayesian mixture kept, for "
        "GMMInfluence.",
    )
)
register(
    Refusal(
        ("BernoulliRBM",),
        "it is trained by contrastive divergence, which is the gradient of no function, and its "
        "likelihood has a sum over all states that nobody computes",
        "BetaVAE of skinfluence.torch is a latent model with a bound that is computed, and "
        "TracInExplainer follows its training.",
    )
)
register(
    Refusal(
        (
            "DictionaryLearning",
            "MiniBatchDictionaryLearning",
            "MiniBatchSparsePCA",
            "SparsePCA",
        ),
        "each row brings a sparse code of its own: the dictionary is a minimum over all codes, "
        "with a kink at each zero, and one of many",
        _BOTH,
    )
)
register(
    Refusal(
        ("MiniBatchNMF", "NMF"),
        "each row brings factors of its own, and bounds at 0: the components are one of many "
        "minima, which change places and scale, and the pattern of zeros changes with a row",
        _BOTH,
    )
)
register(
    Refusal(
        ("FastICA",),
        "it turns whitened rows until they are least normal, by an approximation that has no "
        "likelihood, and its sources change places and sign",
        _PCA + ", and whitens alike.",
    )
)
register(
    Refusal(
        ("LatentDirichletAllocation",),
        "it maximises a bound over topics of each document, in batches: topics change places, and "
        "a document's own have to be found anew for each deletion",
        "MultinomialNB is a model of counts with exact deletions, where there are labels; PCA, on "
        "tf-idf, without; both by InfluenceExplainer.",
    )
)
register(
    Refusal(
        ("IncrementalPCA",),
        "it updates a truncated decomposition batch by batch: what it ends with depends on the "
        "order of the rows, and is no function of their set",
        _PCA + ", of the same components.",
    )
)
register(
    Refusal(
        ("KernelPCA",),
        "its components are sums over the training rows, and a deletion takes a row and a column "
        "from the kernel matrix: there is no density of rows that would have a loss",
        "PCA behind Nystroem in a Pipeline approximates it and has exact deletions, by "
        "InfluenceExplainer; so has OneClassSVM with that kernel.",
    )
)
register(
    Refusal(
        ("TruncatedSVD",),
        "it centres nothing and has no noise, and so is no density: a row has no loss but what is "
        "cut off",
        _PCA + ", and takes the mean away.",
    )
)


def _elsewhere(name: str, explainer: str) -> None:
    register(
        Refusal(
            (name,),
            "it is a density of rows without targets, whose exact deletions have an explainer of "
            "their own",
            f"Use {explainer}({name}()), which is an outlier detector too.",
        )
    )


_elsewhere("KernelDensity", "KDEInfluence")
_elsewhere("NearestNeighbors", "KNNInfluence")
register(
    Refusal(
        ("GaussianMixture",),
        "it is a mixture without targets, whose deletions have an explainer of their own",
        "Use GMMInfluence(GaussianMixture()), which is an outlier detector too.",
    )
)
