"""Images from a folder on disk, in one of four layouts.

| layout | split | labels |
| --- | --- | --- |
| `train/CLASS/…/*.png`, `test/CLASS/…/*.png` | as the folders say | the class folders |
| `train/*.png`, `test/*.png` | as the folders say | none |
| `CLASS/…/*.png` | by a hash of each file's path, about 1 in 6 to test | the class folders |
| `*.png` | by a hash of each file's name, about 1 in 6 to test | none |

`train` and `test` may be written in any case, and `val` or `validation` serves as the test split where there
is no `test`. Classes are the names of the class folders in natural order (2 before 10); a class folder is
read with the folders in it. Images come in the order of a hash of their path, so that the first thousand of a
split represent all of it and not its first class. Hidden entries are ignored; everything else that is not
read is counted in the data's notes. `image_files` says how a file is read; each image is then scaled so that
its shorter side is `size`, and cropped about its centre. Where every image is grey the data has 1 channel,
otherwise 3.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from latentbench.data.errors import DataError, printable
from latentbench.data.files import folder_at
from latentbench.data.images import ImageData
from latentbench.data.sources.decoding import decode, frames_note
from latentbench.data.sources.folder_listing import (
    class_images,
    entries,
    left_out_note,
    natural_key,
    some,
    split_folders,
)
from latentbench.data.sources.hash_split import TEST_SHARE, hash_of, in_test
from latentbench.data.sources.image_files import FORMATS
from latentbench.data.sources.image_source import FileSource

# MNIST's size, so that every recipe made for the reference run fits a folder as it is.
DEFAULT_SIZE = 28
LAYOUTS = "train/ and test/, class folders, or images"


@dataclass(frozen=True)
class _Item:
    """One image file by its path from the data's folder; `label` is its class folder's name, None without."""

    file: Path
    label: str | None


@dataclass(frozen=True, eq=False)
class FolderSources:
    """The two splits of a folder; `notes` are what a person should know of how it was read."""

    train: FileSource
    test: FileSource
    notes: tuple[str, ...]


def read_folder(path: str | Path, *, size: int = DEFAULT_SIZE, name: str | None = None) -> ImageData:
    """Read the images under `path` as `size` x `size` pixels; the module's docstring gives the layouts.

    Raises `DataError`, naming the file or folder, where one is missing, empty, mixed, unreadable or
    truncated, where a class of the test split is not in the train split, or a split has no image.
    """
    sources = folder_sources(path)
    train, test = decode(sources.train, size), decode(sources.test, size)
    channels = 1 if train.grey and test.grey else 3
    return ImageData(
        name or f"folder:{path}",
        train.split(channels),
        test.split(channels),
        sources.train.classes,
        notes=sources.notes + frames_note(train, test),
    )


def folder_sources(path: str | Path) -> FolderSources:
    """The splits of a folder as sources, without reading any image. Raises `DataError` as `read_folder`."""
    root = folder_at(path)
    left_out: Counter[str] = Counter()
    train, test, notes = _splits(root, left_out)
    classes = _classes(train, test, root)
    train_source, test_source = (_source(root, items, classes) for items in (train, test))
    return FolderSources(train_source, test_source, notes + left_out_note(left_out))


def _source(root: Path, items: list[_Item], classes: tuple[str, ...]) -> FileSource:
    """The items in the order of a hash of their paths."""
    mixed = sorted(items, key=lambda item: hash_of(item.file.as_posix()))
    index = {name: label for label, name in enumerate(classes)}
    labels = tuple(index[item.label] for item in mixed if item.label is not None)
    return FileSource(root, tuple(item.file for item in mixed), labels if classes else None, classes)


def _splits(root: Path, left_out: Counter[str]) -> tuple[list[_Item], list[_Item], tuple[str, ...]]:
    """The train and test items, as the folders `train` and `test` say or else by hash, and notes on them."""
    found = entries(root)
    given = split_folders(found.folders)
    if "train" not in given and "test" not in given:
        return *_hashed(root, left_out), ()
    train, test = given.get("train"), given.get("test", given.get("validation"))
    if train is None or test is None:
        present, missing = (test, "train") if train is None else (train, "test")
        assert present is not None
        raise DataError(
            f"{root}: has {present.name}/ but no {missing}/; add it, or move the classes up one level"
        )
    left_out += found.left_out + Counter([printable(image.suffix.lower()) for image in found.images])
    unused = [f"{folder.name}/" for folder in found.folders if folder not in (train, test)]
    notes = (f"folders that are not read beside {train.name}/ and {test.name}/: {some(unused)}",)
    return _items(train, root, left_out), _items(test, root, left_out), notes if unused else ()


def _hashed(root: Path, left_out: Counter[str]) -> tuple[list[_Item], list[_Item]]:
    items = _items(root, root, left_out)
    train: list[_Item] = []
    test: list[_Item] = []
    for item in items:
        (test if in_test(item.file.as_posix()) else train).append(item)
    if not (train and test):
        raise DataError(
            f"{root}: only {len(items)} images, too few to split by hash (about 1 in {TEST_SHARE} to test); "
            f"add images, or sort them into train/ and test/"
        )
    return train, test


def _items(folder: Path, root: Path, left_out: Counter[str]) -> list[_Item]:
    """The images of one split, in order: those of the class folders, or those right in `folder`."""
    found = entries(folder)
    left_out += found.left_out
    if found.images and found.folders:
        raise DataError(
            f"{folder}: holds images ({found.images[0].name}) beside folders ({found.folders[0].name}/); "
            f"put every image in a class folder, or none"
        )
    if not found.images and not found.folders:
        raise DataError(f"{folder}: no images; put {LAYOUTS} there (suffixes read: {', '.join(FORMATS)})")
    if found.images:
        return [_Item(file.relative_to(root), None) for file in found.images]
    items: list[_Item] = []
    for class_folder in found.folders:
        images, others = class_images(class_folder, root)
        left_out += others
        items += [_Item(image.relative_to(root), printable(class_folder.name)) for image in images]
    return items


def _classes(train: list[_Item], test: list[_Item], root: Path) -> tuple[str, ...]:
    """The class names, after checking that every class of the test split is in the train split."""
    learned = {item.label for item in train}
    strays = [item for item in test if item.label not in learned]
    if strays:
        label = strays[0].label or "images without a class"
        raise DataError(
            f"{root / strays[0].file}: class {label!r} is in the test split but not in the train split; "
            f"rename it, or add train images (train has: {_listed(learned)})"
        )
    return _ordered(label for label in learned if label is not None)


def _ordered(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=natural_key))


def _listed(labels: set[str | None]) -> str:
    return some(_ordered(label or "images without a class" for label in labels))
