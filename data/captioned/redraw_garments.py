"""Redraw garments with a given size and brightness.

Both are set by changing the image, not by selecting images: a bag is naturally brighter than a sandal, so a
selection by brightness would reveal the garment. Each image is measured, and then changed by the difference.

Images are grey garments on black. A garment's box is that of its pixels brighter than `FAINTEST`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

FAINTEST = 8
"""A pixel fainter than this, of 255, is background: the fringe that resampling leaves."""
BATCH = 1024
HALVINGS = 16
LARGEST_EXPONENT = 4.0
"""Largest absolute value of the natural logarithm of the curve's exponent."""


def relight(images: Tensor, *, extent: Tensor, brightness: Tensor) -> Tensor:
    """Redraw garments with the given size and brightness.

    `images`: uint8 `[N, 1, H, H]`. `extent`: float `[N]`, the longer side of the garment's box, in
    pixels. `brightness`: float `[N]`, the mean over the garment's pixels, in (0, 1). Returns uint8
    `[N, 1, H, H]`, centred. Grey values are bent by a power curve, which keeps their order.
    """
    batches = zip(*(torch.split(tensor, BATCH) for tensor in (images, extent, brightness)), strict=True)
    return torch.cat([_brightened(_resized(batch, size), light) for batch, size, light in batches])


def _box(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the middle of each garment's box, across and down, and its longer side: `[N]` each, pixels."""
    garment = images[:, 0] >= FAINTEST
    side = garment.shape[-1]
    ends = []
    for occupied in (garment.any(1), garment.any(2)):
        first = occupied.byte().argmax(1)
        last = side - 1 - occupied.flip(1).byte().argmax(1)
        ends.append((first, last))
    (left, right), (top, bottom) = ends
    extent = torch.maximum(right - left, bottom - top) + 1
    extent = torch.where(garment.flatten(1).any(1), extent, 0)
    return (left + right) / 2, (top + bottom) / 2, extent.float()


def _resized(images: Tensor, extent: Tensor) -> Tensor:
    """Scale about the middle of the box, which moves to the middle of the image: float, 0 to 255."""
    side = images.shape[-1]
    across, down, found = _box(images)
    scale = found.clamp(min=1) / extent
    # From output to input, in grid_sample's units (-1 to 1 across).
    placed = torch.zeros(len(images), 2, 3)
    placed[:, 0, 0] = placed[:, 1, 1] = scale
    placed[:, 0, 2] = (2 * across + 1) / side - 1
    placed[:, 1, 2] = (2 * down + 1) / side - 1
    grid = affine_grid(placed, [len(images), 1, side, side], align_corners=False)
    return grid_sample(images.float(), grid, align_corners=False)


def _brightened(images: Tensor, brightness: Tensor) -> Tensor:
    """Change grey values x to 255 (x / 255)^γ, with γ found for each image by halving; return uint8.

    An image has at most 256 grey levels, so the levels are counted and changed, not the pixels.
    """
    grey = images.round().clamp(0, 255).long().flatten(1)
    levels = torch.zeros(len(images), 256).scatter_add_(1, grey, torch.ones(grey.shape))
    levels[:, :FAINTEST] = 0
    share = levels / levels.sum(1, keepdim=True).clamp(min=1)
    logarithm = (torch.arange(256) / 255).clamp(min=1e-6).log()
    low, high = (torch.full((len(images), 1), end) for end in (-LARGEST_EXPONENT, LARGEST_EXPONENT))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        # Pixels of the garment stay above the threshold, so that they can be measured again.
        bent = (logarithm * middle.exp()).exp().clamp(min=FAINTEST / 255)
        mean = (share * bent).sum(1, keepdim=True)
        too_bright = mean > brightness.unsqueeze(1)
        low, high = torch.where(too_bright, middle, low), torch.where(too_bright, high, middle)
    levels_bent = (255 * bent).round()
    levels_bent[:, :FAINTEST] = 0
    return levels_bent.gather(1, grey).to(torch.uint8).view_as(images)
