"""Images from a folder on disk, in one of four layouts.

| layout | split | labels |
| --- | --- | --- |
| `train/CLASS/…/*.png`, `test/CLASS/…/*.png` | as the folders say | the class folders |
| `train/*.png`, `test/*.png` | as the folders say | none |
| `CLASS/…/*.png` | by a hash of each file's path, about 1 in 6 to test | the class folders |
| `*.png` | by a hash of each file's name, about 1 in 6 to test | none |

`split: all` makes every image of a folder that is split by the hash a test image. `train` and `test` may be
written in any case, and `val` or `validation` serves as the test split where there
is no `test`; without `train` the images can be measured and nothing can be trained on them. Classes are the
names of the class folders in natural order (2 before 10); a class folder is read with the folders in it.
Images come in the order of a hash of their path, so that the first thousand of a split represent all of it
and not its first class. Hidden entries are ignored; everything else that is not read is counted in the
data's notes. `image_files` says how a file is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from latentbench.data.errors import DataError, printable, some
from latentbench.data.reading.hash_split import mixed, split_by_hash
from latentbench.data.reading.image_files import FORMATS
from latentbench.data.reading.image_source import EncodedSource, Sources
from latentbench.data.registry import unknown
from latentbench.data.sources.folder_listing import (
    LeftOut,
    canonical,
    class_images,
    entries,
    left_out_note,
    natural_key,
    requested,
    split_folders,
)

ALL = "all"
"""The split that holds every image of data that come as one."""
LAYOUTS = "train/ and test/, class folders, or images"


@dataclass(frozen=True)
class _Item:
    """One image file by its path from the data's folder; `label` is its class folder's name, None without."""

    file: Path
    label: str | None


def folder_sources(root: Path, *, split: str | None = None) -> Sources:
    """Return the splits of a folder, reading no image; `split` names the only one that is measured.

    Raises `DataError`, naming the file or folder, if one is missing, empty or mixed, if a class of the
    test split is not in the train split, or a split has no image.
    """
    left_out: LeftOut = {}
    found = entries(root)
    given = split_folders(found.folders)
    if not {"train", "test"} & given.keys() and not (split and given):
        whole = _source(root, _items(root, root, left_out))
        return hashed_sources(whole, split, left_out_note(left_out, root))
    train, test = _chosen(root, given, split)
    left_out |= found.left_out | {image: printable(image.suffix.lower()) for image in found.images}
    test_items = _items(test, root, left_out)
    read = f"{test.name}/" if train is None else f"{train.name}/ and {test.name}/"
    unused = [f"{folder.name}/" for folder in found.folders if folder not in (train, test)]
    beside = (f"folders that are not read next to {read}: {some(unused)}",) if unused else ()
    if train is None:
        return Sources(None, mixed(_source(root, test_items)), notes=beside + left_out_note(left_out, root))
    train_items = _items(train, root, left_out)
    _check_classes(train_items, test_items, root)
    train_source = _source(root, train_items)
    test_source = _source(root, test_items, train_source.classes)
    return Sources(mixed(train_source), mixed(test_source), notes=beside + left_out_note(left_out, root))


def hashed_sources(whole: EncodedSource, split: str | None, notes: tuple[str, ...]) -> Sources:
    """Return the splits, by hash, of images that come as one; `split` names the only one that is measured.

    Of `all` every image is measured. Raises `DataError` for another split.
    """
    name = None if split is None else canonical(split)
    if name not in (None, "train", "test", ALL):
        raise DataError(f"{whole.where}: {unknown('split', str(split), ['train', 'test', ALL])}")
    if name == ALL:
        return Sources(None, mixed(whole), notes=notes)
    train, test = split_by_hash(whole)
    if name is None:
        _check_learned(train, test)
        return Sources(train, test, notes=notes)
    return Sources(None, train if name == "train" else test, notes=notes)


def _chosen(root: Path, given: dict[str, Path], split: str | None) -> tuple[Path | None, Path]:
    """Return the train folder, None if only one split is requested or exists, and the test folder."""
    if split is not None:
        return None, requested(split, given, str(root))
    train, test = given.get("train"), given.get("test", given.get("validation"))
    if test is None:
        raise DataError(
            f"{root}: has {given['train'].name}/ but no test/; add it, or move the classes up one level"
        )
    return train, test


def _source(root: Path, items: list[_Item], classes: tuple[str, ...] | None = None) -> EncodedSource:
    if classes is None:
        classes = _ordered({item.label for item in items if item.label is not None})
    index = {name: label for label, name in enumerate(classes)}
    return EncodedSource(
        where=str(root),
        names=tuple(printable(item.file.as_posix()) for item in items),
        stored=tuple(root / item.file for item in items),
        labels=tuple(index[item.label] for item in items if item.label is not None) if classes else None,
        classes=classes,
    )


def _items(folder: Path, root: Path, left_out: LeftOut) -> list[_Item]:
    """Return the images of one split, in order: those of the class folders, or those directly in `folder`."""
    found = entries(folder)
    left_out |= found.left_out
    if found.images and found.folders:
        raise DataError(
            f"{folder}: holds images ({found.images[0].name}) next to folders ({found.folders[0].name}/); "
            f"put every image in a class folder, or none"
        )
    if not found.images and not found.folders:
        raise DataError(f"{folder}: no images; put {LAYOUTS} there (suffixes read: {', '.join(FORMATS)})")
    if found.images:
        return [_Item(file.relative_to(root), None) for file in found.images]
    items: list[_Item] = []
    for class_folder in found.folders:
        images, others = class_images(class_folder, root)
        left_out |= others
        items += [_Item(image.relative_to(root), printable(class_folder.name)) for image in images]
    return items


def _check_classes(train: list[_Item], test: list[_Item], root: Path) -> None:
    """Raise `DataError` for a class of the test split that is not in the train split."""
    learned = {item.label for item in train}
    strays = [item for item in test if item.label not in learned]
    if strays:
        _refuse_stray(str(root / strays[0].file), strays[0].label, learned)


def _check_learned(train: EncodedSource, test: EncodedSource) -> None:
    """Raise `DataError` for a class that the hash has left without train images."""
    if train.labels is None or test.labels is None:
        return
    learned = set(train.labels)
    for name, label in zip(test.names, test.labels, strict=True):
        if label not in learned:
            _refuse_stray(
                f"{test.where}/{name}", test.classes[label], {train.classes[each] for each in learned}
            )


def _refuse_stray(where: str, label: str | None, learned: Iterable[str | None]) -> None:
    names = _ordered(name or "images without a class" for name in learned)
    raise DataError(
        f"{where}: class {label or 'images without a class'!r} is in the test split but not in the train "
        f"split; rename it, or add train images (train has: {some(names)})"
    )


def _ordered(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=natural_key))
