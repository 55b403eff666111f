"""Changes the size of a data set's images."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from latentbench.data.errors import DataError
from latentbench.data.images import ImageData, Split
from latentbench.data.sides import LARGEST_SIDE, SMALLEST_SIDE

BATCH = 1024


def check_size(size: int, *, where: str) -> None:
    """Raise `DataError` unless `size` is a side that images may have, 8 to 1024 pixels."""
    if not SMALLEST_SIDE <= size <= LARGEST_SIDE:
        raise DataError(f"{where}: size must be {SMALLEST_SIDE} to {LARGEST_SIDE} px, got {size}")


def resized(data: ImageData, size: int) -> ImageData:
    """Resize images to `size` x `size` pixels, bilinear and antialiased; the name is `NAME?size=SIZE`."""
    check_size(size, where=data.name)
    if data.image_shape[-1] == size:
        return data
    return replace(
        data,
        name=f"{data.name}?size={size}",
        train=Split(_resized(data.train.images, size), data.train.labels),
        test=Split(_resized(data.test.images, size), data.test.labels),
    )


def _resized(images: Tensor, size: int) -> Tensor:
    batches = [
        interpolate(batch.float(), (size, size), mode="bilinear", antialias=True).round().to(torch.uint8)
        for batch in torch.split(images, BATCH)
    ]
    return torch.cat(batches)
