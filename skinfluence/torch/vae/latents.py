"""What a trained VAE answers: latents, rows, bounds."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from skinfluence._loops import memory_budget, slices
from skinfluence.torch.vae.module import VAE
from skinfluence.torch.vae.rows import as_tensor, check_unit_interval, flat_images

# Numbers at hand for each of a row's values and draws while it is scored.
COPIES = 16


class Latents(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """Transformer and density of an estimator with a trained VAE, ``module_``."""

    module_: VAE
    random_state: Any
    image_shape_: tuple[int, ...] | None
    n_features_in_: int
    _n_features_out: int
    _draws_seed: int

    # -- rows -------------------------------------------------------------------------------

    def _rows(self, X, dtype, *, reset):
        """Rows (n, d) as they go through the networks."""
        return validate_data(self, X, reset=reset, dtype=getattr(np, dtype), order="C")

    def _new_rows(self, X):
        check_is_fitted(self)
        return self._rows(flat_images(X, self.image_shape_), self._trained_dtype(), reset=False)

    def _trained_dtype(self):
        # Not the parameter: it may have been set to another since.
        return str(next(self.module_.parameters()).dtype).removeprefix("torch.")

    def _in_blocks(self, function, rows, copies):
        """`function` of the rows on the module's device, a block at a time, as an array."""
        device = next(self.module_.parameters()).device
        size = memory_budget() / (copies * max(1, self.n_features_in_) * rows.itemsize)
        with torch.no_grad():
            found = [
                function(as_tensor(rows[block], device)).cpu()
                for block in slices(len(rows), int(size))
            ]
        values = torch.cat(found).numpy()
        if not np.isfinite(values).all():
            i = int(np.flatnonzero(~np.isfinite(values.reshape(len(rows), -1)).all(1))[0])
            raise ValueError(
                f"Row {i} is so far from the training rows that it leaves the numbers of "
                f"{values.dtype}: its largest value is {np.abs(rows[i]).max():.3g}. Scale it as "
                "the training rows were, or leave it out."
            )
        return values

    # -- what a VAE is for ------------------------------------------------------------------

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Encode rows into the means of their latents.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, channels, height, width)
            Rows.

        Returns
        -------
        Z : ndarray of shape (n_samples, latent_dim)
            Means of ``Q(.|x)``; a frame where ``set_output`` asks for one.

        Raises
        ------
        ValueError
            If a row is so large that its latents overflow.
        """
        rows = self._new_rows(X)
        return self._in_blocks(lambda x: self.module_.encode(x)[0], rows, COPIES)

    def inverse_transform(self, X: ArrayLike) -> np.ndarray:
        """Decode latents into the means of rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, latent_dim)
            Latents.

        Returns
        -------
        rows : ndarray of shape (n_samples, n_features)
            Means of ``P(.|z)``; images are flat.

        Raises
        ------
        ValueError
            If the number of columns is not the number of latents.
        """
        check_is_fitted(self)
        latents = check_array(X, dtype=getattr(np, self._trained_dtype()), order="C")
        if latents.shape[1] != self._n_features_out:
            raise ValueError(
                f"X has {latents.shape[1]} columns, and this VAE has {self._n_features_out} "
                "latents. Pass what transform returns."
            )
        return self._in_blocks(self.module_.mean, latents, COPIES)

    def score_samples(self, X: ArrayLike, n_draws: int = 16) -> np.ndarray:
        """Bound the log density of each row: high for normal rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, channels, height, width)
            Rows.
        n_draws : int, default=16
            Draws of the latents. All rows and all calls share them, so that scores are
            comparable, and the score of a row does not depend on the others.

        Returns
        -------
        bounds : ndarray of shape (n_samples,)
            Minus the loss of each row, in nats. Rows so far away that it overflows get the
            smallest number of the type.

        Raises
        ------
        ValueError
            If `n_draws` is no positive number, or values are outside [0, 1] with a Bernoulli
            likelihood.
        """
        n_draws = check_positive("n_draws", n_draws, "draws of the latents")
        rows = self._new_rows(X)
        if self.module_.likelihood == "bernoulli":
            check_unit_interval(rows)
        noise, least = self._noise(n_draws), float(np.finfo(rows.dtype).min)

        def bounds(x: Tensor) -> Tensor:
            shared = noise.to(x.device, x.dtype).expand(len(x), *noise.shape)
            # inf - inf, where both the row and its reconstruction have overflowed.
            return self.module_.elbo(x, shared).nan_to_num(nan=least, neginf=least)

        return self._in_blocks(bounds, rows, COPIES * n_draws)

    def _noise(self, n_draws):
        """The same draws every time, and the first of them whatever their number."""
        rng = np.random.RandomState(self._draws_seed)
        return torch.from_numpy(rng.standard_normal((n_draws, self._n_features_out)))

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Average ``score_samples``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, channels, height, width)
            Rows.
        y : Ignored
            Present for scikit-learn's conventions.

        Returns
        -------
        bound : float
            In nats a row.
        """
        return float(np.mean(self.score_samples(X), dtype=np.float64))

    def sample(
        self,
        n_samples: int = 1,
        *,
        noise: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ) -> np.ndarray:
        """Draw rows from the model.

        Parameters
        ----------
        n_samples : int, default=1
            How many.
        noise : bool, default=False
            Whether to draw from the likelihood too. Without it rows are its means at latents
            drawn from N(0, I), as images are usually shown.
        random_state : int, RandomState instance or None, default=None
            Of the draws; None stands for the estimator's own.

        Returns
        -------
        rows : ndarray of shape (n_samples, n_features)
            New rows; images are flat.

        Raises
        ------
        ValueError
            If `n_samples` is no positive number.
        """
        check_is_fitted(self)
        n_samples = check_positive("n_samples", n_samples, "rows to draw")
        rng = check_random_state(self.random_state if random_state is None else random_state)
        means = self.inverse_transform(rng.standard_normal((n_samples, self._n_features_out)))
        if not noise:
            return means
        if self.module_.likelihood == "bernoulli":
            return (rng.uniform(size=means.shape) < means).astype(means.dtype)
        drawn = means + self.module_.noise_scale * rng.standard_normal(means.shape)
        return drawn.astype(means.dtype)


def check_positive(name: str, value: Any, what: str) -> int:
    """A number of rows or draws."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < 1:
        raise ValueError(
            f"{name} must be a positive integer: {what}. Got {value!r}. Pass for instance "
            f"{name}=16."
        )
    return int(value)
