"""The plane of a two-dimensional code, point by point: its decoded images, and the parts without codes.

Grids are squares of points in image order: the first row has the largest second coordinate.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import MultivariateNormal

from latentbench.analysis.core.data_context import to_uint8
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.features.judge import joint_predictions

CODES = 5000
"""Codes kept for a scatter plot."""

MAP_SIDE = 100
IMAGE_SIDE = 20
REACH = 3.0
"""The plane shows this many standard deviations of the codes in each direction."""

Extent = tuple[float, float, float, float]
"""Left, right, bottom, top."""


def extent_of(codes: Tensor) -> Extent:
    """Return the part of the plane to show for codes `[N, 2]`: their mean ± 3 standard deviations."""
    mean, deviation = codes.double().mean(0), codes.double().std(0)
    (left, bottom), (right, top) = (mean - REACH * deviation).tolist(), (mean + REACH * deviation).tolist()
    return left, right, bottom, top


def grid(extent: Extent, side: int) -> Tensor:
    """Return the centres of side × side cells of the plane, float32 `[side², 2]`, in image order."""
    left, right, bottom, top = extent
    middles = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    y, x = torch.meshgrid(top - middles * (top - bottom), left + middles * (right - left), indexing="ij")
    return torch.stack([x, y], dim=2).reshape(-1, 2).float()


def class_area(classes: Tensor, weights: Tensor, count: int) -> Tensor:
    """Compute each class's share of the plane from classes int64 `[G]` and weights `[G]`: float64 `[count]`.

    Shares sum to 1. Raises ValueError unless some weight is positive.
    """
    total = weights.double().sum()
    if not total > 0:
        raise ValueError("the weights must have a positive sum")
    return classes.bincount(weights.double(), minlength=count) / total


def tiled(images: Tensor, side: int) -> Tensor:
    """Arrange side² images `[side², C, H, W]` in one image `[C, side·H, side·W]`, in order of rows."""
    _, channels, height, width = images.shape
    rows = images.reshape(side, side, channels, height, width)
    return rows.permute(2, 0, 3, 1, 4).reshape(channels, side * height, side * width)


def plane_arrays(
    subject: Subject, codes: Tensor, labels: Tensor | None, outside: Callable[[Tensor], Tensor]
) -> dict[str, NDArray[np.generic]]:
    """Return the arrays from which figures of a two-dimensional code are drawn.

    `codes` are `[N, 2]`, `outside` marks the points of the plane outside their support. Returns
    `codes`, `labels`, `plane_extent`, `plane_dead` (bool map); for a model that can decode also
    `plane_images` (one image), and with judges `plane_class` (int16 map) and `class_area`: each
    class's share of the plane under the Gaussian with the codes' mean and covariance.
    """
    extent = extent_of(codes)
    points = grid(extent, MAP_SIDE)
    arrays: dict[str, NDArray[np.generic]] = {
        "codes": codes[:CODES].numpy(),
        "plane_extent": np.array(extent),
        "plane_dead": _as_map(outside(points)),
    }
    if labels is not None:
        arrays["labels"] = labels[:CODES].numpy()
    if not subject.can_decode:
        return arrays
    images = subject.decode(grid(extent, IMAGE_SIDE))
    arrays["plane_images"] = to_uint8(tiled(images, IMAGE_SIDE)).numpy()
    if subject.context.no_judge is None:
        classes = joint_predictions(subject.context.view_all(subject.decoded(points)))
        density = MultivariateNormal(codes.double().mean(0), codes.double().T.cov()).log_prob(points.double())
        area = class_area(classes, density.exp(), len(subject.data.classes))
        arrays |= {"plane_class": _as_map(classes.short()), "class_area": area.numpy()}
    return arrays


def _as_map(values: Tensor) -> NDArray[np.generic]:
    return values.reshape(MAP_SIDE, MAP_SIDE).numpy()
