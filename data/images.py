"""Images and labels in the form that every other package uses."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar, Self

import torch
from torch import Tensor, int64, uint8

from latentbench.data.errors import DataError
from latentbench.data.sides import LARGEST_SIDE, SMALLEST_SIDE
from latentbench.data.storage.memo import Memo

HASHED_AT_ONCE = 1000
"""Images that are copied at once where they do not lie one after the other in memory."""


@dataclass(frozen=True, eq=False)
class Split:
    """One split: `images` uint8 `[N, C, H, W]`, `labels` int64 `[N]`, or None where there are none."""

    images: Tensor
    labels: Tensor | None

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, eq=False)
class ImageData(Memo):
    """A data set in memory, or in a file that is mapped into memory; both are indexed alike.

    `images` are uint8 in 0–255, square, 8 to 1024 pixels a side, with 1 or 3 channels; `classes`
    name the labels in order, and are empty if neither split has labels. `notes` tell the user
    how the data were read, one line each. Raises `DataError` for anything else.
    """

    names_may_repeat: ClassVar[bool] = False
    """True if several classes may have the same name."""

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    notes: tuple[str, ...] = field(default=(), kw_only=True)
    unnamed: str | None = field(default=None, kw_only=True)
    """The reason why the classes, called by their numbers, have no names, with what to do; None otherwise."""

    def __post_init__(self) -> None:
        if len(set(self.classes)) != len(self.classes) and not self.names_may_repeat:
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
    def test_only(self) -> bool:
        """True if there are no train images: both splits are then the same one."""
        return self.train is self.test

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape `(channels, height, width)`."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def with_channels(self, channels: int) -> Self:
        """Return the same data with 1 or 3 channels: grey images are repeated, colour is not dropped.

        Raises `DataError` for another number, and for 1 channel of images that are not grey.
        """
        if channels not in (1, 3):
            raise DataError(f"{self.name}: images may have 1 or 3 channels, got {channels}")
        if channels == self.image_shape[0]:
            return self
        test = _with_channels(self.test, channels, f"{self.name} (test)")
        train = test if self.test_only else _with_channels(self.train, channels, f"{self.name} (train)")
        return replace(self, train=train, test=test)

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 (hex) of shapes, pixels, labels and class names: equal for equal content."""
        digest = hashlib.sha256()
        for split in (self.train, self.test):
            for tensor in (split.images, split.labels):
                if tensor is None:
                    digest.update(b"none")
                else:
                    digest.update(str(list(tensor.shape)).encode())
                    for block in tensor.split(HASHED_AT_ONCE):
                        digest.update(block.contiguous().numpy().data)
        digest.update("\0".join(self.classes).encode())
        return digest.hexdigest()


def _with_channels(split: Split, channels: int, where: str) -> Split:
    if channels == 3:  # of the same class: rows of a file stay rows of a file
        return replace(split, images=split.images.expand(-1, 3, -1, -1))
    red, green, blue = split.images.unbind(1)
    if not (torch.equal(red, green) and torch.equal(green, blue)):
        raise DataError(f"{where}: 1 channel requested, but the images are coloured; use 3")
    return Split(split.images[:, :1].clone(), split.labels)


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
