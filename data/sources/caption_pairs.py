"""Captions and negatives from JSON files in the format of SugarCrepe, with the images that they name.

`pairs:FOLDER` names a folder with files such as `replace_obj.json`, whose names are the kinds of change:

    {"0": {"filename": "000000085329.jpg", "caption": "A dog on a bench.",
           "negative_caption": "A cat on a bench."}, ...}

The images lie in the folder, or in a folder in it, such as `val2017/`. An image that is not there counts as
one that cannot be read: its pairs are misses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Annotated, Any

from pydantic import BaseModel, Field

from latentbench.data.errors import DataError, LatentbenchError, counted, some
from latentbench.data.reading.image_files import read_unconverted
from latentbench.data.reading.image_source import CaptionPairs, EncodedSource, Sources
from latentbench.data.sources.folder_listing import entries, natural_key
from latentbench.data.storage.files import folder_at, read_text
from latentbench.data.text.validation import validated

SUFFIX = ".json"
LONGEST_KIND = 40
Text = Annotated[str, Field(strict=True, min_length=1, max_length=5_000)]


class _Pair(BaseModel):
    """One entry of a file; other keys have no meaning here."""

    filename: Text
    caption: Text
    negative_caption: Text


def pair_sources(place: str, *, relative_to: Path = Path(), split: str | None = None) -> Sources:
    """Return the images and pairs of a folder; no image is read.

    Raises `DataError` for a folder without pairs, a file in another format, and if no image is there.
    """
    root = folder_at(place, relative_to=relative_to)
    if split not in (None, "test"):
        raise DataError(f"{root}: split must be 'test', got {split!r}: nothing is trained on pairs")
    files = sorted(root.glob(f"*{SUFFIX}"), key=lambda file: natural_key(file.name))
    if not files:
        raise DataError(f"{root}: no file of pairs; put files such as replace_obj{SUFFIX} into the folder")
    pairs = tuple(_read(file) for file in files)
    named = tuple(dict.fromkeys(image for each in pairs for image in each.images))
    places = (root, *entries(root).folders)
    found = [next((file for place in places if (file := place / name).is_file()), None) for name in named]
    missing = [name for name, file in zip(named, found, strict=True) if file is None]
    if len(missing) == len(named):
        raise DataError(
            f"{root}: none of the {counted(len(named), 'image', 'images')} that the pairs name is in it, or "
            f"in a folder in it, such as {some(named[:3])}"
        )
    stored = tuple(file or root / name for file, name in zip(found, named, strict=True))
    return Sources(
        None,
        EncodedSource(str(root), named, stored, None, ()),
        notes=_missing_note(missing, len(named)),
        pairs=pairs,
        reader=read_unconverted,
    )


def _read(file: Path) -> CaptionPairs:
    """Read one file. Raises `DataError` that names the file and the entry."""
    if not re.fullmatch(rf"[\w.+-]{{1,{LONGEST_KIND}}}", file.stem):
        raise DataError(
            f"{file}: the name of a file of pairs must have 1 to {LONGEST_KIND} letters, digits or any of "
            f"_ . + -, because metrics are called after it; rename it"
        )
    try:
        content = json.loads(read_text(file))
    except ValueError as error:
        raise DataError(f"{file}: is not JSON ({error})") from None
    if not isinstance(content, dict) or not content:
        problem = "holds no pairs" if content in ({}, []) else "is not in the format of SugarCrepe"
        raise DataError(f"{file}: {problem}; it must be one object of objects with the keys {_keys()}")
    rows = [_pair(file, key, each) for key, each in content.items()]
    return CaptionPairs(
        file.stem,
        tuple(PurePath(row.filename).as_posix() for row in rows),
        tuple(row.caption for row in rows),
        tuple(row.negative_caption for row in rows),
    )


def _pair(file: Path, key: str, content: Any) -> _Pair:
    where = f"{file}, entry {key[:40]!r}"
    if not isinstance(content, dict):
        raise DataError(f"{where}: must be an object with the keys {_keys()}")
    try:
        pair = validated(_Pair, content, where)
    except LatentbenchError as error:
        raise DataError(str(error)) from None
    name = PurePath(pair.filename)
    if name.is_absolute() or ".." in name.parts:
        raise DataError(f"{where}: filename {pair.filename!r} must be a path inside the folder")
    return pair


def _keys() -> str:
    return ", ".join(_Pair.model_fields)


def _missing_note(missing: Sequence[str], total: int) -> tuple[str, ...]:
    if not missing:
        return ()
    return (f"{len(missing)} of {total} images that the pairs name are not there: {some(missing)}",)
