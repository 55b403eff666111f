"""Images to be recognised by their names: class folders, with a file of class names and one of templates.

| file | content |
| --- | --- |
| `classes.txt` | one name per line, for the class folders in natural order; or lines `FOLDER: NAME` |
| `templates.txt` | one template per line, with `{}` (or `{c}`) where the name goes; may be missing |

A folder that holds `classes.txt` is read this way. Nothing is trained on it, so every image is a test image;
where the class folders lie in `test/` (or `val/`) beside `train/`, those of `test/` are read. `image_files`
says how a file is read; images then go through the steps of open_clip's own preprocessing, up to the pixels:
the shorter side is scaled to `size`, bicubic, and the middle cut out. A file that cannot be read is kept as
an image that no model recognises, and is named, so that n is the number of files.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch

from latentbench.data.errors import DataError
from latentbench.data.files import folder_at
from latentbench.data.images import ImageData
from latentbench.data.sources.class_names import (
    CLASSES,
    DEFAULT_TEMPLATES,
    TEMPLATES,
    read_class_names,
    read_templates,
)
from latentbench.data.sources.decoding import decode, frames_note
from latentbench.data.sources.folder_listing import (
    Entries,
    class_images,
    entries,
    left_out_note,
    some,
    split_folders,
)
from latentbench.data.sources.image_source import FileSource

DEFAULT_SIZE = 224


@dataclass(frozen=True, eq=False)
class PromptedImageData(ImageData):
    """Images with the names of their classes and templates for them; `train` is `test`.

    `unreadable` are the files, by their path from the folder, that could not be read, and `readable` bool
    `[N]` says which test images could: the others are black. Several classes may have the same name.
    """

    names_may_repeat: ClassVar[bool] = True

    templates: tuple[str, ...]
    readable: torch.Tensor
    unreadable: tuple[str, ...]

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of the images, the classes, the templates, and what was unreadable."""
        content = "\0".join([super().fingerprint, *self.templates, "", *self.unreadable])
        return hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class PromptedSource:
    """A zero-shot folder as a source; `notes` are what a person should know of how it was read."""

    images: FileSource
    templates: tuple[str, ...]
    notes: tuple[str, ...]


def is_prompted(folder: Path) -> bool:
    """Whether a folder holds a file with the names of its classes."""
    return (folder / CLASSES).is_file()


def read_prompted(
    path: str | Path, *, size: int = DEFAULT_SIZE, name: str | None = None
) -> PromptedImageData:
    """Read the class folders under `path` as `size` x `size` RGB pixels.

    Raises `DataError` for an empty or ambiguous list of classes, a template without a place for the name,
    and a folder without images that can be read.
    """
    source = prompted_source(path)
    decoded = decode(source.images, size, keep_unreadable=True)
    total = len(source.images)
    if len(decoded.unreadable) == total:
        raise DataError(f"{path}: no image in its class folders can be read ({total} files tried)")
    readable = torch.ones(total, dtype=torch.bool)
    readable[list(decoded.unreadable)] = False
    unreadable = tuple(source.images.names[index] for index in decoded.unreadable)
    split = decoded.split(3)
    return PromptedImageData(
        name or f"folder:{path}",
        split,
        split,
        source.images.classes,
        source.templates,
        readable,
        unreadable,
        notes=source.notes + frames_note(decoded) + _unreadable_note(unreadable, total),
    )


def prompted_source(path: str | Path) -> PromptedSource:
    """A zero-shot folder as a source, without reading any image. Raises `DataError` as `read_prompted`."""
    root = folder_at(path)
    found, notes = _class_folders(root)
    named = read_class_names(root / CLASSES, [folder.name for folder in found.folders])
    left_out = found.left_out + Counter(image.suffix.lower() for image in found.images)
    files: list[Path] = []
    labels: list[int] = []
    for label, folder in enumerate(found.folders):
        images, others = class_images(folder, root)
        left_out += others
        files += [image.relative_to(root) for image in images]
        labels += [label] * len(images)
    return PromptedSource(
        FileSource(root, tuple(files), tuple(labels), named.names),
        read_templates(root / TEMPLATES),
        named.notes + notes + left_out_note(left_out),
    )


def templates_of(data: ImageData) -> tuple[str, ...]:
    """The templates that came with the data, or “a photo of a {}.”."""
    return data.templates if isinstance(data, PromptedImageData) else DEFAULT_TEMPLATES


def _class_folders(root: Path) -> tuple[Entries, tuple[str, ...]]:
    """The folder that holds the class folders: `root`, or its `test` folder; and notes on the others."""
    found = entries(root)
    own = Counter(Path(file).suffix for file in (CLASSES, TEMPLATES) if (root / file).is_file())
    found = Entries(found.folders, found.images, found.left_out - own)
    splits = split_folders(found.folders)
    test = splits.get("test", splits.get("validation"))
    if test is None or len(splits) < len(found.folders):
        return found, ()
    unused = [f"{folder.name}/" for folder in found.folders if folder != test]
    note = f"the images of {test.name}/ are read" + (f", not those of {some(unused)}" if unused else "")
    inner = entries(test)
    return Entries(inner.folders, inner.images, inner.left_out + found.left_out), (note,)


def _unreadable_note(unreadable: tuple[str, ...], total: int) -> tuple[str, ...]:
    if not unreadable:
        return ()
    return (
        f"{len(unreadable)} of {total} files cannot be read as images and count as misses: "
        f"{some(unreadable)}",
    )
