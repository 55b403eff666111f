"""Data by name: `load("mnist")`, `load("folder:photos?size=64")`, `load({"wds": "a.tar", "size": 256})`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

# Imported because they register themselves.
from latentbench.data.captioned import draw  # noqa: F401
from latentbench.data.errors import DataError
from latentbench.data.images import ImageData, Split
from latentbench.data.reading.assembly import read
from latentbench.data.reading.decoding import Progress
from latentbench.data.reading.hash_split import limited
from latentbench.data.reading.image_source import ArraySource, EncodedSource, ImageSource, Sources
from latentbench.data.reading.transform import Transform
from latentbench.data.request import DataRequest, parse
from latentbench.data.resizing import resized
from latentbench.data.sources.caption_pairs import pair_sources
from latentbench.data.sources.hugging_face import hub_sources
from latentbench.data.sources.image_folder import folder_sources
from latentbench.data.sources.named_sets import digits, fashion_mnist, mnist, torchvision_sets  # noqa: F401
from latentbench.data.sources.named_sets.catalogue import DATASETS, Dataset, dataset
from latentbench.data.sources.published_set import published_sources
from latentbench.data.sources.tar_files.webdataset import tar_sources
from latentbench.data.sources.zero_shot_folder import is_prompted, prompted_sources
from latentbench.data.storage.files import folder_at

__all__ = ["DATASETS", "DataRequest", "Dataset", "dataset", "load", "open_sources", "request_for_words"]

# Their modules import each other, and the order of a list must not depend on that.
DATASETS.arrange(
    [
        *("mnist", "captioned-mnist", "captioned-fashion-mnist", "fashion-mnist"),
        *("kmnist", "emnist-letters", "cifar10", "svhn", "digits"),
    ]
)

DEFAULT_SIZE = 28
"""MNIST's size, so that every recipe of the reference run works for a folder unchanged."""
PROMPTED_SIZE = 224
"""The size of most image–text models."""


def load(
    data: str | Mapping[str, Any] | DataRequest,
    *,
    size: int | None = None,
    channels: int | None = None,
    relative_to: Path = Path(),
    mapped: bool = False,
    progress: Progress | None = None,
) -> ImageData:
    """Load a data set: a registered name (see `DATASETS`) or a place, such as `folder:PATH` or `wds:TARS`.

    Other places are `hf:NAME`, `torchvision:NAME` and `pairs:FOLDER`.

    Options come after a question mark, as in `folder:photos?size=64&channels=3`, or as keys of a mapping:
    {"folder": "photos", "size": 64}. They are `size` (8 to 1024 pixels), `channels` (1 or 3), `crop`,
    `resize`, `limit` and `split`; see `DataRequest`. `size` and `channels` may be given here as well. Images
    from files are scaled to 28 pixels by default, or to 224 if there are only test images and these come with
    class names to be recognised by, or with pairs of captions; a named data set keeps its own size. A
    relative PATH is looked up from `relative_to`.

    Pixels of more than 1 GB, or of $LATENTBENCH_IMAGE_MEMORY_GB, are kept in a file of the cache that is
    mapped into memory; with `mapped` so are any images from files. `progress` is called as they are
    decoded.

    Raises `LatentbenchError` for an unknown name or option, and `DataError` for data that are missing,
    damaged or mislabelled.
    """
    request = parse(data, list(DATASETS))
    for option, value in (("size", size), ("channels", channels)):
        given = getattr(request, option)
        if value is not None and given not in (None, value):
            raise DataError(f"{request}: {option} given twice, as {given} and as {value}; give one")
    request = request.with_options(
        size=request.size if size is None else size,
        channels=request.channels if channels is None else channels,
    )
    if request.name is not None:
        loaded = _named(request)
        name = loaded.name + ("&" if "?" in loaded.name else "?") + f"channels={request.channels}"
    else:
        sources = open_sources(request, relative_to=relative_to)
        for_words = sources.complete and sources.train is None
        pixels = request.size or (PROMPTED_SIZE if for_words else DEFAULT_SIZE)
        request = request.with_options(size=pixels)
        name = str(request)
        transform = Transform(pixels, request.crop, request.resize)
        loaded = read(sources, transform, name, mapped=mapped, progress=progress)
    if request.channels is None:
        return loaded
    return replace(loaded, name=name).with_channels(request.channels)


def open_sources(request: DataRequest, *, relative_to: Path = Path()) -> Sources:
    """Return the sources of the requested images, at their original size. Raises errors as `load` does."""
    kind, place = request.place
    if kind not in FINDERS:
        data = _named(request)
        test = ArraySource(data.test, data.classes)
        return Sources(None if data.test_only else ArraySource(data.train, data.classes), test)
    sources = FINDERS[kind](place, relative_to=relative_to, split=request.split)
    train = None if sources.train is None else _limited(sources.train, request.limit)
    return replace(sources, train=train, test=_limited(sources.test, request.limit))


def request_for_words(request: DataRequest, *, relative_to: Path = Path()) -> DataRequest:
    """Return the request for the test images alone, if they come with words; nothing is then trained.

    This is for pretrained image–text models, which scale the originals. Raises `DataError` for `size`, `crop`
    or `resize`, which then have no effect, and for labels without names.
    """
    if request.place[0] not in FINDERS:
        return request
    sources = open_sources(request, relative_to=relative_to)
    if sources.unnamed:
        raise DataError(sources.unnamed)
    if not sources.complete:
        return request
    defaults = type(request).model_fields
    scaling = ("size", "crop", "resize")
    given = [name for name in scaling if getattr(request, name) != defaults[name].default]
    if given:
        raise DataError(
            f"{request}: {' and '.join(given)} has no effect, because every model here scales the original "
            f"files itself; leave it out"
        )
    return request if sources.train is None else request.with_options(split=sources.tested)


def _in_folder(place: str, *, relative_to: Path, split: str | None) -> Sources:
    folder = folder_at(place, relative_to=relative_to)
    find = prompted_sources if is_prompted(folder) else folder_sources
    return find(folder, split=split)


FINDERS: Mapping[str, Callable[..., Sources]] = {
    "folder": _in_folder,
    "wds": tar_sources,
    "hf": hub_sources,
    "torchvision": published_sources,
    "pairs": pair_sources,
}
"""What finds the images of each kind of place, called as `find(place, relative_to=folder, split=split)`."""


def _limited(source: ImageSource, limit: int | None) -> ImageSource:
    return limited(source, limit) if isinstance(source, EncodedSource) else source


def _named(request: DataRequest) -> ImageData:
    assert request.name is not None
    data = DATASETS[request.name].read()
    if request.split is not None or request.limit is not None:
        if type(data) is not ImageData:
            raise DataError(f"{request}: limit and split have no effect on captioned data; leave them out")
        train, test = (_first(split, request.limit) for split in (data.train, data.test))
        if request.split is not None:
            train = test = train if request.split == "train" else test
        data = replace(data, train=train, test=test)
    if request.size is not None:
        data = resized(data, request.size)
    native = request.size if request.size is None or "?size=" in data.name else None
    return replace(data, name=str(request.with_options(size=native, channels=None)))


def _first(split: Split, limit: int | None) -> Split:
    return Split(split.images[:limit], None if split.labels is None else split.labels[:limit])
