"""The contract of a solver."""

from __future__ import annotations

from abc import ABC, abstractmethod

from skinfluence.torch.curvature import Curvature, Inverse


class Solver(ABC):
    """A way to invert a curvature.

    The explainer takes any object with this method; its options are its own.

    See Also
    --------
    Dense : Exact, for some thousand parameters.
    Inverse : What a solver makes.

    Examples
    --------
    A solver of one's own, which the explainer takes as it takes the others:

    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> from skinfluence import InfluenceExplainer
    >>> from skinfluence.torch import Inverse, Solver
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier((3,), alpha=0.1, solver="lbfgs", max_iter=2000, random_state=0)
    >>> net = net.fit(X, y)
    >>> class Descent(Inverse):
    ...     def __init__(self, damping):
    ...         self.damping = damping
    ...
    ...     def __call__(self, V):
    ...         return V
    >>> class Gradients(Solver):
    ...     def invert(self, curvature, damping):
    ...         return Descent(damping)
    >>> found = InfluenceExplainer(net, damping=0.0, solver=Gradients()).fit(X, y)
    >>> found.solver_
    'Gradients'
    """

    @abstractmethod
    def invert(self, curvature: Curvature, damping: float) -> Inverse:
        """Invert the curvature with ``W damping`` added to its diagonal.

        Parameters
        ----------
        curvature : Curvature
            As products with vectors, or in any other way that it offers.
        damping : float
            In units of a mean loss.

        Returns
        -------
        inverse : Inverse
            Whose own `damping` is what was added.

        Raises
        ------
        ValueError
            If this solver cannot invert this curvature: the message says what can.
        """
