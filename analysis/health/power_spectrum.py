"""Radial power spectra of images and of grid codes, and their slope.

Natural images have power that falls as 1/f²: a diffusion model makes the coarse parts first. Codes whose
spectrum is much flatter have fine detail as strong as the coarse layout.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import add

import torch
from torch import Tensor

from latentbench.analysis.latent.dead_zones import MassEstimate
from latentbench.analysis.statistics.intervals import jackknife_error

SMALLEST_SIDE = 6
"""The smallest side with three rings of frequencies, from one cycle per side to the Nyquist frequency."""


@dataclass(frozen=True, eq=False)
class PowerSpectrum:
    """The summed power of `count` images at every frequency; the sum of two is that of both sets."""

    count: int
    total: Tensor
    """Σ |F|² over images and channels, per pixel, float64 `[h, w]`, without the image's mean."""

    @classmethod
    def of(cls, images: Tensor) -> PowerSpectrum:
        """Transform images, or grids, `[N, C, h, w]`; each channel's mean over the image is left out."""
        values = images.float()
        values = values - values.mean((2, 3), keepdim=True)
        power = torch.fft.fft2(values).abs().double().square().sum((0, 1))
        return cls(len(images), power / values[0, 0].numel())

    def __add__(self, other: PowerSpectrum) -> PowerSpectrum:
        """Return the spectrum of both sets of images of one size."""
        return PowerSpectrum(self.count + other.count, self.total + other.total)

    def rings(self) -> tuple[Tensor, Tensor]:
        """Return log frequency, in cycles per side, and mean log power of every ring, float64 `[R]` each.

        Ring r holds frequencies from r − ½ to r + ½ cycles, from 1 to the Nyquist frequency of the shorter
        side. Logarithms are averaged: an exact power law is then an exact line, for any rings. Raises
        ValueError for a side below `SMALLEST_SIDE`, and for a frequency without power.
        """
        height, width = self.total.shape
        if min(height, width) < SMALLEST_SIDE:
            raise ValueError(f"a side of {min(height, width)} has too few frequencies for a slope")
        down, across = (torch.fft.fftfreq(side, dtype=torch.float64) * side for side in (height, width))
        frequency = torch.hypot(down[:, None], across[None, :])
        ring = (frequency + 0.5).long()
        chosen = (ring >= 1) & (ring <= min(height, width) // 2)
        power = self.total[chosen] / self.count
        if not (power > 0).all():
            raise ValueError("some frequency has no power")
        members = ring[chosen].bincount()[1:]
        sums = (ring[chosen].bincount(weights=each.log())[1:] for each in (frequency[chosen], power))
        log_frequency, log_power = (each / members for each in sums)
        return log_frequency, log_power

    @property
    def slope(self) -> float:
        """The least-squares slope of log power against log frequency over rings."""
        x, y = self.rings()
        x = x - x.mean()
        return float(x @ y / (x @ x))


def spectrum(parts: Iterable[Tensor]) -> PowerSpectrum:
    """Return the spectrum of batches of images `[B, C, h, w]`."""
    return reduce(add, map(PowerSpectrum.of, parts))


def spectral_slope(blocks: list[PowerSpectrum]) -> MassEstimate:
    """Return the slope over all of two or more blocks of images, with its jackknife error over blocks.

    White noise has 0, and images whose amplitude falls as 1/f have −2. Raises ValueError as `rings` does.
    """
    whole: PowerSpectrum = reduce(add, blocks)
    return MassEstimate(whole.slope, jackknife_error(blocks, lambda part: part.slope))
