"""Estimators around other estimators that cannot be peeled off."""

from __future__ import annotations

from skinfluence.reasons.refusal import Refusal, register

register(
    Refusal(
        ("ClassifierChain", "RegressorChain"),
        "each of its links is fitted to one target and predicts from predictions of the links "
        "before it: what is minimised is not the loss of what is predicted",
        "MultiOutput{kind} has one model for each target, and is read by InfluenceExplainer; so "
        "is each of estimators_, on rows that have the targets before it for columns.",
    )
)
register(
    Refusal(
        ("OneVsOneClassifier",),
        "each of its problems is fitted to the rows of two classes, and a query has a loss only "
        "in those that know its label",
        "OneVsRestClassifier around the same estimator is read by InfluenceExplainer; SVC, which "
        "votes one against one too, exactly.",
    )
)
register(
    Refusal(
        ("OutputCodeClassifier",),
        "it draws a random code for each class, and answers with the nearest code: there is no "
        "loss of a row for its label",
        "OneVsRestClassifier around the same estimator is read by InfluenceExplainer.",
    )
)
register(
    Refusal(
        ("SelfTrainingClassifier",),
        "it labels rows by its own predictions above a threshold: a deletion adds or takes away "
        "whole labels",
        "Explain its estimator_ on the rows and labels of its last round, transduction_ where "
        "that is not -1.",
    )
)
