"""Images and labels as every other room sees them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, int64, uint8

from latentbench.data.errors import DataError
from latentbench.data.memo import Memo

SMALLEST_SIDE, LARGEST_SIDE = 8, 256


@dataclass(frozen=True, eq=False)
class Split:
    """One split: `images` uint8 `[N, C, H, W]`, `labels` int64 `[N]`, or None where there are none."""

    images: Tensor
    labels: Tensor | None

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, eq=False)
class ImageData(Memo):
    """A data set held in memory.

    `images` are uint8 in 0–255, square, 8 to 256 pixels a side, with 1 or 3 channels; `classes`
    name the labels in order, and are empty where neither split has labels. Raises `DataError` for
    anything else.
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.classes)) != len(self.classes):
            raise DataError(f"{self.name}: a class name is used twice; names must differ: {self.classes}")
        for role, split in (("train", self.train), ("test", self.test)):
            _check_split(f"{self.name} ({role})", split, len(self.classes))
        if (self.train.labels is None) != (self.test.labels is None):
            raise DataError(f"{self.name}: one split has labels and the other none; label both or neither")
        if self.train.images.shape[1:] != self.test.images.shape[1:]:
            raise DataError(
                f"{self.name}: train images are {list(self.train.images.shape[1:])}, "
                f"test images {list(self.test.images.shape[1:])}; both splits must agree"
            )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(channels, height, width)`."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know of how the data were read, a line each."""
        return ()

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of shapes, pixels, labels and class names: the same content, the same value."""
        digest = hashlib.sha256()
        for split in (self.train, self.test):
            for tensor in (split.images, split.labels):
                if tensor is None:
                    digest.update(b"none")
                else:
                    digest.update(str(list(tensor.shape)).encode())
                    digest.update(tensor.contiguous().numpy().data)
        digest.update("\0".join(self.classes).encode())
        return digest.hexdigest()


def _check_split(where: str, split: Split, classes: int) -> None:
    images, labels = split.images, split.labels
    if images.dtype != uint8 or images.ndim != 4:
        raise DataError(
            f"{where}: images must be uint8 [N, C, H, W], got {images.dtype} {list(images.shape)}"
        )
    if len(images) == 0:
        raise DataError(f"{where}: no images")
    _, channels, height, width = images.shape
    if channels not in (1, 3):
        raise DataError(f"{where}: images must have 1 or 3 channels, got {channels}")
    if height != width or not SMALLEST_SIDE <= height <= LARGEST_SIDE:
        raise DataError(
            f"{where}: images must be square, {SMALLEST_SIDE} to {LARGEST_SIDE} px, got {height}x{width}"
        )
    if labels is None:
        if classes:
            raise DataError(f"{where}: {classes} classes but no labels; give both or neither")
        return
    _check_labels(where, labels, len(images), classes)


def _check_labels(where: str, labels: Tensor, images: int, classes: int) -> None:
    if labels.dtype != int64:
        raise DataError(f"{where}: labels must be int64, got {labels.dtype}")
    if labels.shape != (images,):
        raise DataError(f"{where}: {images} images but {labels.numel()} labels")
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise DataError(
            f"{where}: labels run from {int(labels.min())} to {int(labels.max())}, "
            f"but there are {classes} classes (allowed: 0 to {classes - 1})"
        )
