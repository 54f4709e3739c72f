"""One estimator for each class or output: OneVsRestClassifier and the MultiOutput estimators."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.svm import SVC, SVR, NuSVC, NuSVR
from sklearn.utils import check_array

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.objectives.encoding import class_positions
from skinfluence.objectives.problem import LinearFit
from skinfluence.objectives.registry import Reader, Rows, reader_of, register

Array = NDArray[np.float64]


class _Several(Reader):
    """Problems of several inner estimators, side by side; the loss of a row is their sum."""

    def check(self, estimator: Any) -> None:
        inner = estimator.estimator
        if isinstance(inner, SVC | NuSVC | SVR | NuSVR):
            itself = "; SVC itself takes several classes" if isinstance(inner, SVC | NuSVC) else ""
            raise UnsupportedEstimatorError(
                f"{type(estimator).__name__} of {type(inner).__name__} holds a machine with a "
                "kernel for each class or output, and machines are followed one at a time. "
                f"Explain each of its estimators_ on its own, with its own targets{itself}."
            )
        reader_of(inner).check(inner)

    def _targets(self, estimator: Any, y: Any) -> list[Any]:
        """Target of each inner estimator."""
        raise NotImplementedError

    def encode(self, estimator: Any, y: Any) -> list[Any]:
        pairs = zip(estimator.estimators_, self._targets(estimator, y), strict=True)
        return [part for inner, own in pairs for part in reader_of(inner).encode(inner, own)]

    def _fits(self, estimator, rows, names):
        fits = []
        for inner, own, name in zip(
            estimator.estimators_, self._targets(estimator, rows.y), names, strict=True
        ):
            fit = reader_of(inner).read(inner, dataclasses.replace(rows, y=own))
            if fit.linear_programme:
                raise UnsupportedEstimatorError(
                    f"{type(estimator).__name__} of quantile regressions is not read. Explain "
                    "each of its estimators_ on its own."
                )
            problems = tuple(_named(problem, str(name), fit) for problem in fit.problems)
            fits.append(dataclasses.replace(fit, problems=problems))
        return fits


def _named(problem, name, fit):
    """A problem of the estimator called `name`, which may have one for each of its classes."""
    if len(fit.problems) > 1:
        return dataclasses.replace(problem, name=f"{name}:{problem.name}")
    if fit.classes is None or problem.loss.n_outputs != len(fit.classes):
        return dataclasses.replace(problem, name=name)
    names = tuple(f"{name}:{label}" for label in fit.classes)
    return dataclasses.replace(problem, name=name, output_names=names)


class OneVsRestReader(_Several):
    """A binary problem for each class, or for each label where rows have several."""

    estimators = (OneVsRestClassifier,)

    def _targets(self, estimator: Any, y: Any) -> list[Any]:
        classes = estimator.classes_
        if not estimator.multilabel_:
            codes = class_positions(y, classes)
            if len(classes) == 2:
                return [codes]
            return [(codes == k).astype(np.intp) for k in range(len(classes))]
        return list(check_array(y, dtype=np.intp, accept_sparse=False).T)

    def read(self, estimator: Any, rows: Rows) -> LinearFit:
        classes = estimator.classes_
        several = estimator.multilabel_
        self._refuse_constant(estimator)
        names = classes[1:] if len(estimator.estimators_) == 1 else classes
        fits = self._fits(estimator, rows, names)
        inner = tuple(fit.proba for fit in fits)
        proba = None if None in inner else OneVsRestProbability(inner, shared=not several)
        problems = tuple(problem for fit in fits for problem in fit.problems)
        return LinearFit(problems, classes=None if several else classes, proba=proba)

    @staticmethod
    def _refuse_constant(estimator):
        for inner in estimator.estimators_:
            if not hasattr(inner, "coef_"):
                raise UnsupportedEstimatorError(
                    "OneVsRestClassifier met a label that all rows or none have, and fitted a "
                    "constant there, which has no objective. Drop that label."
                )


class MultiOutputReader(_Several):
    """A problem (or several) for each column of y."""

    estimators = (MultiOutputRegressor, MultiOutputClassifier)

    def _targets(self, estimator: Any, y: Any) -> list[Any]:
        columns = check_array(y, dtype=None, input_name="y")
        if columns.shape[1] != len(estimator.estimators_):
            raise ValueError(
                f"y has {columns.shape[1]} columns, and the estimator was fitted on "
                f"{len(estimator.estimators_)}. Pass y as it was passed to fit."
            )
        return list(columns.T)

    def read(self, estimator: Any, rows: Rows) -> LinearFit:
        fits = self._fits(estimator, rows, range(len(estimator.estimators_)))
        return LinearFit(tuple(problem for fit in fits for problem in fit.problems))


@dataclass(frozen=True)
class OneVsRestProbability:
    """Probability of each class by its own problem.

    Parameters
    ----------
    inner : tuple of callable
        ``predict_proba`` of each binary problem as a function of its output.
    shared : bool
        Whether the classes exclude one another, so that probabilities are made to sum to 1.
    """

    inner: tuple[Callable[[Array], Array], ...]
    shared: bool

    def __call__(self, outputs: Array) -> Array:
        if len(self.inner) == 1:
            return self.inner[0](outputs)
        pairs = enumerate(self.inner)
        own = np.stack([proba(outputs[..., k : k + 1])[..., 1] for k, proba in pairs], axis=-1)
        return own / own.sum(axis=-1, keepdims=True) if self.shared else own


register(OneVsRestReader())
register(MultiOutputReader())
