"""Data by name: `load("mnist")`, `load("digits?size=28")`, `load("folder:/path?size=32")`."""

from __future__ import annotations

from dataclasses import dataclass

# Imported for what they register.
from latentbench.data.captioned import draw  # noqa: F401
from latentbench.data.catalogue import DATASETS, Dataset, dataset
from latentbench.data.errors import DataError
from latentbench.data.images import ImageData
from latentbench.data.registry import unknown
from latentbench.data.resizing import check_size, resized
from latentbench.data.sources import digits, fashion_mnist, mnist, torchvision_sets  # noqa: F401
from latentbench.data.sources.image_folder import DEFAULT_SIZE, read_folder
from latentbench.data.sources.zero_shot_folder import DEFAULT_SIZE as PROMPTED_SIZE
from latentbench.data.sources.zero_shot_folder import is_prompted, read_prompted

__all__ = ["DATASETS", "Dataset", "Source", "dataset", "load", "parse"]

FOLDER = "folder:"


@dataclass(frozen=True)
class Source:
    """What a data string asks for: a registered `name` or a `folder`, and perhaps a `size` in pixels."""

    name: str
    folder: str | None
    size: int | None


def load(name: str, *, size: int | None = None) -> ImageData:
    """Load a data set: a registered name (see `DATASETS`) or `folder:PATH`.

    `size` asks for images of `size` x `size` pixels, 8 to 256; a suffix `?size=32` on the name says
    the same where there is only one string. A folder's images are scaled and cropped to 28 pixels
    unless told otherwise (see `data.sources.image_folder` for layouts), to 224 where it names its
    classes in `classes.txt` (see `data.sources.zero_shot_folder`); a named data set keeps its own size.

    Raises `LatentbenchError` for an unknown name, and `DataError` for a size out of range or data
    that is missing, damaged or mislabelled.
    """
    source = parse(name)
    if size is not None:
        if source.size not in (None, size):
            raise DataError(f"{name}: size given twice, as {source.size} and as {size}; give one")
        check_size(size, where=name)
        source = Source(source.name, source.folder, size)
    if source.folder is not None and is_prompted(source.folder):
        pixels = source.size or PROMPTED_SIZE
        return read_prompted(source.folder, size=pixels, name=f"{FOLDER}{source.folder}?size={pixels}")
    if source.folder is not None:
        pixels = source.size or DEFAULT_SIZE
        return read_folder(source.folder, size=pixels, name=f"{FOLDER}{source.folder}?size={pixels}")
    data = DATASETS[source.name].read()
    return data if source.size is None else resized(data, source.size)


def parse(name: str) -> Source:
    """Read a data string without touching any data; raises for what `load` would not understand.

    >>> parse("digits?size=28")
    Source(name='digits', folder=None, size=28)
    """
    base, size = _split_size(name)
    if base.startswith(FOLDER):
        folder = base.removeprefix(FOLDER)
        if not folder:
            raise DataError(f"{name!r}: no path after {FOLDER!r}; write {FOLDER}PATH")
        return Source(FOLDER.rstrip(":"), folder, size)
    if base not in DATASETS:
        raise unknown(DATASETS.kind, base, [*DATASETS, f"{FOLDER}PATH"])
    return Source(base, None, size)


def _split_size(name: str) -> tuple[str, int | None]:
    """Take `?size=N` off the end; a question mark without `=` after it belongs to a path."""
    base, mark, option = name.rpartition("?")
    if not mark or "=" not in option:
        return name, None
    key, _, value = option.partition("=")
    if key != "size" or not value.isdecimal():
        raise DataError(f"{name}: option {option!r} is not understood; allowed: ?size=PIXELS")
    check_size(int(value), where=name)
    return base, int(value)
