"""Clusterings, and embeddings of the training rows."""

from __future__ import annotations

from typing import Any

from skinfluence.reasons.refusal import Refusal, register

_MIXTURE = "A GaussianMixture assigns rows softly, and GMMInfluence deletes from its likelihood."


def _clusters(estimator: Any) -> bool:
    return any(cls.__name__ == "ClusterMixin" for cls in type(estimator).__mro__)


register(
    Refusal(
        ("BisectingKMeans", "KMeans", "MiniBatchKMeans"),
        "each row belongs to one centre, wholly: the loss has a kink wherever a row changes its "
        "centre, and a deletion can send the iteration to another of many minima",
        'GaussianMixture(covariance_type="spherical") is its smooth form, and GMMInfluence '
        "deletes from its likelihood.",
    )
)
register(
    Refusal(
        ("DBSCAN", "HDBSCAN", "OPTICS"),
        "its clusters are components of a graph of near rows: a deletion breaks an edge or none, "
        "and labels of rows have no loss",
        "KNNInfluence deletes from the density that it thresholds, that of distances to "
        "neighbours.",
    )
)
register(
    Refusal(
        ("MeanShift",),
        "its clusters are hills of a kernel density, and labels of rows step where a row changes "
        "hills",
        "KDEInfluence deletes from that density itself, exactly.",
    )
)
register(
    Refusal(
        ("AgglomerativeClustering", "Birch"),
        "it merges rows one after another, and a merge that a deletion changes changes all later "
        "ones: nothing is minimised, and labels of rows have no loss",
        _MIXTURE,
    )
)
register(
    Refusal(
        (),
        "it assigns rows to clusters, and a label without a target has no loss that a deletion "
        "could change",
        _MIXTURE,
    ),
    applies=_clusters,
)
register(
    Refusal(
        ("AffinityPropagation",),
        "its clusters have rows for centres: messages between all pairs choose them, and a "
        "deletion leaves the centres or replaces them",
        _MIXTURE,
    )
)
register(
    Refusal(
        ("SpectralBiclustering", "SpectralClustering", "SpectralCoclustering"),
        "it runs k-means on eigenvectors that have an entry for each training row: without a row "
        "there are others, up to rotation, and assignments are discrete",
        _MIXTURE,
    )
)
register(
    Refusal(
        (
            "ClassicalMDS",
            "Isomap",
            "LocallyLinearEmbedding",
            "MDS",
            "SpectralEmbedding",
            "TSNE",
        ),
        "its coordinates belong to the training rows, from distances between them: they are known "
        "up to rotation or a local minimum, and a row's loss is none of its own but of pairs",
        "PCA has exact deletions, by InfluenceExplainer; KNNInfluence works on the neighbours "
        "that the map is made of.",
    )
)
