"""Images as a protocol sees them: scaled by its filter, in 8 bits or as floats."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from latentbench.analysis.protocols.protocol import Protocol
from latentbench.data.errors import DataError
from latentbench.data.reading.decoding import Progress
from latentbench.data.reading.image_source import ImageSource
from latentbench.data.reading.transform import Crop, Resize, Transform, of_bounded_length


def batches(
    source: ImageSource,
    protocol: Protocol,
    size: int | None,
    channels: int,
    count: int,
    progress: Progress | None = None,
) -> Iterator[Tensor]:
    """Yield batches of at most `count` float images in [0, 1] `[B, channels, size, size]`.

    Without a size images keep theirs, which must then be the same for all. Images that cannot be read are
    left out, as they are when data are loaded.
    """
    for start in range(0, len(source), count):
        if progress is not None:
            progress("measuring", start, len(source))
        images = [_opened(source, index) for index in range(start, min(start + count, len(source)))]
        readable = [scaled(image, protocol, size) for image in images if image is not None]
        if readable:
            yield torch.stack(readable)[:, :channels]
    if progress is not None:
        progress("measuring", len(source), len(source))


def _opened(source: ImageSource, index: int) -> Image.Image | None:
    try:
        return source.open(index)
    except DataError:
        return None


def scaled(image: Image.Image, protocol: Protocol, size: int | None) -> Tensor:
    """Scale one RGB image to float values in [0, 1] `[3, size, size]`; a very long one is cut first."""
    if size is None or image.size == (size, size):
        return _pixels(image) / 255
    if protocol.crop == "center":
        image = of_bounded_length(image, (size, size))
    if protocol.resize == "halving then bicubic":
        return _pixels(_halved(image, size)) / 255
    if protocol.resize_values == "8 bits" and protocol.resize != "bilinear without antialiasing":
        return _pixels(Transform(size, protocol.crop, protocol.resize)(image)) / 255
    return _interpolated(_pixels(image)[None], protocol, size)[0] / 255


def scales_as(protocol: Protocol, crop: Crop, resize: Resize) -> bool:
    """Return True if a protocol scales images to the same pixels as `Transform` does with these choices."""
    return (protocol.resize_values, protocol.crop, protocol.resize) == ("8 bits", crop, resize)


def _halved(image: Image.Image, size: int) -> Image.Image:
    """Cut out the middle as guided-diffusion does: halve by area while possible, then scale bicubically."""
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = size / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))


def _interpolated(pixels: Tensor, protocol: Protocol, size: int) -> Tensor:
    """Scale pixels 0–255 `[1, 3, H, W]` as tensors, by torch's filters, and cut out the middle."""
    sides = pixels.shape[2:]
    target = [size, size] if protocol.crop == "none" else [size * side // min(sides) for side in sides]
    resized = F.interpolate(
        pixels,
        target,
        mode=protocol.resize.partition(" ")[0],
        align_corners=False,
        antialias=protocol.resize != "bilinear without antialiasing",
    ).clamp(0, 255)
    top, left = (round((side - size) / 2) for side in target)
    cropped = resized[:, :, top : top + size, left : left + size]
    return cropped.round() if protocol.resize_values == "8 bits" else cropped


def _pixels(image: Image.Image) -> Tensor:
    """Return an RGB image as float pixels 0–255 `[3, H, W]`."""
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float()
