"""Backbones: the networks on either side of the bottleneck.

An encoder maps images `[B, C, H, W]` to features `[B, F]`; a decoder maps codes `[B, D]` to pixel
logits `[B, C, H, W]`. The family decides what happens between the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from torch import Tensor, nn

from latentbench.data.errors import LatentbenchError
from latentbench.data.registry import Registry
from latentbench.models.networks.convolutions import Conv2d

ImageShape = tuple[int, int, int]


@dataclass(frozen=True)
class GridNetworks:
    """The networks on both sides of a code that is a grid `(C, h, w)`."""

    side: Callable[[int], int]
    """From the image's side to the grid's, h = w."""
    encoder: Callable[..., tuple[nn.Module, int]]
    """`(image_shape, **settings)` to the module, whose features are maps `[B, F, h, w]`, and F."""
    decoder: Callable[..., nn.Module]
    """`(image_shape, channels, **settings)` to the module, which takes codes `[B, C, h, w]`."""


@dataclass(frozen=True)
class Backbone:
    """The networks on both sides. `settings` are the keywords that both functions take, with defaults."""

    description: str
    encoder: Callable[..., tuple[nn.Module, int]]
    """A function from `(image_shape, **settings)` to the module and its number of features F."""
    decoder: Callable[..., nn.Module]
    """A function from `(image_shape, latent_dim, **settings)` to the module."""
    settings: Mapping[str, object] = field(default_factory=dict)
    stackable: bool = False
    """True if many models train faster as one; a stack of convolutions is a grouped convolution, which is
    slow."""
    grid: GridNetworks | None = None
    """The networks for a code that is a grid; None if the backbone has none."""


BACKBONES: Registry[Backbone] = Registry("backbone")
ACTIVATIONS: Registry[type[nn.Module]] = Registry("activation")
ACTIVATIONS.register("relu")(nn.ReLU)
ACTIVATIONS.register("tanh")(nn.Tanh)
ACTIVATIONS.register("gelu")(nn.GELU)


def mlp_encoder(
    image_shape: ImageShape, *, hidden: int, depth: int, activation: str
) -> tuple[nn.Module, int]:
    """Build `depth` hidden layers of `hidden` units on the flattened pixels."""
    layers = _hidden_layers([math.prod(image_shape)] + depth * [hidden], activation)
    return nn.Sequential(nn.Flatten(), *layers), hidden


def mlp_decoder(
    image_shape: ImageShape, latent_dim: int, *, hidden: int, depth: int, activation: str
) -> nn.Module:
    """Build the mirror image of `mlp_encoder`."""
    layers = _hidden_layers([latent_dim] + depth * [hidden], activation)
    layers += [nn.Linear(hidden, math.prod(image_shape)), nn.Unflatten(1, image_shape)]
    return nn.Sequential(*layers)


def _hidden_layers(widths: list[int], activation: str) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), ACTIVATIONS[activation]()]
    return layers


def _sides(side: int) -> list[int]:
    """Return image sides along the strided path: halved, rounding up, until at most 7 pixels are left.

    >>> _sides(28), _sides(8), _sides(25), _sides(128)
    ([28, 14, 7], [8, 4], [25, 13, 7], [128, 64, 32, 16, 8, 4])
    """
    sides = [side]
    while sides[-1] > 7:
        sides.append((sides[-1] + 1) // 2)
    return sides


def _widths(blocks: int, hidden: int) -> list[int]:
    """Return the channels after each strided block: doubling, at most four times the first."""
    return [hidden * min(2**block, 4) for block in range(blocks)]


def conv_encoder(image_shape: ImageShape, *, hidden: int) -> tuple[nn.Module, int]:
    """Build 3×3 stride-2 blocks with ReLU down to at most 7×7, with `hidden` channels in the first."""
    channels, side, _ = image_shape
    sides = _sides(side)
    layers, width = _down(channels, sides, hidden)
    return nn.Sequential(*layers, nn.Flatten()), width * sides[-1] ** 2


def _down(channels: int, sides: list[int], hidden: int) -> tuple[list[nn.Module], int]:
    """Build the strided blocks of an encoder along `sides`, and return the channels of the last."""
    widths = [channels, *_widths(len(sides) - 1, hidden)]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
    return layers, widths[-1]


def _up(channels: int, sides: list[int], hidden: int) -> list[nn.Module]:
    """Build the transposed blocks of a decoder, which lead back along `sides`, without a last ReLU."""
    sides = sides[::-1]
    widths = [*_widths(len(sides) - 1, hidden)[::-1], channels]
    layers: list[nn.Module] = []
    for block, (before, after) in enumerate(pairwise(widths)):
        # An even target has one pixel more than twice the map's side less one.
        odd = sides[block + 1] % 2
        layers.append(nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=1 - odd))
        layers.append(nn.ReLU())
    return layers[:-1]


class ConvDecoder(nn.Module):
    """A linear layer to the smallest map, then 3×3 stride-2 transposed convolutions back to the image."""

    def __init__(self, image_shape: ImageShape, latent_dim: int, *, hidden: int) -> None:
        super().__init__()
        channels, side, _ = image_shape
        sides = _sides(side)
        width = _widths(len(sides) - 1, hidden)[-1]
        self.layers = nn.Sequential(
            nn.Linear(latent_dim, width * sides[-1] ** 2),
            nn.ReLU(),
            nn.Unflatten(1, (width, sides[-1], sides[-1])),
            *_up(channels, sides, hidden),
        )

    def forward(self, z: Tensor) -> Tensor:
        """Map codes `[B, D]` to pixel logits `[B, C, H, W]`."""
        logits: Tensor = self.layers(z)
        return logits


GRID_BLOCKS = 3
"""Strided blocks to a grid, where there are as many: a side of the grid is an eighth of the image's."""


