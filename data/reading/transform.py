"""Transforms an image of any size into a square of pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from PIL import Image

Crop = Literal["center", "none"]
"""`center`: scale the shorter side and cut out the middle. `none`: scale the whole image to the square."""
Resize = Literal["bicubic", "lanczos", "bilinear", "box", "nearest"]
MOST_SCALED_PIXELS = 2**24
"""An image that would be scaled to more pixels is cut first, which bounds the memory to about 70 MB."""


class ImageTransform(Protocol):
    """Scales an image of any size to a fixed shape. It is sent to other processes."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the scaled image, in pixels."""

    def __call__(self, image: Image.Image) -> Image.Image:
        """Scale an image to the shape, and return it in RGB."""


@dataclass(frozen=True)
class Transform:
    """Scales an image to `size` x `size` pixels. With the defaults they equal those of open_clip."""

    size: int
    crop: Crop = "center"
    resize: Resize = "bicubic"

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width: the size."""
        return self.size, self.size

    def __call__(self, image: Image.Image) -> Image.Image:
        """Scale an image to `size` x `size` pixels."""
        filter_ = Image.Resampling[self.resize.upper()]
        if self.crop == "none":
            return image.resize((self.size, self.size), filter_)
        image = of_bounded_length(image, self.shape)
        shorter = min(image.size)
        width, height = (int(self.size * side / shorter) for side in image.size)
        return _middle(image.resize((width, height), filter_), self.size, self.size)


def of_bounded_length(image: Image.Image, shape: tuple[int, int]) -> Image.Image:
    """Return the image, or the middle of a very long one, before it is scaled to cover a height and width.

    An image of 1 x 10,000 pixels, scaled to cover 1024 x 1024, would need gigabytes. At 224 pixels, images
    of up to 334 : 1 stay whole.
    """
    scale = max(shape[0] / image.height, shape[1] / image.width)
    longest = int(MOST_SCALED_PIXELS / (scale**2 * min(image.size)))
    if max(image.size) <= longest:
        return image
    return _middle(image, min(image.width, longest), min(image.height, longest))


def _middle(image: Image.Image, width: int, height: int) -> Image.Image:
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))
