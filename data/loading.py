"""Data by name: `load("mnist")`, `load("digits?size=28")`, `load("folder:photos?size=64&channels=3")`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

# Imported for what they register.
from latentbench.data.captioned import draw  # noqa: F401
from latentbench.data.errors import DataError
from latentbench.data.files import folder_at
from latentbench.data.images import ImageData
from latentbench.data.registry import unknown
from latentbench.data.resizing import check_size, resized
from latentbench.data.sources.image_folder import DEFAULT_SIZE, read_folder
from latentbench.data.sources.named_sets import digits, fashion_mnist, mnist, torchvision_sets  # noqa: F401
from latentbench.data.sources.named_sets.catalogue import DATASETS, Dataset, dataset
from latentbench.data.sources.zero_shot_folder import DEFAULT_SIZE as PROMPTED_SIZE
from latentbench.data.sources.zero_shot_folder import is_prompted, read_prompted

__all__ = ["DATASETS", "DataRequest", "Dataset", "dataset", "load", "parse"]

FOLDER = "folder:"
OPTIONS = "?size=PIXELS, ?channels=1, ?channels=3, or both with & between them"


@dataclass(frozen=True)
class DataRequest:
    """What a data string asks for: a registered `name` or a `folder`, and the form of the images."""

    name: str
    folder: str | None = None
    size: int | None = None
    channels: int | None = None


def load(
    name: str, *, size: int | None = None, channels: int | None = None, relative_to: Path = Path()
) -> ImageData:
    """Load a data set: a registered name (see `DATASETS`) or `folder:PATH`.

    `size` asks for images of `size` x `size` pixels, 8 to 1024, and `channels` for 1 or 3 channels; a suffix
    such as `?size=32&channels=3` on the name says the same where there is only one string. A folder's images
    are scaled and cropped to 28 pixels unless told otherwise (see `data.sources.image_folder` for layouts),
    to 224 where it names its classes in `classes.txt` (see `data.sources.zero_shot_folder`); a named data set
    keeps its own size. A relative PATH is looked up from `relative_to`.

    Raises `LatentbenchError` for an unknown name, and `DataError` for a size out of range or data
    that is missing, damaged or mislabelled.
    """
    request = parse(name)
    for option, value in (("size", size), ("channels", channels)):
        given = getattr(request, option)
        if value is not None and given not in (None, value):
            raise DataError(f"{name}: {option} given twice, as {given} and as {value}; give one")
    if size is not None:
        check_size(size, where=name)
    request = replace(request, size=size or request.size, channels=channels or request.channels)
    data = _read(request, relative_to)
    if request.channels is None:
        return data
    mark = "&" if "?size=" in data.name else "?"
    named = replace(data, name=f"{data.name}{mark}channels={request.channels}")
    return named.with_channels(request.channels)


def _read(request: DataRequest, relative_to: Path) -> ImageData:
    if request.folder is None:
        data = DATASETS[request.name].read()
        return data if request.size is None else resized(data, request.size)
    folder = folder_at(request.folder, relative_to=relative_to)
    read, usual = (read_prompted, PROMPTED_SIZE) if is_prompted(folder) else (read_folder, DEFAULT_SIZE)
    pixels = request.size or usual
    return read(folder, size=pixels, name=f"{FOLDER}{request.folder}?size={pixels}")


def parse(name: str) -> DataRequest:
    """Read a data string without touching any data; raises for what `load` would not understand.

    >>> parse("digits?size=28")
    DataRequest(name='digits', folder=None, size=28, channels=None)
    """
    base, options = _split_options(name)
    if base.startswith(FOLDER):
        folder = base.removeprefix(FOLDER)
        if not folder:
            raise DataError(f"{name!r}: no path after {FOLDER!r}; write {FOLDER}PATH")
        return DataRequest(FOLDER.rstrip(":"), folder, **options)
    if base not in DATASETS:
        raise unknown(DATASETS.kind, base, [*DATASETS, f"{FOLDER}PATH"])
    return DataRequest(base, None, **options)


def _split_options(name: str) -> tuple[str, dict[str, int]]:
    """Take `?size=N&channels=N` off the end; a question mark without `=` after it belongs to a path."""
    base, mark, text = name.rpartition("?")
    if not mark or "=" not in text:
        return name, {}
    options: dict[str, int] = {}
    for option in text.split("&"):
        key, _, value = option.partition("=")
        if key not in ("size", "channels") or not (value.isascii() and value.isdecimal()) or len(value) > 6:
            raise DataError(f"{name}: option {option!r} is not understood; allowed: {OPTIONS}")
        if key in options:
            raise DataError(f"{name}: option {key!r} is given twice")
        options[key] = int(value)
    if "size" in options:
        check_size(options["size"], where=name)
    if options.get("channels", 1) not in (1, 3):
        raise DataError(f"{name}: channels must be 1 or 3, got {options['channels']}")
    return base, options
