"""Decoding of a source's images into one array of fixed size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latentbench.data.errors import DataError
from latentbench.data.images import Split
from latentbench.data.sources.folder_listing import some
from latentbench.data.sources.image_files import square
from latentbench.data.sources.image_source import ImageSource


@dataclass(frozen=True, eq=False)
class Decoded:
    """A source's images, uint8 `[N, 3, size, size]`; those that cannot be read are black.

    `grey` says that every image has three equal channels; `unreadable` and `frames_dropped` are indices.
    """

    source: ImageSource
    images: Tensor
    grey: bool
    unreadable: tuple[int, ...]
    frames_dropped: tuple[int, ...]

    def split(self, channels: int) -> Split:
        """Return images of 1 or 3 channels with their labels; 1 is for grey images."""
        labels = self.source.labels
        images = self.images if channels == 3 else self.images[:, :1].clone()
        return Split(images, None if labels is None else torch.tensor(labels))


def decode(source: ImageSource, size: int, *, keep_unreadable: bool = False) -> Decoded:
    """Read every image of a source, scaled and cut to `size` x `size` pixels, straight into one array.

    Raises `DataError` for the first image that cannot be read, unless `keep_unreadable`.
    """
    images = np.zeros((len(source), 3, size, size), np.uint8)
    grey = True
    unreadable: list[int] = []
    frames_dropped: list[int] = []
    for index, pixels in enumerate(images):
        try:
            image = source.open(index)
        except DataError:
            if not keep_unreadable:
                raise
            unreadable.append(index)
            continue
        if image.info.get("frames_dropped"):
            frames_dropped.append(index)
        pixels[:] = np.asarray(square(image, size)).transpose(2, 0, 1)
        grey = grey and bool((pixels[0] == pixels[1]).all() and (pixels[1] == pixels[2]).all())
    return Decoded(source, torch.from_numpy(images), grey, tuple(unreadable), tuple(frames_dropped))


def frames_note(*decoded: Decoded) -> tuple[str, ...]:
    """Return a line that names the animated images, of which only the first frame is read, if any."""
    names = [part.source.names[index] for part in decoded for index in part.frames_dropped]
    if not names:
        return ()
    return (f"{len(names)} files have several frames, of which the first is read: {some(names)}",)
