"""Image sources: labelled images at their original size, in a stable order, opened one at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
from PIL import Image

from latentbench.data.errors import DataError
from latentbench.data.reading.image_files import (
    Encoded,
    Reader,
    content_of,
    read_as_clip_benchmark,
    read_image,
)

if TYPE_CHECKING:  # decoding processes import this module and must start without torch
    from latentbench.data.images import Split


@dataclass(frozen=True)
class CaptionPairs:
    """Pairs of one kind of change: by pair, the name of its image, its caption, and one with a change."""

    kind: str
    images: tuple[str, ...]
    captions: tuple[str, ...]
    negatives: tuple[str, ...]

    @property
    def words(self) -> Iterable[str]:
        """The kind, the names and the captions."""
        return (self.kind, *self.images, *self.captions, *self.negatives)

    def among(self, names: Container[str]) -> CaptionPairs:
        """Return the pairs whose image is one of `names`."""
        kept = [index for index, image in enumerate(self.images) if image in names]
        images, captions, negatives = (
            tuple(each[index] for index in kept) for each in (self.images, self.captions, self.negatives)
        )
        return CaptionPairs(self.kind, images, captions, negatives)


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

    def contents(self) -> Iterator[bytes]:
        """Yield what is stored of each image, in order; the fingerprint is computed from it."""

    def take(self, indices: Sequence[int]) -> Self:
        """Return some of the images, in the order given."""

    def shard(self, index: int, count: int) -> Self:
        """Return part `index` of `count`: every `count`-th image, so that sizes differ by at most one."""


@dataclass(frozen=True, eq=False)
class Sources:
    """The splits that were found; without `train` nothing can be trained on the images.

    `templates` are those of images that are to be recognised by their classes' names, otherwise None;
    `notes` tell the user how the images were found; `reader` opens an original for a pretrained image–text
    model.
    """

    train: ImageSource | None
    test: ImageSource
    notes: tuple[str, ...] = field(default=(), kw_only=True)
    templates: tuple[str, ...] | None = field(default=None, kw_only=True)
    pairs: tuple[CaptionPairs, ...] = field(default=(), kw_only=True)
    """The captions and negatives of the test images, if they come with such pairs."""
    reader: Reader = field(default=read_as_clip_benchmark, kw_only=True)
    tested: str | None = field(default=None, kw_only=True)
    """The split to request where nothing is trained, of images that come with words next to train images."""
    unnamed: str | None = field(default=None, kw_only=True)
    """The reason why the classes have no names, with what to do; None if they have."""

    @property
    def complete(self) -> bool:
        """True if the test images come with words, and so with their originals."""
        return self.templates is not None or bool(self.pairs)

    @property
    def keeps_unreadable(self) -> bool:
        """True if an image that cannot be read must stay, black, because it counts as a miss.

        Where models are trained and measured on pixels, a black image would count as an image.
        """
        return self.complete and self.train is None

    @property
    def parts(self) -> tuple[ImageSource, ...]:
        """The train images, if there are any, and the test images."""
        return (self.test,) if self.train is None else (self.train, self.test)


def shard_indices(length: int, index: int, count: int) -> range:
    """Return the indices of part `index` of `count`. Raises `DataError` if there is no such part."""
    if not 0 <= index < count:
        raise DataError(f"shard {index} of {count}: the index must be 0 to {count - 1}")
    return range(index, length, count)


class StoredImages(Protocol):
    """Images as they are stored, each looked up when it is used; a tuple of them will do."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Encoded: ...


@dataclass(frozen=True, eq=False)
class _Chosen:
    """Some of the stored images, in the order given."""

    items: StoredImages
    indices: Sequence[int]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int, /) -> Encoded:
        return self.items[self.indices[index]]


@dataclass(frozen=True, eq=False)
class EncodedSource:
    """Images as they are stored, in files or parts of files; `where` names all of them in messages."""

    where: str
    names: tuple[str, ...]
    stored: StoredImages
    labels: tuple[int, ...] | None
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def open(self, index: int) -> Image.Image:
        """Read one image as `image_files.read_image` does."""
        return read_image(self.stored[index], name=f"{self.where}/{self.names[index]}")

    @cached_property
    def fingerprint(self) -> str:
        """Compute the sha256 (hex) over names, the images' stored bytes and labels."""
        return fingerprint(self, self.contents())

    def contents(self) -> Iterator[bytes]:
        """Yield the bytes of each file."""
        return map(self._content, range(len(self)))

    def take(self, indices: Sequence[int]) -> EncodedSource:
        """Return some of the images, in the order given."""
        return replace(
            self,
            names=tuple(self.names[index] for index in indices),
            stored=_Chosen(self.stored, indices),
            labels=None if self.labels is None else tuple(self.labels[index] for index in indices),
        )

    def shard(self, index: int, count: int) -> EncodedSource:
        """Return every `count`-th image, from the one at `index`."""
        return self.take(shard_indices(len(self), index, count))

    def _content(self, index: int) -> bytes:
        try:
            return content_of(self.stored[index])
        except OSError:  # it will be named as unreadable when it is decoded
            return b""


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
        return fingerprint(self, self.contents())

    def contents(self) -> Iterator[bytes]:
        """Yield the pixels of each image."""
        return (image.contiguous().numpy().tobytes() for image in self.split.images)

    def take(self, indices: Sequence[int]) -> ArraySource:
        """Return some of the images, in the order given; they are numbered anew."""
        chosen, labels = list(indices), self.split.labels
        images = self.split.images[chosen]
        return ArraySource(type(self.split)(images, None if labels is None else labels[chosen]), self.classes)

    def shard(self, index: int, count: int) -> ArraySource:
        """Return every `count`-th image, from the one at `index`."""
        return self.take(shard_indices(len(self), index, count))


def fingerprint(source: ImageSource, contents: Iterator[bytes]) -> str:
    """Return the sha256 (hex) over the class names and each image's name, label and content."""
    digest = hashlib.sha256("\0".join(source.classes).encode())
    labels = source.labels or (-1,) * len(source)
    for name, label, content in zip(source.names, labels, contents, strict=True):
        digest.update(f"\0{name}\0{label}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()
