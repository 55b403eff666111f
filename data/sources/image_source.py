"""Image sources: labelled images at their original size, in a stable order, opened one at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from PIL import Image

from latentbench.data.errors import DataError, printable
from latentbench.data.images import Split
from latentbench.data.sources.image_files import read_image


class ImageSource(Protocol):
    """Labelled images at their original size, in a stable order.

    `classes` name the labels; `labels` has one for each image, or is None; `names` are unique per image.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, by label."""

    @property
    def labels(self) -> tuple[int, ...] | None:
        """The label of each image."""

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each image."""

    def __len__(self) -> int: ...

    def open(self, index: int) -> Image.Image:
        """Read one image in RGB, upright, at its original size. Raises `DataError` if it cannot be read."""

    @property
    def fingerprint(self) -> str:
        """Compute the sha256 (hex) over names, contents and labels, equal for equal images in equal order."""

    def shard(self, index: int, count: int) -> Self:
        """Return part `index` of `count`: every `count`-th image, so that sizes differ by at most one."""


def check_shard(index: int, count: int) -> None:
    """Raise `DataError` unless there is a part `index` of `count` parts."""
    if not 0 <= index < count:
        raise DataError(f"shard {index} of {count}: the index must be 0 to {count - 1}")


@dataclass(frozen=True, eq=False)
class FileSource:
    """Image files below the folder `root`; `files` are paths from it."""

    root: Path
    files: tuple[Path, ...]
    labels: tuple[int, ...] | None
    classes: tuple[str, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The paths from the folder; bytes that are not UTF-8 are written as `\\xNN`."""
        return tuple(printable(file.as_posix()) for file in self.files)

    def __len__(self) -> int:
        return len(self.files)

    def open(self, index: int) -> Image.Image:
        """Read one file as `image_files.read_image` does."""
        return read_image(self.root / self.files[index])

    @cached_property
    def fingerprint(self) -> str:
        """Compute the sha256 (hex) over names, the files' bytes and labels. Raises `DataError`."""
        return _fingerprint(self, (self._content(file) for file in self.files))

    def shard(self, index: int, count: int) -> FileSource:
        """Return every `count`-th file, from the one at `index`."""
        check_shard(index, count)
        labels = None if self.labels is None else self.labels[index::count]
        return replace(self, files=self.files[index::count], labels=labels)

    def _content(self, file: Path) -> bytes:
        try:
            return (self.root / file).read_bytes()
        except OSError as error:
            raise DataError(f"{self.root / file}: {error.strerror}") from None


@dataclass(frozen=True, eq=False)
class ArraySource:
    """The images of a split that is in memory, named by their number."""

    split: Split
    classes: tuple[str, ...]

    @cached_property
    def labels(self) -> tuple[int, ...] | None:
        """The label of each image."""
        return None if self.split.labels is None else tuple(self.split.labels.tolist())

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The number of each image."""
        return tuple(map(str, range(len(self))))

    def __len__(self) -> int:
        return len(self.split)

    def open(self, index: int) -> Image.Image:
        """Return one image in RGB."""
        pixels = self.split.images[index].expand(3, -1, -1)
        return Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()))

    @cached_property
    def fingerprint(self) -> str:
        """Compute the sha256 (hex) over names, pixels and labels."""
        return _fingerprint(self, (image.contiguous().numpy().tobytes() for image in self.split.images))

    def shard(self, index: int, count: int) -> ArraySource:
        """Return every `count`-th image, from the one at `index`."""
        check_shard(index, count)
        labels = None if self.split.labels is None else self.split.labels[index::count]
        return ArraySource(Split(self.split.images[index::count], labels), self.classes)


def _fingerprint(source: ImageSource, contents: Iterator[bytes]) -> str:
    digest = hashlib.sha256("\0".join(source.classes).encode())
    labels = source.labels or (-1,) * len(source)
    for name, label, content in zip(source.names, labels, contents, strict=True):
        digest.update(f"\0{name}\0{label}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()
