"""The terms that objectives are made of: log-likelihoods and the KL term, as pure functions, in nats."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def kl_standard_normal(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mean, exp(log_var)) ‖ N(0, 1)) per dimension, nats, the shape of `mean`.

    ½ (μ² + σ² − 1 − ln σ²), Kingma & Welling 2014 (arXiv:1312.6114), appendix B. Range [0, ∞).
    """
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var)


def gaussian_log_likelihood(x: Tensor, mean: Tensor, sigma: Tensor | float) -> Tensor:
    """ln N(x; mean, σ² I) summed over pixels, nats, `[B]`; `x` and `mean` are `[B, ...]`, σ a scalar.

    With σ² = ½ its x-dependent part is the familiar summed squared error.
    """
    squared = (x - mean).square().flatten(1)
    variance = torch.as_tensor(sigma, dtype=x.dtype).square()
    constant = (2 * math.pi * variance).log() * (squared.shape[1] / 2)
    return -squared.sum(1) / (2 * variance) - constant


def bernoulli_log_likelihood(x: Tensor, logits: Tensor) -> Tensor:
    """ln Bernoulli(x; sigmoid(logits)) summed over pixels, nats, `[B]`; `x` is binary, `[B, ...]`.

    On grey values this sum is not a likelihood: binarise first.
    """
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)
