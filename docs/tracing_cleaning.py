"""Foreign rows among digits, and who finds them: VAE-TracIn beside what costs nothing."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import KernelDensity

from skinfluence import KDEInfluence, TracInExplainer
from skinfluence.metrics import detection_auc
from skinfluence.torch import BetaVAE

N_FOREIGN = 40

images, digits = load_digits(return_X_y=True)
images = (images / 16).astype(np.float32)
rng = np.random.default_rng(0)


def turned(rows):
    return np.rot90(rows.reshape(-1, 8, 8), axes=(1, 2)).reshape(-1, 64)


def shifted(rows):
    return np.roll(rows.reshape(-1, 8, 8), 4, axis=1).reshape(-1, 64)


def shuffled(rows):
    return rng.permuted(rows, axis=1)


def one_image(rows):
    return 1 - np.repeat(rows[:1], len(rows), axis=0)


def planted(change):
    """All digits, forty of them changed."""
    rows = rng.choice(len(images), N_FOREIGN, replace=False)
    X, foreign = images.copy(), np.zeros(len(images), bool)
    X[rows], foreign[rows] = change(images[rows]), True
    return X, foreign


def another_digit():
    """Zeros to eights, and forty nines."""
    nines = np.flatnonzero(digits == 9)
    kept = np.delete(np.arange(len(images)), nines[N_FOREIGN:])
    return images[kept], digits[kept] == 9


def vae_of(X, noise_scale):
    vae = BetaVAE(8, noise_scale=noise_scale, hidden=(128, 64), max_epochs=40, random_state=0)
    return TracInExplainer(vae, n_draws=8, contamination=None, random_state=0).fit(X)


def orders(X):
    """What is high for rows to look at."""
    traced = vae_of(X, 0.3)
    last = TracInExplainer(
        traced.estimator_,
        checkpoints=traced.checkpoints_[-1:],
        learning_rates=1.0,
        n_draws=8,
        contamination=None,
        random_state=0,
    ).fit(X)
    density = KDEInfluence(KernelDensity(bandwidth=0.6), contamination=None).fit(X)
    return {
        "VAE-TracIn, ten checkpoints": traced.self_influence(),
        "VAE-TracIn, the last": last.self_influence(),
        "loss of the VAE": -traced.estimator_.score_samples(X),
        "``KDEInfluence``": density.self_influence(),
        "``IsolationForest``": -IsolationForest(random_state=0).fit(X).score_samples(X),
    }


CASES = {
    "turned by 90 degrees": planted(turned),
    "pixels shuffled": planted(shuffled),
    "shifted by half": planted(shifted),
    "another digit": another_digit(),
    "forty times the same negative": planted(one_image),
}

found = {name: {} for name in CASES}
for name, (X, foreign) in CASES.items():
    for who, order in orders(X).items():
        found[name][who] = detection_auc(foreign, order)

header = ("", *CASES)
table = [[who, *(f"{found[name][who]:.3f}" for name in CASES)] for who in found["another digit"]]

# -- draws ---------------------------------------------------------------------------------------

X, _ = CASES["turned by 90 degrees"]
some = X[:200]
traced = vae_of(X, 0.3)
draws_header = ("``n_draws``", "error it reports", "error against 256 draws", "bias")


def own_of(n_draws, seed):
    last = TracInExplainer(
        traced.estimator_,
        checkpoints=traced.checkpoints_[-1:],
        learning_rates=1.0,
        n_draws=n_draws,
        contamination=None,
        random_state=seed,
    )
    return last.fit(some).self_influence(return_std=True)


def share(values):
    return f"{100 * values:.1f}\N{NO-BREAK SPACE}%"


truth, _ = own_of(256, 1)
size = np.sqrt(np.mean(truth**2))
draws_table = []
for n_draws in (4, 16, 64):
    own, std = own_of(n_draws, 0)
    draws_table.append(
        [
            str(n_draws),
            share(np.sqrt(np.mean(std**2)) / size),
            share(np.sqrt(np.mean((own - truth) ** 2)) / size),
            share(np.mean(own - truth) / np.mean(truth)),
        ]
    )

# -- the two gradients ---------------------------------------------------------------------------

gradient_header = ("latents", "of the means", "of the variances")


def encoder_gradients(module, bound, x, noise):
    """Gradients of one bound in the encoder, one draw at a time, (m, p)."""
    weights = list(module.encoder.parameters())
    gradients = [torch.autograd.grad(bound(x, one[None]).sum(), weights) for one in noise]
    return torch.stack([torch.cat([part.ravel() for part in g]) for g in gradients])


gradient_table = []
for latent_dim in (1, 2, 8):
    vae = BetaVAE(
        latent_dim, noise_scale=0.3, hidden=(32,), max_epochs=20, dtype="float64", random_state=0
    )
    module = vae.fit(images).module_
    noise = torch.randn(1000, latent_dim, generator=torch.Generator().manual_seed(0)).double()
    x = torch.from_numpy(images[:1]).double()
    ways = [encoder_gradients(module, way, x, noise) for way in (module.elbo, module.elbo_score)]
    lengths = [way.mean(0).norm() for way in ways]
    spreads = [way.var(0).sum() for way in ways]
    gradient_table.append(
        [str(latent_dim), f"{lengths[1] / lengths[0]:.1f}", f"{spreads[1] / spreads[0]:,.0f}"]
    )

if __name__ == "__main__":
    for head, rows in (
        (header, table),
        (draws_header, draws_table),
        (gradient_header, gradient_table),
    ):
        print(*[" | ".join(row) for row in [head, *rows]], sep="\n")
