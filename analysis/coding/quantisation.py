"""Uniform quantisation of a code: each channel in steps of a multiple of its standard deviation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from latentbench.analysis.coding.entropy_coder import Distribution, Integers
from latentbench.models.codes import Shape, by_position, from_positions

SMALLEST_DEVIATION = 1e-6
"""A channel whose standard deviation is below this part of the largest one is constant: it costs no bits."""
FURTHEST = 2**30
"""The integers farthest from 0 that a value is rounded to."""


@dataclass(frozen=True, eq=False)
class Quantiser:
    """Mean and standard deviation of each channel of the train codes, and the step in those deviations."""

    shape: Shape
    mean: Tensor
    """Float64 `[C]`."""
    deviation: Tensor
    """Float64 `[C]`, 0 for a channel that is constant."""
    step: float

    @classmethod
    def of(cls, codes: Tensor, step: float) -> Self:
        """Measure the channels of codes `[N, *shape]` over images and positions."""
        points = by_position(codes).flatten(0, 1).double()
        deviation, mean = torch.std_mean(points, dim=0, correction=0)
        constant = deviation <= SMALLEST_DEVIATION * deviation.max()
        return cls(tuple(codes.shape[1:]), mean, deviation.masked_fill(constant, 0.0), step)

    def integers(self, codes: Tensor) -> list[Integers]:
        """Return the integers of codes `[N, *shape]`: `[N · P]` for each channel, image by image."""
        points = by_position(codes).double()
        width = torch.where(self.deviation > 0, self.step * self.deviation, torch.inf)
        integers = ((points - self.mean) / width).round().clamp(-FURTHEST, FURTHEST).to(torch.int32)
        return [integers[:, :, channel].flatten().numpy() for channel in range(integers.shape[2])]

    def codes(self, channels: list[Integers]) -> Tensor:
        """Return the codes `[N, *shape]`, float32, that integers stand for: the middles of their steps."""
        integers = torch.from_numpy(np.stack(channels, axis=1)).double()
        points = integers * (self.step * self.deviation) + self.mean
        positions = int(np.prod(self.shape)) // len(channels)
        return from_positions(points.float().reshape(-1, positions, len(channels)), self.shape)

    def distributions(self, codes: Tensor) -> list[Distribution]:
        """Fit a distribution to the integers of each channel of train codes."""
        return [
            Distribution.fitted(values, deviation=1 / self.step if deviation > 0 else 0.0)
            for values, deviation in zip(self.integers(codes), self.deviation.tolist(), strict=True)
        ]
