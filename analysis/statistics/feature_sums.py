"""Features of many images in constant memory: of more than a few, only mean and covariance are kept.

The images are in five blocks, so that a Fréchet distance has a jackknife error: image i is in block i mod 5.
Sums of parts of the images can be added, in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add

import torch
from torch import Tensor

from latentbench.analysis.statistics.moments import Moments

BLOCKS = 5
"""Blocks of images. Each holds D² values for D features: 34 MB for Inception."""
FEWEST = 2 * BLOCKS
"""Images below which there is no error."""

Points = Tensor | Moments
"""A set of images by their features `[N, D]`, or by the moments of these."""


@dataclass(frozen=True, eq=False)
class Kept:
    """Features of up to D images, `[N, D]`, smaller than a covariance; and the block of each, `[N]`."""

    features: Tensor
    block: Tensor


@dataclass(frozen=True, eq=False)
class FeatureSums:
    """Features of N images, as they are or as the moments of each block; None for an empty block."""

    content: Kept | tuple[Moments | None, ...]

    @classmethod
    def of(cls, features: Tensor, first: int) -> FeatureSums:
        """Summarise features `[N, D]` of consecutive images; the first one has the number `first`."""
        block = torch.arange(first, first + len(features)) % BLOCKS
        return cls(_smaller(Kept(features, block)))

    def __add__(self, other: FeatureSums) -> FeatureSums:
        """Return the sums of the union of two disjoint sets."""
        a, b = self.content, other.content
        if isinstance(a, Kept) and isinstance(b, Kept):
            both = Kept(torch.cat([a.features, b.features]), torch.cat([a.block, b.block]))
            return FeatureSums(_smaller(both))
        return FeatureSums(tuple(_sum(pair) for pair in zip(_by_block(a), _by_block(b), strict=True)))

    @cached_property
    def count(self) -> int:
        """The number of images."""
        if isinstance(self.content, Kept):
            return len(self.content.features)
        return sum(block.count for block in self.content if block is not None)

    @cached_property
    def whole(self) -> Points:
        """All images."""
        if isinstance(self.content, Kept):
            return self.content.features
        found = _sum(self.content)
        assert found is not None
        return found

    @cached_property
    def left_out(self) -> tuple[Points, ...]:
        """The images without each block in turn; empty for so few images that there is no error."""
        content = self.content
        if self.count < FEWEST:
            return ()
        if isinstance(content, Kept):
            return tuple(content.features[content.block != block] for block in range(BLOCKS))
        without = (_sum([*content[:block], *content[block + 1 :]]) for block in range(BLOCKS))
        return tuple(moments for moments in without if moments is not None)


def _smaller(kept: Kept) -> Kept | tuple[Moments | None, ...]:
    count, width = kept.features.shape
    return kept if count <= width else _by_block(kept)


def _by_block(content: Kept | tuple[Moments | None, ...]) -> tuple[Moments | None, ...]:
    if not isinstance(content, Kept):
        return content
    parts = (content.features[content.block == block] for block in range(BLOCKS))
    return tuple(Moments.of(part) if len(part) else None for part in parts)


def _sum(parts: Sequence[Moments | None]) -> Moments | None:
    present = [part for part in parts if part is not None]
    return reduce(add, present) if present else None
