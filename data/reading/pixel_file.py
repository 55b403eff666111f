"""Decoded images in a file of the cache, which every process that needs them maps into its memory.

`NAME.pixels` contains uint8 `[N, C, H, W]` and nothing else; `NAME.json`, written after it, describes it.
NAME is a hash of the images' fingerprint and of how they were decoded.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from typing_extensions import override

from latentbench.data.errors import DataError
from latentbench.data.images import Split
from latentbench.data.reading.decoding import Pixels, Progress
from latentbench.data.storage.cache import CacheError, cache_root
from latentbench.data.storage.files import atomic_file, file_sha256, write_atomically

FORMAT = 2
"""This number is raised with any change to the reader, the transform or the file, so that older files are not
used."""

HASHED_AT_ONCE_BYTES = 2**24

Side = Annotated[int, Field(ge=1)]


class Report(BaseModel):
    """The outcome of the images of each part (train and test, or test alone): indices into the part."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kept: tuple[int, ...]
    """The number of rows of each part."""
    grey: bool
    unreadable: tuple[tuple[int, ...], ...]
    animated: tuple[tuple[int, ...], ...]
    enlarged: tuple[tuple[int, ...], ...]


class Key(BaseModel):
    """The properties that decide the pixels: the images and their decoding."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    images: str
    size: int
    crop: str
    resize: str
    keeps_unreadable: bool

    @property
    def path(self) -> Path:
        """The file of the pixels."""
        content = json.dumps(self.model_dump(), sort_keys=True)
        return images_folder() / f"{hashlib.sha256(content.encode()).hexdigest()[:32]}.pixels"


class PixelCard(BaseModel):
    """The content of the JSON file; `data` is the name with which the images were first requested."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: Key
    data: str
    shape: tuple[int, Side, Side, Side]
    sha256: str
    report: Report

    @property
    def size_bytes(self) -> int:
        """Bytes of the file of pixels."""
        count, channels, height, width = self.shape
        return count * channels * height * width


@dataclass(frozen=True, eq=False)
class MappedSplit(Split):
    """Rows of a pixel file, grey ones also repeated to 3 channels. A pickle holds the path and no pixels."""

    path: Path
    shape: tuple[int, int, int, int]
    start: int

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        labels = None if self.labels is None else self.labels.tolist()
        count, channels = self.images.shape[:2]
        return mapped_split, (self.path, self.shape, self.start, count, labels, channels)


def images_folder() -> Path:
    """The folder of the decoded images."""
    return cache_root() / "images"


def mapped_split(
    path: Path,
    shape: tuple[int, int, int, int],
    start: int,
    count: int,
    labels: list[int] | None,
    channels: int | None = None,
) -> MappedSplit:
    """Map some rows of a pixel file; grey ones may be repeated to `channels`.

    Raises `DataError` for a file that is missing or of another size.
    """
    try:
        # Copy-on-write, because torch warns of arrays that cannot be written to.
        pixels = np.memmap(path, np.uint8, mode="c", shape=shape)
    except (OSError, ValueError):
        raise DataError(f"{path}: decoded images are gone or cut off; run the same command again") from None
    rows = torch.from_numpy(pixels[start : start + count]).expand(-1, channels or shape[1], -1, -1)
    return MappedSplit(rows, None if labels is None else torch.tensor(labels), path, shape, start)


def find(key: Key, progress: Progress) -> tuple[PixelCard | None, str | None]:
    """Return the card of the pixels if they are complete, or else the reason to decode them again.

    A reason is given only for an existing file that cannot be used. Reads all of the file and shows
    the progress.
    """
    card_path = key.path.with_suffix(".json")
    if not card_path.exists():
        return None, None
    try:
        card = PixelCard.model_validate_json(card_path.read_bytes())
        size = key.path.stat().st_size
        if card.key != key:
            problem = "is of other images or of another transform"
        elif size != card.size_bytes:
            problem = f"has {size:,} bytes, not {card.size_bytes:,}"
        elif _shown_sha256(key.path, card, progress) != card.sha256:
            problem = "was changed after it was written"
        else:
            os.utime(card_path)  # the time of the last use
            return card, None
    except (OSError, ValidationError):
        problem = "cannot be read"
    return None, f"the file of decoded images {key.path} {problem}; it is made again"


def _shown_sha256(path: Path, card: PixelCard, progress: Progress) -> str:
    digest, total, hashed = hashlib.sha256(), card.shape[0], 0
    with open(path, "rb") as file:
        while piece := file.read(HASHED_AT_ONCE_BYTES):
            progress("checking decoded images", total * hashed // card.size_bytes, total)
            digest.update(piece)
            hashed += len(piece)
    progress("checking decoded images", total, total)
    return digest.hexdigest()


def write(
    key: Key, data: str, blocks: Iterable[Pixels], report: Callable[[], Report], size_bytes: int
) -> PixelCard:
    """Write the blocks of pixels as one file, then its card; `report` is called after the last block.

    If all images are grey, one channel is stored. `size_bytes` is the space that is needed. Raises
    CacheError, and leaves nothing behind, if the disk is full or cannot be written to.
    """
    side = key.size
    try:
        _check_room(key.path, size_bytes)
        key.path.with_suffix(".json").unlink(missing_ok=True)
        with atomic_file(key.path) as file:
            for block in blocks:
                file.write(block.data)
            told = report()
            count = sum(told.kept)
            if told.grey:
                _keep_one_channel(file, count, side * side)
            file.flush()
            digest = file_sha256(Path(file.name))
        shape = (count, 1 if told.grey else 3, side, side)
        card = PixelCard(key=key, data=data, shape=shape, sha256=digest, report=told)
        write_atomically(key.path.with_suffix(".json"), card.model_dump_json().encode())
    except OSError as error:
        key.path.unlink(missing_ok=True)
        raise CacheError(
            f"cache {cache_root()}: {size_bytes / 1e9:.3g} GB of decoded images cannot be written: "
            f"{error.strerror}; make room (latentbench cache prune), request fewer or smaller images, or "
            f"name another folder in the environment variable LATENTBENCH_CACHE"
        ) from None
    return card


def _check_room(path: Path, size_bytes: int) -> None:
    """Raise OSError if the disk is known to be too small, before hours are spent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    room = os.statvfs(path.parent)
    free = room.f_bavail * room.f_frsize
    if free < size_bytes:
        raise OSError(28, f"only {free / 1e9:.3g} GB are free")


def _keep_one_channel(file: BinaryIO, count: int, pixels: int) -> None:
    """Move the first channel of each image to the front; a row's new place is never behind its old one."""
    for row in range(count):
        file.seek(row * 3 * pixels)
        channel = file.read(pixels)
        file.seek(row * pixels)
        file.write(channel)
    file.truncate(count * pixels)
