"""The terms of objectives: log-likelihoods and the KL term, as pure functions, in nats."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

FACTORS = 16
"""The number of pixels whose factors are multiplied before a logarithm, which costs as much as many
products."""


def kl_standard_normal(mean: Tensor, log_var: Tensor) -> Tensor:
    """Compute KL(N(mean, exp(log_var)) ‖ N(0, 1)) per dimension, nats, in the shape of `mean`.

    ½ (μ² + σ² − 1 − ln σ²), Kingma & Welling 2014 (arXiv:1312.6114), appendix B. Range [0, ∞).
    """
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var)


def gaussian_log_likelihood(x: Tensor, mean: Tensor, sigma: Tensor | float) -> Tensor:
    """Compute ln N(x; mean, σ² I) summed over pixels, nats, `[B]`; `x` and `mean` are `[B, ...]`, σ a scalar.

    With σ² = ½ its x-dependent part is the familiar summed squared error.
    """
    squared = (x - mean).square().flatten(1)
    variance = torch.as_tensor(sigma, dtype=x.dtype).square()
    constant = (2 * math.pi * variance).log() * (squared.shape[1] / 2)
    return -squared.sum(1) / (2 * variance) - constant


def bernoulli_log_likelihood(x: Tensor, logits: Tensor) -> Tensor:
    """Compute ln Bernoulli(x; sigmoid(logits)) summed over pixels, nats, `[B]`; `x` is binary, `[B, ...]`.

    On grey values this sum is not a likelihood: binarise first.
    """
    x, logits = x.flatten(1), logits.flatten(1)
    if torch.is_grad_enabled():
        return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
    return _bernoulli_without_gradient(x, logits)


def _bernoulli_without_gradient(x: Tensor, logits: Tensor) -> Tensor:
    """Compute the same several times faster: one buffer, and one logarithm per 16 pixels; both `[B, P]`.

    x l − ln(1 + eˡ) equals (x − [l > 0]) l − ln(1 + exp(−|l|)), where a large l loses no digits. The factors
    of the last term are between 1 and 2, so that a product of 16 neither overflows nor loses digits.
    """
    work = (logits > 0).to(logits.dtype)
    linear = work.neg_().add_(x).mul_(logits).sum(1)
    factors = work.copy_(logits).abs_().neg_().exp_().add_(1)
    parts = factors.split(-(-factors.shape[1] // FACTORS), dim=1)
    product = parts[0]
    for part in parts[1:]:
        product[:, : part.shape[1]] *= part
    log_likelihood: Tensor = linear - product.log().sum(1)
    return log_likelihood
