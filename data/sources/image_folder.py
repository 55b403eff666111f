"""Images from a folder on disk, in one of four layouts.

| layout | split | labels |
| --- | --- | --- |
| `train/CLASS/*.png`, `test/CLASS/*.png` | as the folders say | the class folders |
| `train/*.png`, `test/*.png` | as the folders say | none |
| `CLASS/*.png` | by a hash of each file's path, about 1 in 6 to test | the class folders |
| `*.png` | by a hash of each file's name, about 1 in 6 to test | none |

Classes are the names of the class folders in alphabetical order. Images come in the order of a hash of
their path, so that the first thousand of a split stand for all of it and not for its first class.
Hidden entries, files that are not images by their suffix, and sub-folders that stand beside `train` and
`test` are not read. Each image is turned upright by its EXIF tag, has transparency laid over white, is
scaled so that its shorter side is `size`, and cropped about its centre. Where every image is grey the
data has 1 channel, otherwise 3.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from latentbench.data.errors import DataError
from latentbench.data.images import ImageData, Split
from latentbench.data.sources.hash_split import TEST_SHARE, hash_of, in_test

# MNIST's size, so that every recipe made for the reference run fits a folder as it is.
DEFAULT_SIZE = 28
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
LAYOUTS = "train/ and test/, class folders, or images"
# What Pillow raises for files that are not what they claim to be.
UNREADABLE = (OSError, EOFError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)


@dataclass(frozen=True)
class _Item:
    """One image file; `label` is the name of its class folder, None in a layout without classes."""

    file: Path
    label: str | None


def read_folder(path: str | Path, *, size: int = DEFAULT_SIZE, name: str | None = None) -> ImageData:
    """Read the images under `path` as `size` x `size` pixels; the module's docstring gives the layouts.

    Raises `DataError`, naming the file or folder, where one is missing, empty, mixed, unreadable or
    truncated, where a class of the test split is not in the train split, or a split has no image.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        found = "is not a folder" if root.exists() else "does not exist"
        raise DataError(f"{root}: {found}; give a folder that holds {LAYOUTS}")
    train, test = (_mixed(items, root) for items in _split_items(root))
    classes = _classes(train, test)
    train_pixels, test_pixels = _pixels(train, size), _pixels(test, size)
    channels = 1 if _is_grey(train_pixels) and _is_grey(test_pixels) else 3
    return ImageData(
        name or f"folder:{path}",
        Split(_tensor(train_pixels, channels), _labels(train, classes)),
        Split(_tensor(test_pixels, channels), _labels(test, classes)),
        classes,
    )


def _split_items(root: Path) -> tuple[list[_Item], list[_Item]]:
    """The train and test files: as the folders `train` and `test` say, else by hash."""
    given = {role: root / role for role in ("train", "test") if (root / role).is_dir()}
    if len(given) == 2:
        return _items(given["train"]), _items(given["test"])
    if given:
        (present,) = given
        missing = "test" if present == "train" else "train"
        raise DataError(f"{root}: has {present}/ but no {missing}/; add it, or move the classes up one level")
    items = _items(root)
    train: list[_Item] = []
    test: list[_Item] = []
    for item in items:
        (test if in_test(item.file.relative_to(root).as_posix()) else train).append(item)
    if not (train and test):
        raise DataError(
            f"{root}: only {len(items)} images, too few to split by hash (about 1 in {TEST_SHARE} to test); "
            f"add images, or sort them into train/ and test/"
        )
    return train, test


def _mixed(items: list[_Item], root: Path) -> list[_Item]:
    return sorted(items, key=lambda item: hash_of(item.file.relative_to(root).as_posix()))


def _items(folder: Path) -> list[_Item]:
    """The images of one split, in order: those of the class folders, or those right in `folder`."""
    class_folders, flat = _listing(folder)
    if flat and class_folders:
        raise DataError(
            f"{folder}: holds images ({flat[0].name}) beside folders ({class_folders[0].name}/); "
            f"put every image in a class folder, or none"
        )
    if not flat and not class_folders:
        raise DataError(f"{folder}: no images; put {LAYOUTS} there (suffixes read: {', '.join(SUFFIXES)})")
    if flat:
        return [_Item(file, None) for file in flat]
    return [item for class_folder in class_folders for item in _class_items(class_folder)]


def _class_items(class_folder: Path) -> list[_Item]:
    deeper, files = _listing(class_folder)
    if deeper:
        raise DataError(f"{deeper[0]}: a folder inside the class folder; move its images up one level")
    if not files:
        raise DataError(f"{class_folder}: class folder without images; add some or remove the folder")
    return [_Item(file, class_folder.name) for file in files]


def _listing(folder: Path) -> tuple[list[Path], list[Path]]:
    """Sub-folders and image files, each in order of name, without hidden entries."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}; check its permissions") from error
    folders = [entry for entry in entries if entry.is_dir()]
    return folders, [entry for entry in entries if entry.is_file() and entry.suffix.lower() in SUFFIXES]


def _classes(train: list[_Item], test: list[_Item]) -> tuple[str, ...]:
    """The class names, after checking that nothing is tested that was never there to be learned."""
    learned = {item.label for item in train}
    strays = [item for item in test if item.label not in learned]
    if strays:
        label = strays[0].label or "images without a class"
        raise DataError(
            f"{strays[0].file}: class {label!r} is in the test split but not in the train split; "
            f"rename it, or add train images (train has: {', '.join(sorted(map(str, learned)))})"
        )
    return tuple(sorted(label for label in learned if label is not None))


def _pixels(items: list[_Item], size: int) -> NDArray[np.uint8]:
    """uint8 `[N, size, size, 3]`."""
    return np.stack([_read_image(item.file, size) for item in items])


def _read_image(file: Path, size: int) -> NDArray[np.uint8]:
    try:
        with Image.open(file) as opened:
            picture = ImageOps.exif_transpose(opened)
            return np.asarray(ImageOps.fit(_as_rgb(picture), (size, size), Image.Resampling.BICUBIC))
    except UNREADABLE as error:
        raise DataError(f"{file}: cannot be read as an image ({error}); replace or remove it") from error


def _as_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16"):  # Pillow would clip 16 bits to 255 instead of scaling
        return Image.fromarray((np.asarray(picture) // 257).astype(np.uint8)).convert("RGB")
    if picture.mode in ("I", "F"):
        raise ValueError(f"pixel mode {picture.mode} has no fixed range; save it with 8 or 16 bits")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _is_grey(pixels: NDArray[np.uint8]) -> bool:
    red, green, blue = np.moveaxis(pixels, -1, 0)
    return bool((red == green).all() and (green == blue).all())


def _tensor(pixels: NDArray[np.uint8], channels: int) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels[..., :channels].transpose(0, 3, 1, 2)))


def _labels(items: list[_Item], classes: tuple[str, ...]) -> Tensor | None:
    if not classes:
        return None
    index = {name: label for label, name in enumerate(classes)}
    return torch.tensor([index[item.label] for item in items if item.label is not None])
