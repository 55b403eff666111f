"""Clipped density and coverage: density and coverage that single points cannot move far.

Salvy, Talbot & Thirion, ICLR 2026 (arXiv:2507.01761). Both are calibrated: they read the share of good
samples where the other samples are far from every real point.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import betaln, gammaln
from torch import Tensor

from latentbench.analysis.statistics.neighbours import TIE, Balls, distances, nearest

CLIPPED_K = 5
SMALLEST = 1e-18
"""Added to a radius, so that a ball of radius 0 about a point holds its duplicates."""


def clipped_density_coverage(real: Tensor, fake: Tensor, *, k: int = CLIPPED_K) -> tuple[float, float]:
    """Compute clipped density and clipped coverage of samples `[M, D]`, compared with real features `[N, D]`.

    Clipped density: count the real balls that contain a sample, divide by k, cap at 1, and average over the
    samples. Divide by the same number for the real points, and cap at 1. The radius of a ball is the distance
    to the k-th nearest real point, at most the median of these distances. Clipped coverage: count the samples
    in a real ball of uncapped radius, divide by k, cap at 1, and average over the balls. The result is the
    smallest share m / M of good samples for which that average is expected. Balls are closed. Both are in
    [0, 1], higher is better. Equal to the package seqme 0.5.
    Raises ValueError for fewer than k + 2 real points or no sample, for mismatched widths and for values that
    are not finite.
    """
    if len(real) < k + 2 or len(fake) < 1:
        raise ValueError(f"needs {k + 2} real points and 1 sample, got {len(real)} and {len(fake)}")
    real, fake = real.double(), fake.double()
    radii = nearest(real, real, k, exclude_self=True)[0][:, -1]
    clipped = radii.minimum(radii.quantile(0.5))
    in_small, in_ball = (torch.zeros(len(each), device=each.device) for each in (fake, real))
    for sample, ball in Balls(real, _closed(radii)).members(fake):
        in_ball += ball.bincount(minlength=len(real))
        small = distances(fake, real, sample, ball) <= _closed(clipped[ball])
        in_small += sample[small].bincount(minlength=len(fake))
    itself = torch.zeros_like(in_ball)
    for point, _ in Balls(real, _closed(clipped)).members(real):
        itself += point.bincount(minlength=len(real))
    density = _mean_share(in_small, k) / _mean_share(itself - 1, k)
    return min(density, 1.0), share_of_good(_mean_share(in_ball, k), len(real), len(fake), k)


def _closed(radii: Tensor) -> Tensor:
    """Radii of open balls that hold what lies at the given radii."""
    return radii * (1 + 2 * TIE) + SMALLEST


def _mean_share(counts: Tensor, k: int) -> float:
    """The mean of counts over k, each at most 1."""
    return (counts.double() / k).clamp_max(1).mean().item()


def share_of_good(covered: float, real: int, samples: int, k: int) -> float:
    """The smallest m / M for which m good samples cover as much in expectation, 1 if M − 1 cover less."""
    return int(np.searchsorted(expected_cover(real, samples, k), covered)) / samples


@lru_cache(maxsize=64)
def expected_cover(real: int, samples: int, k: int) -> NDArray[np.float64]:
    """E[min(J, k)] / k for m = 0 … `samples` − 1 good samples, J of which lie in one of `real` balls.

    J is beta-binomial: the mass of a ball to the k-th nearest of N − 1 other points is Beta(k, N − k).
    """
    m = np.arange(samples)[:, None]
    j = np.arange(k)[None, :]
    possible = j <= m
    log_choose = gammaln(m + 1) - gammaln(j + 1) - gammaln(np.where(possible, m - j, 0) + 1)
    log_share = betaln(k + j, np.where(possible, m - j, 0) + real - k) - betaln(k, real - k)
    probability = np.where(possible, np.exp(log_choose + log_share), 0)
    # E[min(J, k)] = k − Σ_{j < k} (k − j) P(J = j)
    return np.asarray(1 - ((k - j) * probability).sum(1) / k)
