"""Names of data sets for other tools, which know `food101` and not `torchvision:food101?size=224`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath

from latentbench.analysis.definitions import definitions
from latentbench.data.errors import LatentbenchError
from latentbench.data.request import DataRequest, parse

CHOSEN = ("limit", "split")
"""The options that decide which images there are; the others decide their pixels."""


def plain_names(names: Iterable[str]) -> Mapping[str, str]:
    """Return a plain name for each name of a data set in a record; all are different.

    The last part of a place is its name, as CLIP_benchmark calls its tar files and torchvision's data sets.
    Where several have the same, each keeps its whole place, or else the whole name that the record has.

    >>> dict(plain_names(["torchvision:food101?size=224", "wds:tars/vtab-pets?size=224&limit=9"]))
    {'torchvision:food101?size=224': 'food101', 'wds:tars/vtab-pets?size=224&limit=9': 'vtab-pets limit=9'}
    """
    every = list(dict.fromkeys(names))
    short, long = ([_plain(name, shown) for name in every] for shown in (_last_part, _place))
    return {
        name: a if short.count(a) == 1 else b if long.count(b) == 1 else name
        for name, a, b in zip(every, short, long, strict=True)
    }


def _plain(name: str, shown: Callable[[DataRequest], str]) -> str:
    try:
        request = parse(name, list(definitions().datasets))  # without torch, which data sets import
    except LatentbenchError:  # measured elsewhere, or with data made in memory
        return name
    given = {option: getattr(request, option) for option in CHOSEN}
    chosen = [f"{option}={value}" for option, value in given.items() if value not in (None, "test")]
    return " ".join([shown(request), *chosen])


def _place(request: DataRequest) -> str:
    return request.place[1]


def _last_part(request: DataRequest) -> str:
    """Return the last part of a place that is a name: tar files and the folder of a split are none."""
    from latentbench.data.sources.folder_listing import canonical

    place = _place(request)
    no_names = r"[{*]|\.tar$|^[./~]+$"
    parts = [
        part
        for part in PurePosixPath(place).parts
        if not re.search(no_names, part) and canonical(part) not in ("train", "test", "validation")
    ]
    return parts[-1] if parts else place
