"""The test images of `torchvision:NAME`, opened one at a time by torchvision's own class.

They are seen exactly as CLIP_benchmark sees them: as `image_files` would read them, but not turned upright.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Self

from PIL import Image

from latentbench.data.errors import DataError, printable
from latentbench.data.reading.image_files import OpenedByLibrary
from latentbench.data.reading.image_source import EncodedSource, Sources
from latentbench.data.registry import unknown
from latentbench.data.sources.class_names import checked_templates
from latentbench.data.sources.named_sets.published_sets import PUBLISHED, published_prompts
from latentbench.data.sources.named_sets.torchvision_sets import data_root, placed


def published_sources(name: str, *, split: str | None = None, **_: object) -> Sources:
    """Return the test images of one of torchvision's data sets, with their published names and templates.

    They are downloaded if they are not there. Raises `DataError` for an unknown name, another split, files
    that can be neither read nor downloaded, and labels without a name.
    """
    if name not in PUBLISHED:
        raise DataError(f"torchvision:{name}: {unknown('torchvision data set', name, list(PUBLISHED))}")
    if split not in (None, "test"):
        raise DataError(f"torchvision:{name}: split must be 'test', got {split!r}: nothing is trained on it")
    known, root, where = PUBLISHED[name], data_root(), f"torchvision:{name}"
    _opened.cache_clear()  # files may have been placed since
    with placed(where, root / known.folder, f"the files of torchvision's {known.kind}"):
        opened = _opened_or_downloaded(name, root)
    prompts = published_prompts()[name]
    classes = prompts.classes or opened.own_names
    _check(f"{where} in {root / known.folder}", opened, classes)
    names = opened.names(root / known.folder)
    source = EncodedSource(where, names, _Rows(name, root, len(names)), opened.labels, classes)
    # Some of torchvision's classes list files in the order of the file system.
    in_order = source.take(sorted(range(len(names)), key=names.__getitem__)) if known.files else source
    return Sources(None, in_order, templates=checked_templates(prompts.templates, where))


@dataclass(frozen=True)
class _Rows:
    """The images of a set, each opened when it is used, in this process or another."""

    name: str
    root: Path
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int, /) -> OpenedByLibrary:
        return OpenedByLibrary(
            partial(_image, self.name, self.root, index), partial(_content, self.name, self.root, index)
        )


@dataclass(frozen=True, eq=False)
class _Opened:
    """torchvision's object, with its facts on all images; `files` is None if they are not files."""

    images: Any
    own_names: tuple[str, ...]
    labels: tuple[int, ...]
    files: tuple[Path, ...] | None

    @classmethod
    def of(cls, name: str, root: Path, *, download: bool) -> Self:
        """Open a set. Raises any error of torchvision's parser or download."""
        known = PUBLISHED[name]
        images = known.open(root, download=download)
        files = None if known.files is None else tuple(map(Path, known.files(images)))
        return cls(images, known.own_names(images), tuple(map(int, known.labels(images))), files)

    def names(self, folder: Path) -> tuple[str, ...]:
        """Return the name of each image: its path from the folder, or its number."""
        if self.files is None:
            return tuple(map(str, range(len(self.labels))))
        return tuple(printable(file.relative_to(folder).as_posix()) for file in self.files)


@lru_cache(maxsize=1)
def _opened(name: str, root: Path) -> _Opened:
    """Return an opened set, once per process; nothing is downloaded."""
    return _Opened.of(name, root, download=False)


def _opened_or_downloaded(name: str, root: Path) -> _Opened:
    with suppress(Exception):  # torchvision raises any error of its parser
        return _opened(name, root)
    _Opened.of(name, root, download=True)
    return _opened(name, root)


def _image(name: str, root: Path, index: int) -> Image.Image:
    image: Image.Image = _opened(name, root).images[index][0]
    return image


def _content(name: str, root: Path, index: int) -> bytes:
    """Return the bytes of an image's file; without files, its pixels."""
    files = _opened(name, root).files
    return _image(name, root, index).tobytes() if files is None else files[index].read_bytes()


def _check(where: str, opened: _Opened, classes: tuple[str, ...]) -> None:
    again = "remove the folder, so that it is downloaded again, or place a complete copy there"
    labels, own = opened.labels, len(opened.own_names)
    if not labels:
        raise DataError(f"{where}: no images; {again}")
    if not classes:
        raise DataError(f"{where}: no class names; {again}")
    if own not in (0, len(classes)):
        raise DataError(f"{where}: {own} classes, but {len(classes)} names are published; {again}")
    if not 0 <= min(labels) <= max(labels) < len(classes):
        raise DataError(
            f"{where}: labels run from {min(labels)} to {max(labels)}, but {len(classes)} classes have names "
            f"(0 to {len(classes) - 1}); {again}"
        )
