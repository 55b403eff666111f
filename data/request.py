"""The data that a suite or a string requests: the place of the images, and their form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from latentbench.data.errors import DataError, LatentbenchError
from latentbench.data.reading.transform import Crop, Resize
from latentbench.data.registry import unknown
from latentbench.data.sides import LARGEST_SIDE, SMALLEST_SIDE
from latentbench.data.text.validation import validated

KINDS = ("name", "folder", "wds", "hf", "torchvision", "pairs")
LONGEST_VALUE = 100
FORMS = {
    "folder": "folder:PATH",
    "wds": "wds:TARS",
    "hf": "hf:NAME",
    "torchvision": "torchvision:NAME",
    "pairs": "pairs:FOLDER",
}


def _a_side(size: int) -> int:
    if not SMALLEST_SIDE <= size <= LARGEST_SIDE:
        raise ValueError(f"must be {SMALLEST_SIDE} to {LARGEST_SIDE} px")
    return size


class DataRequest(BaseModel):
    """The place of the images (one of `name`, `folder`, `wds`, `hf`, `torchvision`, `pairs`), and their form.

    `crop` is `center` (scale the shorter side to `size`, cut out the middle) or `none` (scale the whole
    image); `resize` is the filter. `limit` is the highest number of images of each split. `split` names the
    split that is measured; nothing can then be trained.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = None
    folder: str | None = None
    wds: str | None = None
    hf: str | None = None
    torchvision: str | None = None
    pairs: str | None = None
    size: Annotated[int, Field(strict=True), AfterValidator(_a_side)] | None = None
    channels: Literal[1, 3] | None = None
    crop: Crop = "center"
    resize: Resize = "bicubic"
    limit: Annotated[int, Field(strict=True, ge=1)] | None = None
    split: Annotated[str | None, Field(min_length=1)] = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"must have exactly one of {', '.join(KINDS)}")
        if not getattr(self, given[0]):
            raise ValueError(f"{given[0]} is empty; give a path or a name")
        if self.name is not None:
            for option in ("crop", "resize"):
                if getattr(self, option) != type(self).model_fields[option].default:
                    raise ValueError(f"{option} has no effect on {self.name}; leave it out")
            if self.split not in (None, "train", "test"):
                raise ValueError(f"split of {self.name} must be 'train' or 'test'")
        return self

    @property
    def place(self) -> tuple[str, str]:
        """The kind of the place, one of `KINDS`, and the place."""
        (kind,) = [kind for kind in KINDS if getattr(self, kind) is not None]
        return kind, str(getattr(self, kind))

    def with_options(self, **options: object) -> DataRequest:
        """Return the same request with other options. Raises `DataError` for a value that is not allowed."""
        return request_of({**self.model_dump(), **options}, str(self))

    def __str__(self) -> str:
        """Return the request as one string, which `parse` reads, with the options that are not defaults."""
        kind, base = self.place
        text = base if kind == "name" else f"{kind}:{base}"
        options = {
            name: getattr(self, name)
            for name, field in type(self).model_fields.items()
            if name not in KINDS and getattr(self, name) != field.default
        }
        return text + (
            "?" + "&".join(f"{name}={value}" for name, value in options.items()) if options else ""
        )


OPTIONS = [name for name in DataRequest.model_fields if name not in KINDS]


def parse(data: str | Mapping[str, Any] | DataRequest, names: list[str], where: str = "") -> DataRequest:
    """Parse a request without reading any data; `names` are the registered data sets.

    Raises LatentbenchError, beginning with `where`, for a request that `load` would not understand.

    >>> parse("digits?size=28", ["digits"])
    DataRequest(name='digits', folder=None, wds=None, hf=None, torchvision=None, pairs=None, size=28, \
channels=None, crop='center', resize='bicubic', limit=None, split=None)
    """
    if isinstance(data, DataRequest):
        request = data
    elif isinstance(data, str):
        request = request_of(_keys(data), where or data)
    else:
        request = request_of(dict(data), where or "data")
    if request.name is not None and request.name not in names:
        error = unknown("data set", request.name, [*names, *FORMS.values()])
        raise type(error)(f"{where}: {error}" if where else str(error))
    return request


def request_of(content: dict[str, Any], where: str) -> DataRequest:
    """Build a request from its keys. Raises `DataError` that names the key and the allowed values."""
    try:
        return validated(DataRequest, content, where)
    except LatentbenchError as error:
        raise DataError(str(error)) from None


def _keys(text: str) -> dict[str, Any]:
    """Remove `?size=N&limit=N` from the end; a question mark without `=` after it belongs to a path."""
    base, mark, tail = text.rpartition("?")
    if not mark or "=" not in tail:
        base, tail = text, ""
    keys: dict[str, Any] = {}
    for option in filter(None, tail.split("&")):
        key, _, value = option.partition("=")
        if key not in OPTIONS:
            raise DataError(f"{text[:200]}: {unknown('option', key, OPTIONS)}")
        if key in keys:
            raise DataError(f"{text}: option {key!r} is given twice")
        if len(value) > LONGEST_VALUE:
            raise DataError(f"{text[:80]}…: option {key!r} is longer than {LONGEST_VALUE} characters")
        keys[key] = int(value) if value.isascii() and value.isdecimal() else value
    kind, colon, rest = base.partition(":")
    if colon and kind in FORMS:
        return {kind: rest, **keys}
    return {"name": base, **keys}
