"""Images to be recognised by their names: class folders, with the classes' names and prompt templates beside.

| file | what it holds |
| --- | --- |
| `classes.txt` | a name a line, for the class folders in alphabetical order; or `FOLDER: NAME` a line |
| `templates.txt` | a template a line, with `{}` (or `{c}`) where the name goes; may be missing |

A folder that holds `classes.txt` is read this way. Nothing is trained on it, so every image is a test image.
Images go through the steps that open_clip's own preprocessing takes, up to the pixels: the shorter side is
scaled to `size`, bicubic, and the middle cut out. A file that cannot be read is kept as an image that
nobody recognises, and is named, so that n is the number of files.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from latentbench.data.errors import DataError
from latentbench.data.images import ImageData, Split
from latentbench.data.sources.image_folder import SUFFIXES, UNREADABLE

CLASSES, TEMPLATES = "classes.txt", "templates.txt"
DEFAULT_SIZE = 224
NAMED = 10
"""Unreadable files that are named where people read; an array of the results has them all."""
DEFAULT_TEMPLATES = ("a photo of a {}.",)


@dataclass(frozen=True, eq=False)
class PromptedImageData(ImageData):
    """Images with the names of their classes and templates for them; `train` is `test`.

    `unreadable` are the files, by their path from the folder, that could not be read, and `readable` bool
    `[N]` says which test images could: the others are black.
    """

    templates: tuple[str, ...]
    readable: torch.Tensor
    unreadable: tuple[str, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """The files that could not be read, by name."""
        if not self.unreadable:
            return ()
        named = ", ".join(self.unreadable[:NAMED]) + (", …" if len(self.unreadable) > NAMED else "")
        return (
            f"{len(self.unreadable)} of {len(self.test)} files cannot be read as images and count as misses: "
            f"{named}",
        )

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of the images, the classes, the templates, and what was unreadable."""
        content = "\0".join([super().fingerprint, *self.templates, "", *self.unreadable])
        return hashlib.sha256(content.encode(errors="surrogateescape")).hexdigest()


def is_prompted(folder: str | Path) -> bool:
    """Whether a folder says how its classes are called."""
    return (Path(folder).expanduser() / CLASSES).is_file()


def read_prompted(
    path: str | Path, *, size: int = DEFAULT_SIZE, name: str | None = None
) -> PromptedImageData:
    """Read the class folders under `path` as `size` x `size` RGB pixels.

    Raises `DataError` for an empty or ambiguous list of classes, a template without a place for the name,
    and a folder without images that can be read.
    """
    root = Path(path).expanduser()
    folders = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    names = _class_names(root / CLASSES, [folder.name for folder in folders])
    files = [(file, label) for label, folder in enumerate(folders) for file in _images(folder)]
    pixels = [_read(file, size) for file, _ in files]
    if all(image is None for image in pixels):
        raise DataError(f"{root}: no image in its class folders can be read ({len(files)} files tried)")
    blank = np.zeros((size, size, 3), np.uint8)
    stacked = np.stack([blank if image is None else image for image in pixels])
    images = torch.from_numpy(np.ascontiguousarray(stacked.transpose(0, 3, 1, 2)))
    split = Split(images, torch.tensor([label for _, label in files]))
    return PromptedImageData(
        name or f"folder:{path}",
        split,
        split,
        names,
        _templates(root / TEMPLATES),
        torch.tensor([image is not None for image in pixels]),
        tuple(
            file.relative_to(root).as_posix()
            for (file, _), image in zip(files, pixels, strict=True)
            if image is None
        ),
    )


def checked_templates(templates: list[str], where: str) -> tuple[str, ...]:
    """Templates with `{}` for the name. Raises `DataError` for one without, and for none at all."""
    if not templates:
        raise DataError(f"{where}: no templates; write one a line, with {{}} where the class's name goes")
    for number, template in enumerate(templates, 1):
        if len(re.findall(r"\{c?\}", template)) != 1 or re.search(r"[{}]", re.sub(r"\{c?\}", "", template)):
            raise DataError(
                f"{where}, line {number}: {template!r} needs exactly one {{}} (or {{c}}), where the class's "
                f"name goes"
            )
    return tuple(template.replace("{c}", "{}") for template in templates)


def _class_names(path: Path, folders: list[str]) -> tuple[str, ...]:
    """The name of each class folder, in their order."""
    lines = _lines(path)
    if not lines:
        raise DataError(f"{path}: no classes; write a name a line, for the class folders in order")
    if not folders:
        raise DataError(
            f"{path.parent}: no class folders beside {CLASSES}; put the images of each class in one"
        )
    pairs = [line.partition(":") for line in lines]
    if all(colon and folder.strip() in folders for folder, colon, _ in pairs):
        named = [(folder.strip(), name.strip()) for folder, _, name in pairs]
    elif len(lines) == len(folders):
        named = list(zip(folders, lines, strict=True))
    else:
        raise DataError(
            f"{path}: {len(lines)} names for {len(folders)} class folders ({', '.join(folders[:3])}, …); "
            f"give one a folder, in alphabetical order, or lines such as {folders[0]}: NAME"
        )
    for what, values in (("folder", [f for f, _ in named]), ("name", [name for _, name in named])):
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise DataError(f"{path}: the {what} {twice[0]!r} is there twice; every class needs its own")
    by_folder = dict(named)
    if missing := [folder for folder in folders if not by_folder.get(folder)]:
        raise DataError(f"{path}: no name for the class folder {missing[0]!r}")
    return tuple(by_folder[folder] for folder in folders)


def _templates(path: Path) -> tuple[str, ...]:
    return checked_templates(_lines(path), str(path)) if path.is_file() else DEFAULT_TEMPLATES


def _lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def _images(folder: Path) -> list[Path]:
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES and not f.name.startswith("."))
    if not files:
        raise DataError(f"{folder}: class folder without images; add some or remove the folder")
    return files


def _read(file: Path, size: int) -> NDArray[np.uint8] | None:
    """RGB `[size, size, 3]`; None for a file that is no image."""
    # torchvision takes seconds to import.
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.functional import center_crop, resize

    try:
        with Image.open(file) as opened:
            picture = resize(opened.convert("RGB"), size, InterpolationMode.BICUBIC)
            return np.asarray(center_crop(picture, [size, size]))
    except UNREADABLE:
        return None


def templates_of(data: ImageData) -> tuple[str, ...]:
    """The templates that came with the data, or “a photo of a {}.”."""
    return data.templates if isinstance(data, PromptedImageData) else DEFAULT_TEMPLATES


def prompts_of(names: tuple[str, ...], templates: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Every class's name in every template: a tuple of texts for each template.

    Raises `DataError` for an empty or a repeated name, for none at all, and for a template without `{}`.

    >>> prompts_of(("cat", "dog"), ("a {}.",))
    (('a cat.', 'a dog.'),)
    """
    if not names:
        raise DataError("no classes: give the name of each")
    for name in names:
        if not name.strip():
            raise DataError(f"a class has no name; the names are {names}")
        if names.count(name) > 1:
            raise DataError(f"the class {name!r} is there twice; every class needs a name of its own")
    return tuple(
        tuple(template.replace("{}", name) for name in names)
        for template in checked_templates(list(templates), "templates")
    )
