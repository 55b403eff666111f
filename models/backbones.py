"""Backbones: the networks on either side of the bottleneck, for images of 8 to 128 pixels.

An encoder maps images `[B, C, H, W]` to features `[B, F]`; a decoder maps codes `[B, D]` to pixel
logits `[B, C, H, W]`. What happens between the two is the family's business.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from latentbench.data.registry import Registry

ImageShape = tuple[int, int, int]


@dataclass(frozen=True)
class Backbone:
    """How to build both sides. `hidden` is the default width."""

    description: str
    hidden: int
    encoder: Callable[[ImageShape, int], tuple[nn.Module, int]]
    """`(image_shape, hidden)` to the module and its number of features F."""
    decoder: Callable[[ImageShape, int, int], nn.Module]
    """`(image_shape, hidden, latent_dim)` to the module."""


BACKBONES: Registry[Backbone] = Registry("backbone")


def mlp_encoder(image_shape: ImageShape, hidden: int) -> tuple[nn.Module, int]:
    """One hidden layer on the flattened pixels."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(image_shape), hidden), nn.ReLU()), hidden


def mlp_decoder(image_shape: ImageShape, hidden: int, latent_dim: int) -> nn.Module:
    """The mirror image of `mlp_encoder`."""
    return nn.Sequential(
        nn.Linear(latent_dim, hidden),
        nn.ReLU(),
        nn.Linear(hidden, math.prod(image_shape)),
        nn.Unflatten(1, image_shape),
    )


def _sides(side: int) -> list[int]:
    """Image sides along the strided path: halved, rounding up, until at most 7 pixels are left.

    >>> _sides(28), _sides(8), _sides(25), _sides(128)
    ([28, 14, 7], [8, 4], [25, 13, 7], [128, 64, 32, 16, 8, 4])
    """
    sides = [side]
    while sides[-1] > 7:
        sides.append((sides[-1] + 1) // 2)
    return sides


def _widths(blocks: int, hidden: int) -> list[int]:
    """Channels after each strided block: doubling, at most four times the first."""
    return [hidden * min(2**block, 4) for block in range(blocks)]


def conv_encoder(image_shape: ImageShape, hidden: int) -> tuple[nn.Module, int]:
    """3×3 stride-2 blocks with ReLU down to at most 7×7."""
    channels, side, _ = image_shape
    sides = _sides(side)
    widths = [channels, *_widths(len(sides) - 1, hidden)]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten()), widths[-1] * sides[-1] ** 2


class ConvDecoder(nn.Module):
    """A linear layer to the smallest map, then 3×3 stride-2 transposed convolutions back to the image."""

    def __init__(self, image_shape: ImageShape, hidden: int, latent_dim: int) -> None:
        super().__init__()
        channels, side, _ = image_shape
        sides = _sides(side)[::-1]
        widths = [*_widths(len(sides) - 1, hidden)[::-1], channels]
        layers: list[nn.Module] = [
            nn.Linear(latent_dim, widths[0] * sides[0] ** 2),
            nn.ReLU(),
            nn.Unflatten(1, (widths[0], sides[0], sides[0])),
        ]
        for block, (before, after) in enumerate(pairwise(widths)):
            # An even target is one more than twice the map's side less one.
            odd = sides[block + 1] % 2
            layers.append(nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=1 - odd))
            layers.append(nn.ReLU())
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, z: Tensor) -> Tensor:
        """Codes `[B, D]` to pixel logits `[B, C, H, W]`."""
        logits: Tensor = self.layers(z)
        return logits


BACKBONES.register("mlp")(Backbone("one hidden layer each way", 512, mlp_encoder, mlp_decoder))
BACKBONES.register("conv")(Backbone("3×3 stride-2 blocks each way", 32, conv_encoder, ConvDecoder))
