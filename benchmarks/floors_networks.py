"""The least arithmetic of influence on networks, in plain torch: what the speed is held against.

Matrix products layer by layer for networks whose architecture is known, without weights, checks
or any other layer. ReLU networks with cross-entropy; `layers` are pairs (weight, bias).
"""

from __future__ import annotations

import torch
from torch.nn import functional


def layers_of(net):
    """Weight and bias of every linear layer or convolution."""
    return [(m.weight.detach(), m.bias.detach()) for m in net if hasattr(m, "weight")]


def mlp_factors(layers, X, y):
    """Inputs of every layer, and derivatives of every row's loss in its outputs."""
    inputs, deltas = _inputs_and_slopes(layers, X)
    deltas[-1][torch.arange(len(y)), y] -= 1.0
    return inputs, _back(layers, inputs, deltas)


def _inputs_and_slopes(layers, X):
    inputs = [X]
    for weight, bias in layers[:-1]:
        inputs.append(functional.linear(inputs[-1], weight, bias).relu_())
    probabilities = functional.linear(inputs[-1], *layers[-1]).softmax(1)
    return inputs, [None] * (len(layers) - 1) + [probabilities]


def _back(layers, inputs, deltas):
    for i in range(len(layers) - 1, 0, -1):
        deltas[i - 1] = (deltas[i] @ layers[i][0]).mul_(inputs[i] > 0)
    return deltas


def mlp_products(layers, X, y, Xq, yq, block=1000):
    """``<g_q, g_i>``, (m, n): a GEMM of the inputs and one of the derivatives for each layer."""
    queries = list(zip(*mlp_factors(layers, Xq, yq), strict=True))
    out = torch.zeros(len(Xq), len(X), dtype=X.dtype, device=X.device)
    for start in range(0, len(X), block):
        part = slice(start, start + block)
        for (aq, dq), a, d in zip(queries, *mlp_factors(layers, X[part], y[part]), strict=True):
            out[:, part] += (aq @ a.T).add_(1.0).mul_(dq @ d.T)
    return out


def mlp_squares(layers, X, y, block=1000):
    """``|g_i|^2``, (n,)."""
    out = torch.zeros(len(X), dtype=X.dtype, device=X.device)
    for start in range(0, len(X), block):
        part = slice(start, start + block)
        for a, d in zip(*mlp_factors(layers, X[part], y[part]), strict=True):
            out[part] += a.square().sum(1).add_(1.0).mul_(d.square().sum(1))
    return out


# -- convolutions -------------------------------------------------------------------------------


def cnn_gradients(net, X, y):
    """Row gradients of convolutions by patches, and of linear layers, (b, p)."""
    outputs, inputs, modules = [], [], []
    for module in net:
        if hasattr(module, "weight"):
            inputs.append(X.detach())
            X = module(X)
            outputs.append(X)
            modules.append(module)
        else:
            X = module(X)
    slopes = torch.autograd.grad(functional.cross_entropy(X, y, reduction="sum"), outputs)
    found = []
    for module, a, d in zip(modules, inputs, slopes, strict=True):
        if a.ndim == 4:
            found += [d.flatten(2) @ functional.unfold(a, module.kernel_size).mT, d.sum((2, 3))]
        else:
            found += [d[:, :, None] * a[:, None, :], d]
    return torch.cat([g.flatten(1) for g in found], 1)


def cnn_products(net, X, y, Xq, yq, block=250):
    """``<g_q, g_i>``, (m, n), of a network with convolutions: one GEMM over all parameters."""
    queries = cnn_gradients(net, Xq, yq)
    parts = [slice(start, start + block) for start in range(0, len(X), block)]
    return torch.cat([queries @ cnn_gradients(net, X[part], y[part]).T for part in parts], 1)


# -- conjugate gradients ------------------------------------------------------------------------


class TwoLayers:
    """Gauss-Newton and Hessian products of a network of two layers, mean loss, (M, p) rows.

    A product costs two GEMMs with all rows and vectors: tangents (n, M d), and the way back.
    """

    def __init__(self, layers, X, y, damping, hessian=False):
        (self.V1, self.b1), (self.V2, self.b2) = layers
        self.X, self.damping, self.hessian = X, damping, hessian
        (_, self.h), (self.d1, self.d2) = mlp_factors(layers, X, y)
        self.p = self.d2.clone()
        self.p[torch.arange(len(y)), y] += 1.0
        self.on = (self.h > 0).to(X.dtype)

    def split(self, V):
        (d, n_in), k = self.V1.shape, len(self.V2)
        a, b, c, e = V.split([d * n_in, d, k * d, k], 1)
        return a.reshape(-1, d, n_in), b[:, None], c.reshape(-1, k, d), e[:, None]

    def __call__(self, V):
        W1, c1, W2, c2 = self.split(V)
        M, n, d = len(V), *self.h.shape
        t1 = (self.X @ W1.flatten(0, 1).T).view(n, M, d).transpose(0, 1) + c1
        t1 = t1.mul_(self.on)
        t2 = t1 @ self.V2.T + self.h @ W2.mT + c2
        r2 = self.p * (t2 - (self.p * t2).sum(2, keepdim=True))
        r1 = r2 @ self.V2
        w2 = r2.mT @ self.h
        if self.hessian:
            r1 += self.d2 @ W2
            w2 += self.d2.T @ t1
        r1 = r1.mul_(self.on)
        w1 = (r1.transpose(0, 1).reshape(n, M * d).T @ self.X).view(M, -1)
        parts = [w1, r1.sum(1), w2.flatten(1), r2.sum(1)]
        return torch.cat(parts, 1).div_(n).add_(V, alpha=self.damping)


