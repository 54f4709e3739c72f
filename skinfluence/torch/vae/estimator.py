"""The beta-VAE as a scikit-learn estimator."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from skinfluence._compat import Interval, StrOptions, _fit_context, check_weights
from skinfluence.base import all_or_nothing
from skinfluence.checkpoints import CheckpointRecorder
from skinfluence.torch.vae.latents import Latents
from skinfluence.torch.vae.module import LIKELIHOODS
from skinfluence.torch.vae.networks import HIDDEN, new_module
from skinfluence.torch.vae.rows import (
    as_tensor,
    check_image_shape,
    check_unit_interval,
    flat_images,
    usable_device,
)
from skinfluence.torch.vae.training import OPTIMIZERS, SCHEDULES, Training

SEED = 2**31 - 1


class BetaVAE(Latents, BaseEstimator):
    """A beta-VAE that records its training.

    It learns a Gaussian of some latents for each row, and the distribution of rows given latents,
    by minimising the mean over rows of::

        loss(x) = beta KL(Q(.|x) || N(0, I))  -  E_{z ~ Q(.|x)} log P(x|z)

    with one draw a row and step. ``score_samples`` is minus this loss: a bound on the log density
    where ``beta`` is 1. Checkpoints are kept on the way, so that
    ``TracInExplainer(BetaVAE(...))`` can tell which training rows are responsible for a row's
    loss, and which ones the model has to bend for.

    Use it for images and for tables whose rows lie near a curved sheet. For a few columns or a few
    hundred rows a :class:`~sklearn.mixture.GaussianMixture` or
    :class:`~sklearn.neighbors.KernelDensity` is the better density, and its influence is exact.
    Bring the columns to one scale first: all of them share ``noise_scale``.

    Parameters
    ----------
    latent_dim : int, default=16
        Number of latents.
    beta : float, default=1.0
        Weight of the divergence. Larger values code less of each row.
    likelihood : {"gaussian", "bernoulli"}, default="gaussian"
        Distribution of a row given its latents: ``N(mean, noise_scale**2 I)``, or values in
        [0, 1] by their logits.
    architecture : {"mlp", "conv"}, default="mlp"
        Dense layers, or convolutions that halve an image, each with its mirror image as decoder.
    hidden : sequence of int, default=None
        Widths of the encoder's dense layers, or channels of its convolutions; the decoder has
        them in reverse. None stands for (512, 256), or (32, 32, 64, 64) followed by a dense layer
        of 256. An empty sequence makes encoder and decoder linear.
    image_shape : tuple of int, default=None
        Channels, height and width, for "conv". None takes it from images (n, C, H, W).
    noise_scale : float, default=1.0
        Standard deviation of the Gaussian likelihood, in the unit of the columns: detail below it
        is noise.
    learning_rate : float, default=1e-3
        Rate of the optimiser, in the first step.
    schedule : {"constant", "linear", "cosine"}, default="constant"
        Whether the rate stays, or falls to nearly zero over `max_epochs`, in a straight line or
        as half a cosine. A training that stops earlier by `tol` stops on the way. Checkpoints
        record the rate of every step.
    batch_size : int, default=128
        Rows a step, at most: the batches of an epoch differ by one row at most.
    max_epochs : int, default=50
        Passes over the rows. Few rows need more of them: some thousand steps are a start.
    weight_decay : float, default=0.0
        Times every parameter, added to its gradient.
    optimizer : {"adam", "sgd"}, default="adam"
        "sgd" is plain gradient descent, whose scores by gradient tracing are in units of the
        loss; it needs a rate chosen with care.
    checkpoints : int, CheckpointRecorder or None, default=10
        How many are kept, evenly spaced from the first parameters to the last (with `tol`,
        between half of them and all); or a recorder that is still empty, for instance one that
        writes to disk; or none.
    tol : float, default=None
        Stop where the epochs' mean loss has not fallen by this for `n_iter_no_change` epochs.
        None trains for all of them.
    n_iter_no_change : int, default=10
        Patience of `tol`.
    device : str or torch.device, default=None
        Where the network lives, such as "cuda". None is the CPU.
    dtype : {"float32", "float64"}, default="float32"
        Type of the parameters and of all results.
    progress : bool, default=False
        Show a progress bar with the loss so far (needs tqdm).
    random_state : int, RandomState instance or None, default=None
        Of the first parameters, the order of the rows and all draws. Torch's own global state is
        neither used nor changed.

    Attributes
    ----------
    module_ : VAE
        The trained module.
    checkpoints_ : Checkpoints
        What was recorded; absent where `checkpoints` is None.
    loss_curve_ : list of float
        Mean loss of each epoch, at the parameters it went through.
    n_iter_ : int
        Epochs run.
    image_shape_ : tuple of int or None
        Channels, height and width of "conv".
    n_features_in_ : int
        Number of columns, or of values of an image, seen by ``fit``.
    feature_names_in_ : ndarray of str of shape (`n_features_in_`,)
        Names of the columns, where they have any.

    See Also
    --------
    skinfluence.torch.VAE : The module, for encoders and decoders of your own.
    skinfluence.KDEInfluence : Densities without training, and their exact influence.

    Notes
    -----
    At a constant rate the last parameters are off by what the last steps overshot, and the
    gradients of all rows share that. Where scores come from the last checkpoint, or rows are
    ranked by self influence, a rate that falls makes them the rows' own.

    Weights are scaled to mean 1 and multiply the losses; a batch's loss is divided by its number
    of rows, which is the same for all batches but for one row. A weight of 2 is therefore worth
    two rows in the mean over the order of the rows, not in every step.

    Each checkpoint's loss is a moving average over the last twenty batches or so, the first one's
    that of some rows.

    Log variances of the latents are bounded smoothly by 20 in size, so that rows far outside the
    training rows have a finite score.

    References
    ----------
    .. [1] I. Higgins et al., "beta-VAE: Learning Basic Visual Concepts with a Constrained
       Variational Framework", ICLR 2017.
    .. [2] Z. Kong and K. Chaudhuri, "Understanding Instance-based Interpretability of Variational
       Auto-Encoders", NeurIPS 2021, equation (6) and appendix B: dense networks of MNIST with
       ``beta=4``, convolutions of CIFAR-10 with ``beta=2``.

    Examples
    --------
    Two columns that follow one latent, and a row that breaks the pattern though each of its
    values is common:

    >>> import numpy as np
    >>> from skinfluence.torch import BetaVAE
    >>> t = np.random.default_rng(0).normal(size=(300, 1))
    >>> X = np.vstack([np.hstack([t, t]), [[1.5, -1.5]]])
    >>> vae = BetaVAE(1, hidden=(16,), noise_scale=0.3, learning_rate=0.01, random_state=0)
    >>> int(vae.fit(X).score_samples(X).argmin())
    300
    """

    _parameter_constraints: dict = {
        "latent_dim": [Interval(Integral, 1, None, closed="left")],
        "beta": [Interval(Real, 0, None, closed="left")],
        "likelihood": [StrOptions(set(LIKELIHOODS))],
        "architecture": [StrOptions(set(HIDDEN))],
        "hidden": ["array-like", None],
        "image_shape": ["array-like", None],
        "noise_scale": [Interval(Real, 0, None, closed="neither")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "schedule": [StrOptions(set(SCHEDULES))],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "optimizer": [StrOptions(set(OPTIMIZERS))],
        "checkpoints": [Interval(Integral, 1, None, closed="left"), CheckpointRecorder, None],
        "tol": [Interval(Real, 0, None, closed="left"), None],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "device": [str, torch.device, None],
        "dtype": [StrOptions({"float32", "float64"})],
        "progress": ["boolean"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        latent_dim: int = 16,
        *,
        beta: float = 1.0,
        likelihood: Literal["gaussian", "bernoulli"] = "gaussian",
        architecture: Literal["mlp", "conv"] = "mlp",
        hidden: Sequence[int] | None = None,
        image_shape: tuple[int, int, int] | None = None,
        noise_scale: float = 1.0,
        learning_rate: float = 1e-3,
        schedule: Literal["constant", "linear", "cosine"] = "constant",
        batch_size: int = 128,
        max_epochs: int = 50,
        weight_decay: float = 0.0,
        optimizer: Literal["adam", "sgd"] = "adam",
        checkpoints: int | CheckpointRecorder | None = 10,
        tol: float | None = None,
        n_iter_no_change: int = 10,
        device: str | torch.device | None = None,
        dtype: Literal["float32", "float64"] = "float32",
        progress: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.latent_dim = latent_dim
        self.beta = beta
        self.likelihood = likelihood
        self.architecture = architecture
        self.hidden = hidden
        self.image_shape = image_shape
        self.noise_scale = noise_scale
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.weight_decay = weight_decay
        self.optimizer = optimizer
        self.checkpoints = checkpoints
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.device = device
        self.dtype = dtype
        self.progress = progress
        self.random_state = random_state

    # -- fitting ----------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Train the networks from the start.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, channels, height, width)
            Training rows.
        y : Ignored
            Present for scikit-learn's conventions.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows' losses; scaled to mean 1.

        Returns
        -------
        self : BetaVAE
            This estimator. A fit that fails or is interrupted leaves it as it was.

        Raises
        ------
        ValueError
            If values are missing, or outside [0, 1] with a Bernoulli likelihood; if the images'
            shape is unknown or does not fit; if the device cannot be used; or if the training
            diverges.
        """
        with all_or_nothing(self):
            given = flat_images(X, self.image_shape)
            rows = self._rows(given, self.dtype, reset=True)
            if self.likelihood == "bernoulli":
                check_unit_interval(rows)
            weights = check_weights(sample_weight, rows)
            self.image_shape_ = None
            if self.architecture == "conv":
                shape = X.shape[1:] if given is not X else self.image_shape  # type: ignore[union-attr]
                self.image_shape_ = check_image_shape(shape, rows.shape[1])
            self._train(rows, weights)
        return self

    # Also where the caller has switched derivatives off.
    @torch.inference_mode(False)
    @torch.enable_grad()
    def _train(self, rows, weights):
        init, order, noise, self._draws_seed = self._seeds()
        device = usable_device(self.device)
        module = new_module(self, rows.shape[1], init).to(device)
        if weights is not None:
            weights = as_tensor((weights / weights.mean()).astype(rows.dtype), device)
        rows = as_tensor(rows, device)
        rates = {"lr": float(self.learning_rate), "weight_decay": float(self.weight_decay)}
        optimizer = OPTIMIZERS[self.optimizer](module, **rates)
        training = Training(
            module,
            optimizer,
            rows,
            weights,
            int(self.batch_size),
            (order, noise),
            schedule=self.schedule,
        )
        with self._recorded(training):
            self.loss_curve_ = training.run(
                self.max_epochs,
                tol=self.tol,
                patience=self.n_iter_no_change,
                progress=self.progress,
            )
        self.n_iter_ = len(self.loss_curve_)
        self.module_ = module.eval()
        self._n_features_out = self.latent_dim

    def _seeds(self):
        rng = check_random_state(self.random_state)
        return [int(seed) for seed in rng.randint(SEED, size=4)]

    @contextlib.contextmanager
    def _recorded(self, training: Training) -> Iterator[None]:
        """Record the steps of the block, where that was asked for."""
        self.__dict__.pop("checkpoints_", None)  # of a fit before
        if self.checkpoints is None:
            yield
            return
        recorder = self._recorder(self.checkpoints, self.max_epochs * training.steps_an_epoch)
        training.note_loss = recorder.note_loss
        recorder.note_loss(training.loss_at_start())
        with recorder.watch(training.module, training.optimizer, n_rows=len(training.rows)):
            yield
        self.checkpoints_ = recorder.checkpoints

    def _recorder(self, given, n_steps):
        if not isinstance(given, CheckpointRecorder):
            return evenly_recorded(given, n_steps if self.tol is None else None)
        if len(given.checkpoints):
            raise ValueError(
                f"The recorder of checkpoints= holds {len(given.checkpoints)} of a training "
                "before this one. Pass a new CheckpointRecorder for each fit, or a number."
            )
        return given

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = [self.dtype]
        return tags


def evenly_recorded(n: int, n_steps: int | None) -> CheckpointRecorder:
    """A recorder of n checkpoints of so many steps, or of at most n where those are not known."""
    if n_steps is None:
        return CheckpointRecorder(keep=n)
    first = n_steps if n == 1 else 0
    return CheckpointRecorder(at=np.linspace(first, n_steps, n).round().astype(int))
