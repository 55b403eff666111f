"""The networks of a flow: a residual MLP for vectors and tokens, a small convolutional U-Net for grids.

Both map points `[B, *shape]` and times in [0, 1], `[B]` or one for all `[1]`, to velocities `[B, *shape]`.
Both begin as zero.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentbench.analysis.flow.recipe import FlowRecipe
from latentbench.models.codes import Shape

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)

FREQUENCIES = 32
TIME = 64
"""The width of the embedding of time."""
HIGHEST = 100.0
"""The highest angular frequency of the embedding of time: what 32 steps of sampling can follow."""
SMALLEST_SIDE = 8
"""A grid's side is halved down to this, if it was longer, and at least once if it was even."""
GROUPS = 8
WIDEST = 4
"""The most channels of a level, as a multiple of the first level's."""


def network_for(shape: Shape, recipe: FlowRecipe) -> nn.Module:
    """Build the network for codes of a shape; tokens `(T, C)` are treated as one vector."""
    if len(shape) == 3 and recipe.network == "by shape":
        return GridUNet(shape, width=recipe.width)
    return ResidualMLP(shape, width=recipe.width, blocks=recipe.blocks)


class TimeEmbedding(nn.Module):
    """Sines and cosines of a time in [0, 1], and a hidden layer: `[B]` to `[B, TIME]`."""

    frequencies: Tensor

    def __init__(self) -> None:
        super().__init__()
        exponents = torch.linspace(0, 1, FREQUENCIES)
        self.register_buffer("frequencies", HIGHEST**exponents, persistent=False)
        self.layers = nn.Sequential(nn.Linear(2 * FREQUENCIES, TIME), nn.SiLU())

    def forward(self, time: Tensor) -> Tensor:
        """Embed times `[B]`."""
        angles = time[:, None] * self.frequencies
        embedded: Tensor = self.layers(torch.cat([angles.sin(), angles.cos()], dim=1))
        return embedded


class ResidualMLP(nn.Module):
    """Residual blocks of two layers each, the first of which is shifted by the time."""

    def __init__(self, shape: Shape, *, width: int, blocks: int) -> None:
        super().__init__()
        self.shape = shape
        size = math.prod(shape)
        self.time = TimeEmbedding()
        self.first = nn.Linear(size, width)
        self.blocks = nn.ModuleList([DenseBlock(width) for _ in range(blocks)])
        self.last = nn.Sequential(nn.LayerNorm(width), zeroed(nn.Linear(width, size)))

    def forward(self, points: Tensor, time: Tensor) -> Tensor:
        """Return the velocities at points `[B, *shape]`."""
        embedded = self.time(time)
        hidden = self.first(points.flatten(1))
        for block in self.blocks:
            hidden = block(hidden, embedded)
        velocity: Tensor = self.last(hidden)
        return velocity.reshape(points.shape)


class DenseBlock(nn.Module):
    """x + W₂ silu(W₁ norm(x) + W t)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner, self.outer = nn.Linear(width, width), zeroed(nn.Linear(width, width))
        self.of_time = nn.Linear(TIME, width)

    def forward(self, hidden: Tensor, time: Tensor) -> Tensor:
        """Return hidden units of the same shape `[B, width]`."""
        result: Tensor = hidden + self.outer(F.silu(self.inner(self.norm(hidden)) + self.of_time(time)))
        return result


class GridUNet(nn.Module):
    """One residual block per level on the way down, one at the bottom, and one per level on the way up."""

    def __init__(self, shape: Shape, *, width: int) -> None:
        super().__init__()
        channels, *sides = shape
        widths = [width * min(2**level, WIDEST) for level in range(halvings(min(sides)) + 1)]
        self.time = TimeEmbedding()
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.down = nn.ModuleList([ConvBlock(each, each) for each in widths[:-1]])
        self.halve = nn.ModuleList([nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths)])
        self.bottom = ConvBlock(widths[-1], widths[-1])
        self.up = nn.ModuleList([ConvBlock(a + b, a) for a, b in pairwise(widths)])
        self.last = nn.Sequential(
            nn.GroupNorm(GROUPS, width), nn.SiLU(), zeroed(nn.Conv2d(width, channels, 3, padding=1))
        )

    def forward(self, points: Tensor, time: Tensor) -> Tensor:
        """Return the velocities at points `[B, C, h, w]`."""
        embedded = self.time(time)
        hidden = self.first(points)
        passed: list[Tensor] = []
        for block, halve in zip(self.down, self.halve, strict=True):
            hidden = block(hidden, embedded)
            passed.append(hidden)
            hidden = halve(hidden)
        hidden = self.bottom(hidden, embedded)
        for block, earlier in zip(reversed(self.up), reversed(passed), strict=True):
            larger = F.interpolate(hidden, earlier.shape[2:], mode="nearest")
            hidden = block(torch.cat([earlier, larger], dim=1), embedded)
        velocity: Tensor = self.last(hidden)
        return velocity


class ConvBlock(nn.Module):
    """Two 3×3 convolutions with a residual connection; the time shifts what is between them."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.GroupNorm(GROUPS, before), nn.GroupNorm(GROUPS, after)])
        self.inner = nn.Conv2d(before, after, 3, padding=1)
        self.outer = zeroed(nn.Conv2d(after, after, 3, padding=1))
        self.of_time = nn.Linear(TIME, after)
        self.skip = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, maps: Tensor, time: Tensor) -> Tensor:
        """Return maps of the same sides `[B, after, h, w]`."""
        hidden = self.inner(F.silu(self.norms[0](maps))) + self.of_time(time)[:, :, None, None]
        result: Tensor = self.skip(maps) + self.outer(F.silu(self.norms[1](hidden)))
        return result


def halvings(side: int) -> int:
    """Return how often a grid's side is halved, rounding up, inside of the U-Net.

    >>> [halvings(side) for side in (1, 4, 7, 8, 16, 28, 64)]
    [0, 1, 1, 1, 1, 2, 3]
    """
    times = 1 if side >= SMALLEST_SIDE // 2 else 0
    while -(-side // 2**times) > SMALLEST_SIDE:
        times += 1
    return times


def zeroed(layer: Layer) -> Layer:
    """Set a layer's weights to zero."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