def conjugate_gradients(product, B, tol):
    """Solutions (M, p) for all right-hand sides at once."""
    X, R = torch.zeros_like(B), B.clone()
    P, rho, goal = R.clone(), R.square().sum(1), tol**2 * B.square().sum(1)
    for _ in range(200):
        Q = product(P)
        alpha = (rho / (P * Q).sum(1))[:, None]
        X += alpha * P
        R -= alpha * Q
        last, rho = rho, R.square().sum(1)
        if bool((rho <= goal).all()):
            break
        P = R + (rho / last)[:, None] * P
    return X


def mlp_gradients(layers, X, y):
    """Row gradients, (b, p)."""
    pairs = zip(*mlp_factors(layers, X, y), strict=True)
    parts = [part for a, d in pairs for part in ((d[:, :, None] * a[:, None]).flatten(1), d)]
    return torch.cat(parts, 1)


def against_rows(solved, layers, X, y, block=500):
    """``<v_m, g_i>``, (m, n), of vectors with the gradients of rows."""
    vectors, at = [], 0
    for weight, bias in layers:
        size = weight.numel()
        vectors.append((solved[:, at : at + size].view(-1, *weight.shape),
                        solved[:, at + size : at + size + len(bias)]))  # fmt: skip
        at += size + len(bias)
    out = torch.zeros(len(solved), len(X), dtype=X.dtype, device=X.device)
    for start in range(0, len(X), block):
        part = slice(start, start + block)
        for (V, v), a, d in zip(vectors, *mlp_factors(layers, X[part], y[part]), strict=True):
            half = (a @ V.flatten(0, 1).T).view(len(a), len(V), -1)
            out[:, part] += (half @ d[:, :, None])[:, :, 0].T + v @ d.T
    return out


def cg_scores(layers, X, y, Xq, yq, damping, tol, hessian=False):
    """``g_q' (A / n + damping)^-1 g_i``, (m, n)."""
    product = TwoLayers(layers, X, y, damping, hessian)
    solved = conjugate_gradients(product, mlp_gradients(layers, Xq, yq), tol)
    return against_rows(solved, layers, X, y)


# -- EK-FAC -------------------------------------------------------------------------------------


def ekfac_scores(layers, X, y, Xq, yq, damping, kind="ekfac"):
    """Scores by Kronecker factors of the exact Fisher matrix, bias in the weight; mean loss.

    "kfac"; "ekfac" corrects its eigenvalues; "marginal" does so in the eigenvectors of partial
    traces, for which rows count by the size of the other factor.
    """
    inputs, top = _inputs_and_slopes(layers, X)
    p, n, solved = top[-1], len(X), []
    # Outputs' derivatives in class k, weighted by the root of its probability.
    slopes = (torch.eye(p.shape[1]).to(p) - p[:, None]) * p.sqrt()[:, :, None]
    queries = list(zip(*mlp_factors(layers, Xq, yq), strict=True))
    for i in range(len(layers) - 1, -1, -1):
        a, (aq, dq) = _with_one(inputs[i]), queries[i]
        (la, Ua), (lg, Ug) = (torch.linalg.eigh(m) for m in _kronecker(a, slopes, kind))
        spectrum = lg[:, None] * la
        if kind != "kfac":
            squares = (slopes.flatten(0, 1) @ Ug).square_().view(n, -1, len(Ug)).sum(1)
            spectrum = squares.T @ (a @ Ua).square_() / n
        G = (dq @ Ug)[:, :, None] * (_with_one(aq) @ Ua)[:, None]
        solved = [Ug @ (G / (spectrum + damping)) @ Ua.T, *solved]
        if i:
            slopes = (slopes @ layers[i][0]).mul_((inputs[i] > 0)[:, None])
    V = [part for s in solved for part in (s[:, :, :-1].flatten(1), s[:, :, -1])]
    return against_rows(torch.cat(V, 1), layers, X, y)


def _kronecker(a, slopes, kind):
    flat, n = slopes.flatten(0, 1), len(a)
    if kind != "marginal":
        return a.T @ a / n, flat.T @ flat / n
    sizes, lengths = slopes.square().sum((1, 2)), a.square().sum(1)
    weighted = (slopes * lengths[:, None, None]).flatten(0, 1)
    return (a * sizes[:, None]).T @ a / n, weighted.T @ flat / n


def _with_one(a):
    return torch.cat([a, a.new_ones(len(a), 1)], 1)
