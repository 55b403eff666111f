"""Channel statistics of codes: means, deviations, covariance, and the two factors that normalise a code.

A latent diffusion model is trained on (z − shift) · scale, with one number each for all channels. Positions
of one image depend on each other, so every error is one over images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from operator import add

import torch
from torch import Tensor

from latentbench.analysis.latent.dead_zones import MassEstimate
from latentbench.analysis.statistics.intervals import jackknife_error, standard_error
from latentbench.analysis.statistics.moments import Moments
from latentbench.models.codes import by_position

BLOCKS = 10
"""The number of blocks of images for errors by the jackknife."""
BLOCK_VALUES = 2_000_000
"""The number of values that are converted to float64 at once."""
WANTED = 0.01
"""The relative error for which `Factor.images_needed` counts images."""


@dataclass(frozen=True)
class ScaleFactor:
    """A number that normalises codes, and its standard error over `n` images."""

    value: float
    se: float | None
    n: int
    scale: float
    """The number that the error is relative to."""

    @property
    def images_needed(self) -> float | None:
        """The number of images at which the standard error is 1 % of `scale`; None if it is not known."""
        if self.se is None or self.scale == 0:
            return None
        return max(1.0, math.ceil(self.n * (self.se / (WANTED * self.scale)) ** 2))


@dataclass(frozen=True, eq=False)
class CodeStatistics:
    """Sums over codes; the sum of two is that of the union of two disjoint sets of images."""

    channels: Moments
    """Mean and scatter of the vectors at all positions of all images, `[C]` and `[C, C]`."""
    per_image: Tensor
    """The mean of the values of each code, and of their squares, float64 `[N, 2]`."""

    @classmethod
    def of(cls, codes: Tensor) -> CodeStatistics:
        """Summarise codes `[N, *shape]`, N ≥ 1, in batches."""
        return reduce(add, map(cls._of_batch, batches(codes)))

    @classmethod
    def _of_batch(cls, codes: Tensor) -> CodeStatistics:
        values = codes.double().flatten(1)
        per_image = torch.stack([values.mean(1), values.square().mean(1)], dim=1)
        return cls(Moments.of(by_position(codes).flatten(0, 1)), per_image)

    def __add__(self, other: CodeStatistics) -> CodeStatistics:
        """Return the statistics of both sets."""
        return CodeStatistics(self.channels + other.channels, torch.cat([self.per_image, other.per_image]))

    @property
    def means(self) -> Tensor:
        """The mean of each channel over images and positions, float64 `[C]`."""
        return self.channels.mean

    @property
    def deviations(self) -> Tensor:
        """The standard deviation of each channel over images and positions, float64 `[C]`."""
        variances: Tensor = self.channels.covariance.diagonal()
        return variances.clamp_min(0).sqrt()

    @property
    def eigenvalues(self) -> Tensor:
        """The eigenvalues of the channels' covariance, largest first, float64 `[C]`."""
        values: Tensor = torch.linalg.eigvalsh(self.channels.covariance)
        return values.clamp_min(0).flip(0)

    @property
    def participation_ratio(self) -> float:
        """The participation ratio (Σλ)² / Σλ² of the channels' covariance, in [1, C].

        Both sums follow from the covariance itself. NaN if no channel varies.
        """
        covariance = self.channels.covariance
        squares = float(covariance.square().sum())
        return float(covariance.trace()) ** 2 / squares if squares else math.nan

    @property
    def shift(self) -> ScaleFactor:
        """The mean over all values, and its error relative to their standard deviation."""
        means = self.per_image[:, 0]
        return ScaleFactor(float(means.mean()), standard_error(means), len(means), self._deviation)

    @property
    def scaling(self) -> ScaleFactor:
        """1 / the standard deviation over all values. Raises ZeroDivisionError if they are all equal."""
        mean = self.per_image[:, 0].mean()
        # The first-order effect of each image on the variance E[z²] − E[z]² (delta method).
        effect = self.per_image[:, 1] - 2 * mean * self.per_image[:, 0]
        error, scale = standard_error(effect), 1 / self._deviation
        return ScaleFactor(scale, None if error is None else error * scale**3 / 2, len(effect), scale)

    @property
    def _deviation(self) -> float:
        mean, square = self.per_image.mean(0)
        return math.sqrt(max(float(square - mean.square()), 0.0))


def batches(codes: Tensor) -> Iterator[Tensor]:
    """Yield codes `[N, *shape]` in batches that are small also in float64."""
    yield from codes.split(max(1, BLOCK_VALUES // codes[0].numel()))


def participation(codes: Tensor) -> MassEstimate:
    """Compute the participation ratio of codes `[N, *shape]`, with its jackknife error over blocks of images.

    The covariance's sampling error lowers it: N codes of N(0, I_D) give D / (1 + (D + 1) / N). Raises
    ValueError for fewer images than channels, whose covariance has no full rank, or than `BLOCKS`.
    """
    wide = by_position(codes[:1]).shape[2]
    if len(codes) < max(wide, BLOCKS):
        raise ValueError(f"{len(codes)} images are too few for {wide} channels in {BLOCKS} blocks")
    parts = [CodeStatistics.of(block) for block in codes.tensor_split(BLOCKS)]
    return MassEstimate(
        reduce(add, parts).participation_ratio,
        jackknife_error(parts, lambda part: part.participation_ratio),
    )
