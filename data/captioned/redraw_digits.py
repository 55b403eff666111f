"""Redraw digits with a given stroke width and slant.

Both are set by changing the image, not by selecting images: natural slant and stroke width depend on the
digit and its writer, so a selection by them would reveal the digit. Each image is measured, and then changed
by the difference, which makes the attributes independent of the digit.

Images are grey digits, white ink on black, scaled to twice their resolution while strokes change.
Every step works on a batch at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

ZOOM = 2
THINNEST, THICKEST = -4, 3
"""Steps of erosion and of dilation that are tried; each moves a stroke's outline by one fine pixel."""
MARGIN = 1.0
"""Free pixels on every side, so that nothing is cut off."""
INK_THRESHOLD = 48
"""A pixel fainter than this, of 255, is not ink when a digit's extent is measured."""
BATCH = 128


def restyle(images: Tensor, *, stroke_width: Tensor, slant: Tensor) -> Tensor:
    """Redraw digits with the given stroke width and slant.

    `images`: uint8 `[N, 1, H, H]`. `stroke_width`: float `[N]`, in pixels. `slant`: float `[N]`, the
    pixels that ink moves to the right per pixel downwards, so that a positive slant leans left.
    Returns uint8 `[N, 1, H, H]`, centred, and shrunk only where it would not fit.

    A width beyond four steps of erosion or three of dilation is approximated as closely as possible.
    """
    batches = zip(*(torch.split(tensor, BATCH) for tensor in (images, stroke_width, slant)), strict=True)
    with _one_thread():
        return torch.cat([_restyle_batch(*batch) for batch in batches])


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread: in hundreds of small steps, several would mostly wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _restyle_batch(images: Tensor, stroke_width: Tensor, slant: Tensor) -> Tensor:
    fine = interpolate(images, scale_factor=ZOOM, mode="bilinear")
    return _sheared(_restroked(fine, ZOOM * stroke_width), slant, side=images.shape[-1])


def measure_slant(images: Tensor) -> Tensor:
    """Measure slant by image moments, mu11 / mu02: how far ink moves right per pixel downwards, `[N]`.

    `images`: `[N, 1, H, H]`, any number type, ink bright. 0 is upright, positive leans left. An
    image without ink, or with ink in one row only, has no slant and gives nan.
    """
    ink = images[:, 0].float()
    across, down = _offsets(ink, dim=2), _offsets(ink, dim=1)
    mixed = torch.einsum("nij,ni,nj->n", ink, down, across)
    return mixed / (ink.sum(2) * down.square()).sum(1)


def _offsets(ink: Tensor, *, dim: int) -> Tensor:
    """Return the distance of each column (dim 2) or row (dim 1) from the centre of the ink, `[N, H]`."""
    profile = ink.sum(3 - dim)
    position = torch.arange(ink.shape[dim], dtype=torch.float32)
    centre = (profile @ position) / profile.sum(1)
    return position - centre.unsqueeze(1)


def _restroked(images: Tensor, width: Tensor) -> Tensor:
    """Thin or thicken uint8 `[N, 1, H, H]` to `width` `[N]` pixels; returns float.

    A first dilation moves the outline out by one pixel, so the ink that it adds is the length of the outline,
    twice that of the stroke. (The ends of a stroke are counted too, which makes short thick strokes come out
    a little wider.) Stroke length times width is the wanted amount of ink, which is found between two
    neighbouring steps.
    """
    steps = _steps(images)
    ink = steps.flatten(2).sum(2, dtype=torch.int32)
    stroke_length = (ink[1 - THINNEST] - ink[-THINNEST]) / 2
    wanted = stroke_length * width
    upper = (ink < wanted).sum(0).clamp(1, len(steps) - 1)
    lower = upper - 1
    image = torch.arange(images.shape[0])
    gained = ink[upper, image] - ink[lower, image]
    share = ((wanted - ink[lower, image]) / gained.clamp(min=1)).clamp(0, 1)
    return torch.lerp(steps[lower, image].float(), steps[upper, image].float(), share.view(-1, 1, 1, 1))


def _steps(images: Tensor) -> Tensor:
    """Return all erosions from the thinnest, the images, and all dilations: `[steps, N, 1, H, H]`."""
    eroded, dilated = [255 - images], [images]
    for step in range(-THINNEST):
        eroded.append(_dilated(eroded[-1], step))
    for step in range(THICKEST):
        dilated.append(_dilated(dilated[-1], step))
    return torch.stack([255 - ink for ink in reversed(eroded[1:])] + dilated)


def _dilated(images: Tensor, step: int) -> Tensor:
    """Max-pool over a plus or, at every second step, a 3x3 square: together they make an octagon."""
    if step % 2 == 0:
        return torch.maximum(_max_along(images, 2), _max_along(images, 3))
    return _max_along(_max_along(images, 2), 3)


def _max_along(images: Tensor, dim: int) -> Tensor:
    """Max-pool of width 3 along one dimension; on uint8 this is far quicker than `max_pool2d`."""
    last = images.shape[dim] - 1
    pooled = images.clone()
    for target, source in ((0, 1), (1, 0)):
        view = pooled.narrow(dim, target, last)
        torch.maximum(view, images.narrow(dim, source, last), out=view)
    return pooled


def _sheared(images: Tensor, slant: Tensor, *, side: int) -> Tensor:
    """Shear float `[N, 1, H, H]` to `slant`, centre it, and sample it as uint8 `[N, 1, side, side]`."""
    change = slant - measure_slant(images).nan_to_num()
    centre_x, centre_y, extent = _sheared_frame(images, change)
    fine = images.shape[-1]
    shrink = (extent / (fine - 2 * ZOOM * MARGIN)).clamp(min=1)
    # From output to input, in grid_sample's units (-1 to 1 across): x = cx - change * (y - cy), y = cy.
    placed = torch.zeros(len(images), 2, 3)
    placed[:, 0, 0] = placed[:, 1, 1] = shrink
    placed[:, 0, 1] = -change * shrink
    placed[:, 0, 2] = (2 * centre_x + 1) / fine - 1
    placed[:, 1, 2] = (2 * centre_y + 1) / fine - 1
    grid = affine_grid(placed, [len(images), 1, side, side], align_corners=False)
    return grid_sample(images, grid, align_corners=False).round().to(torch.uint8)


def _sheared_frame(images: Tensor, change: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the box of the ink once sheared by `change`: its centre and longer side, each `[N]`.

    The centre is given in the coordinates of the image before shearing.
    """
    ink = images[:, 0] > INK_THRESHOLD
    side = ink.shape[-1]
    position = torch.arange(side, dtype=torch.float32)
    row_has_ink = ink.any(2)
    top = row_has_ink.byte().argmax(1)
    bottom = side - 1 - row_has_ink.flip(1).byte().argmax(1)
    centre_y = (top + bottom) / 2
    moved = change.unsqueeze(1) * (position - centre_y.unsqueeze(1))
    first = ink.byte().argmax(2) + moved
    last = side - 1 - ink.flip(2).byte().argmax(2) + moved
    left = first.where(row_has_ink, torch.inf).amin(1)
    right = last.where(row_has_ink, -torch.inf).amax(1)
    extent = torch.maximum(right - left, (bottom - top).float()) + 1
    return (left + right) / 2, centre_y, extent