def _grid_sides(side: int) -> list[int]:
    return _sides(side)[: GRID_BLOCKS + 1]


def grid_side(side: int) -> int:
    """Return the side of the grid of an image.

    >>> grid_side(28), grid_side(128), grid_side(256)
    (7, 16, 32)
    """
    return _grid_sides(side)[-1]


def grid_encoder(image_shape: ImageShape, *, hidden: int) -> tuple[nn.Module, int]:
    """Build at most three 3×3 stride-2 blocks with ReLU, whose maps stay a grid."""
    layers, width = _down(image_shape[0], _grid_sides(image_shape[1]), hidden)
    return nn.Sequential(*layers), width


def grid_decoder(image_shape: ImageShape, code_channels: int, *, hidden: int) -> nn.Module:
    """Build a 1×1 convolution of the grid, then the mirror image of `grid_encoder`."""
    channels, side, _ = image_shape
    sides = _grid_sides(side)
    width = _widths(len(sides) - 1, hidden)[-1]
    return nn.Sequential(nn.Conv2d(code_channels, width, 1), nn.ReLU(), *_up(channels, sides, hidden))


BOOK_SIDE = 28
BOOK_CHANNELS = (128, 256, 512, 1024)


def book_encoder(image_shape: ImageShape) -> tuple[nn.Module, int]:
    """Build four 4×4 stride-2 convolutions with batch norm and ReLU: 28 → 14 → 7 → 3 → 1 pixels."""
    if image_shape[1:] != (BOOK_SIDE, BOOK_SIDE):
        raise LatentbenchError(
            f"backbone 'book' is for images of 28 by 28 pixels, got {image_shape[1]} by {image_shape[2]}; "
            "backbone 'conv' takes any size"
        )
    layers: list[nn.Module] = []
    for before, after in pairwise([image_shape[0], *BOOK_CHANNELS]):
        layers += [Conv2d(before, after, 4, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten()), BOOK_CHANNELS[-1]


def book_decoder(image_shape: ImageShape, latent_dim: int) -> nn.Module:
    """Build a linear layer to 4×4 maps, then three 3×3 stride-2 transposed convolutions: 4 → 7 → 14 → 28."""
    widest, wide, narrow = BOOK_CHANNELS[:0:-1]
    return nn.Sequential(
        nn.Linear(latent_dim, widest * 4 * 4),
        nn.Unflatten(1, (widest, 4, 4)),
        nn.ConvTranspose2d(widest, wide, 3, stride=2, padding=1),
        nn.BatchNorm2d(wide),
        nn.ReLU(),
        nn.ConvTranspose2d(wide, narrow, 3, stride=2, padding=1, output_padding=1),
        nn.BatchNorm2d(narrow),
        nn.ReLU(),
        nn.ConvTranspose2d(narrow, image_shape[0], 3, stride=2, padding=1, output_padding=1),
    )


BACKBONES.register("mlp")(
    Backbone(
        "hidden layers each way",
        mlp_encoder,
        mlp_decoder,
        {"hidden": 512, "depth": 1, "activation": "relu"},
        stackable=True,
    )
)
BACKBONES.register("conv")(
    Backbone(
        "3×3 stride-2 blocks each way, any size of image",
        conv_encoder,
        ConvDecoder,
        {"hidden": 32},
        grid=GridNetworks(grid_side, grid_encoder, grid_decoder),
    )
)
BACKBONES.register("book")(
    Backbone("the network of the book's chapter, 28 by 28 pixels", book_encoder, book_decoder)
)
