"""The least arithmetic of tracing a VAE, in plain torch: what the speed is held against.

Matrix products layer by layer, forwards and backwards by hand, for a beta-VAE with dense layers,
ReLU and a Bernoulli likelihood; noise is given. Layers are pairs (weight, bias).
"""

from __future__ import annotations

import torch
from floors_networks import layers_of
from torch.nn import functional

BOUND = 20.0


def networks_of(module):
    """Layers of the encoder and of the decoder, and the weight of the divergence."""
    return layers_of(module.encoder), layers_of(module.decoder), module.beta


def forwards(layers, inputs):
    """Inputs of every layer, and the output of the last."""
    found = [inputs]
    for weight, bias in layers[:-1]:
        found.append(functional.linear(found[-1], weight, bias).relu_())
    return found, functional.linear(found[-1], *layers[-1])


def backwards(layers, inputs, delta):
    """Derivatives in the output of every layer; the inputs have one row for many deltas or one."""
    deltas = [delta]
    for (weight, _), a in zip(layers[:0:-1], inputs[:0:-1], strict=True):
        # Products of rectified values vanish where they do.
        back = (deltas[0] @ weight).view(len(a), -1, a.shape[1])
        deltas.insert(0, back.mul_((a > 0)[:, None]).flatten(0, 1))
    return deltas


def row_factors(networks, x, noise, apart=False):
    """Inputs and derivatives of every layer: of the encoder, one a row, and of the decoder.

    The decoder has m a row, one a draw. With `apart` they are those of each draw's own loss, so
    that the encoder has m derivatives a row, too, though one input; else of their mean.
    """
    encoder, decoder, beta = networks
    b, m, _ = noise.shape
    inputs, out = forwards(encoder, x)
    mu, raw = out.chunk(2, 1)
    slope = torch.tanh(raw / BOUND)
    log_var, slope = BOUND * slope, 1 - slope.square()
    std = (0.5 * log_var).exp()
    z = (mu[:, None] + std[:, None] * noise).flatten(0, 1)
    drawn, logits = forwards(decoder, z)
    top = logits.sigmoid_().view(b, m, -1).sub_(x[:, None]).flatten(0, 1)
    top = top if apart else top.div_(m)
    later = backwards(decoder, drawn, top)
    dz = (later[0] @ decoder[0][0]).view(b, m, -1)
    spread = dz * noise * (0.5 * std)[:, None]
    if not apart:
        dz, spread = dz.sum(1, keepdim=True), spread.sum(1, keepdim=True)
    dmu = dz + beta * mu[:, None]
    dlv = (spread + (0.5 * beta * torch.expm1(log_var))[:, None]) * slope[:, None]
    earlier = backwards(encoder, inputs, torch.cat([dmu, dlv], 2).flatten(0, 1))
    return list(zip(inputs, earlier, strict=True)), list(zip(drawn, later, strict=True))


def vae_products(networks, x, noise, xq, noise_q, block=125):
    """``<g_q, g_i>`` of the means over draws, (q, n): for decoder layers all pairs of draws."""
    (early_q, late_q), (q, m, _) = row_factors(networks, xq, noise_q), noise_q.shape
    out = torch.zeros(q, len(x), dtype=x.dtype, device=x.device)
    for start in range(0, len(x), block):
        part = slice(start, start + block)
        early, late = row_factors(networks, x[part], noise[part])
        for (aq, dq), (a, d) in zip(early_q, early, strict=True):
            out[:, part] += (aq @ a.T).add_(1.0).mul_(dq @ d.T)
        for (aq, dq), (a, d) in zip(late_q, late, strict=True):
            pairs = (aq @ a.T).add_(1.0).mul_(dq @ d.T)
            out[:, part] += pairs.view(q, m, -1, m).sum((1, 3))
    return out


def vae_squares(networks, x, noise, block=125):
    """Unbiased ``|g_i|^2`` of the mean over draws: products of all pairs of two draws, (n,)."""
    m = noise.shape[1]
    out = torch.zeros(len(x), dtype=x.dtype, device=x.device)
    for start in range(0, len(x), block):
        part = slice(start, start + block)
        early, late = row_factors(networks, x[part], noise[part], apart=True)
        grams = 0.0
        for a, d in early:
            lengths = a.square().sum(1).add_(1.0)
            grams = grams + lengths[:, None, None] * _gram(d, m)
        for a, d in late:
            grams = grams + _gram(a, m).add_(1.0).mul_(_gram(d, m))
        own = grams.diagonal(dim1=1, dim2=2).sum(1)
        out[part] = (grams.sum((1, 2)) - own) / (m * (m - 1))
    return out


def _gram(vectors, m):
    """Products among the m vectors of each row, (b, m, m)."""
    each = vectors.view(-1, m, vectors.shape[1])
    return each @ each.mT
