"""Noise robustness: how much a decoded image changes if its code is off by a share of its spread.

A learned generator never hits a code exactly. A decoder that is smooth turns a small error of a code into a
small error of the image.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from latentbench.analysis.core.subject import Subject
from latentbench.analysis.statistics.moments import NO_VARIANCE

SIGMAS = (0.05, 0.1, 0.2, 0.3, 0.5)
"""Standard deviations of the noise, in those of each channel."""
IMAGES = 2000


def noisy(codes: Tensor, deviations: Tensor, sigma: float, draws: Generator) -> Tensor:
    """Add noise of `sigma` standard deviations of each channel, `[C]`, to codes `[N, *shape]`."""
    per_channel = deviations.to(codes.dtype)
    if codes.ndim == 4:
        per_channel = per_channel[:, None, None]
    return codes + sigma * per_channel * torch.randn(codes.shape, generator=draws, dtype=codes.dtype)


def noise_errors(subject: Subject, codes: Tensor, deviations: Tensor, sigma: float) -> Tensor:
    """Compute the mean squared error of D(z + noise) against D(z), for each of codes `[N, *shape]`: `[N]`.

    An identity has σ² times the mean variance of its channels. The noise differs from σ to σ by its size
    alone. Raises Unmeasurable for a model without a decoder.
    """
    changed = noisy(codes, deviations, sigma, subject.generator("health noise"))
    pairs = zip(subject.decoded(codes), subject.decoded(changed), strict=True)
    return torch.cat([(a.double() - b.double()).square().mean((1, 2, 3)) for a, b in pairs])


def varies(deviations: Tensor) -> Tensor:
    """Find the channels that are not constant, bool `[C]`, from their standard deviations."""
    return deviations.square() > NO_VARIANCE * deviations.square().max()
