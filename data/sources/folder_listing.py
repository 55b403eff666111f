"""Lists the image files of a folder, with their classes and splits, and the entries that are left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from latentbench.data.errors import NAMED, DataError, counted, printable, some
from latentbench.data.reading.image_files import is_image_file
from latentbench.data.registry import unknown

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
}
"""Names of folders that contain a split, in any case, and their split."""


LeftOut = dict[PurePath, str]
"""The entries that are not read, with their kinds, such as `.txt`."""


@dataclass(frozen=True)
class Entries:
    """The entries of one folder without hidden ones: sub-folders, image files, and the rest."""

    folders: tuple[Path, ...]
    images: tuple[Path, ...]
    left_out: LeftOut


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Return a key that sorts names naturally: numbers in them by their value, so that 2 comes before 10.

    >>> sorted(["10", "2", "1b", "1a"], key=natural_key)
    ['1a', '1b', '2', '10']
    """
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name


def entries(folder: Path) -> Entries:
    """List one folder, folders in natural order. Raises `DataError` if it cannot be listed."""
    try:
        found = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}; check its permissions") from error
    folders = sorted((entry for entry in found if entry.is_dir()), key=lambda entry: natural_key(entry.name))
    files = [entry for entry in found if not entry.is_dir()]
    images = tuple(file for file in files if is_image_file(file) and file.is_file())
    kept = set(images)
    return Entries(tuple(folders), images, {file: _kind(file) for file in files if file not in kept})


def class_images(folder: Path, root: Path) -> tuple[list[Path], LeftOut]:
    """Return every image file below a class folder, in order of path, and what is left out.

    Folders that are links are not entered below the class folder, so that none is read for ever. Raises
    `DataError` for a class folder without images, and for one that is a link to a folder above it.
    """
    if root.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{folder}: a link to a folder that holds it; remove it")
    images: list[Path] = []
    left_out: LeftOut = {}
    waiting = [folder]
    while waiting:
        found = entries(waiting.pop())
        images += found.images
        links = [inner for inner in found.folders if inner.is_symlink()]
        left_out |= found.left_out | dict.fromkeys(links, "links to folders")
        waiting += [inner for inner in found.folders if inner not in links]
    if not images:
        raise DataError(
            f"{folder}: class folder without images; add some or remove the folder"
            + "".join(f" ({note})" for note in left_out_note(left_out, root))
        )
    return sorted(images), left_out


def split_folders(folders: Iterable[Path]) -> dict[str, Path]:
    """Find the folders that contain a split, by the split: train, test, validation.

    Raises `DataError` if two contain the same one.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        split = SPLIT_NAMES.get(folder.name.lower())
        if split in found:
            raise DataError(
                f"{folder}: contains the {split} split, and so does {found[split].name}/; keep one"
            )
        if split is not None:
            found[split] = folder
    return found


def canonical(split: str) -> str:
    """Return the usual name of a split that is called by another one, such as `Val`.

    >>> canonical("Val")
    'validation'
    """
    return SPLIT_NAMES.get(split.lower(), split)


def requested(split: str, parts: Mapping[str, Path], where: str) -> Path:
    """Return the part of a split, by its usual name. Raises `DataError` if there is no such part."""
    name = canonical(split)
    if name not in parts:
        raise DataError(f"{where}: {unknown('split', split, sorted(parts))}")
    return parts[name]


def left_out_note(left_out: LeftOut, root: Path = Path()) -> tuple[str, ...]:
    """Return a line that counts the entries left out by kind, and names the first; none if there are none.

    >>> left_out_note({PurePath("a/x.txt"): ".txt", PurePath("b.heic"): ".heic", PurePath("c.heic"): ".heic"})
    ('3 entries that are not read: 2 .heic, 1 .txt (a/x.txt, b.heic, c.heic)',)
    """
    if not left_out:
        return ()
    by_kind = Counter(left_out.values())
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in by_kind.most_common(NAMED))
    more = ", …" if len(by_kind) > NAMED else ""
    names = some(sorted(path.relative_to(root).as_posix() for path in left_out))
    entries = counted(len(left_out), "entry that is", "entries that are")
    return (f"{entries} not read: {kinds}{more} ({names})",)


def _kind(file: Path) -> str:
    if not file.is_file():
        return "dangling links" if file.is_symlink() else "special files"
    return printable(file.suffix.lower()) or "without a suffix"
