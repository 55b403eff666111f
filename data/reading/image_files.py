"""The readers of image files. `read_image` gives a file the same meaning from every source.

| in the file | what is read |
| --- | --- |
| EXIF orientation | the image, upright |
| transparency, also of a palette or a single colour | the image over white |
| 16 bits a channel | the upper 8 bits |
| grey, palette, CMYK, one bit | RGB |
| several frames | the first one; `info["frames_dropped"]` is True |
| 32-bit or floating point values, which have no fixed range | refused |

The others are for originals that go into a pretrained image–text model's own transform: they do to a file
what CLIP_benchmark does, so that accuracies are equal. Transparency and the depth of 16 bits are then treated
as Pillow does, and only `read_as_datasets` turns images upright.

A file's suffix decides whether it is tried at all, its content decides its format: a JPEG
called `x.png` is read, a PostScript program called `x.png` is not.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from latentbench.data.errors import DataError

FORMATS = {
    ".avif": "AVIF",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".jfif": "JPEG",
    ".jpe": "JPEG",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".pgm": "PPM",
    ".png": "PNG",
    ".ppm": "PPM",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
"""Pillow's format for each suffix that is read, in lower case."""
ALLOWED = sorted(set(FORMATS.values()))

# The exceptions of Pillow for files that are not what they claim to be.
UNREADABLE = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, KeyError, IndexError),
    *(struct.error, Image.DecompressionBombError, MemoryError, OverflowError),
)


@dataclass(frozen=True)
class FilePart:
    """An image file inside another file, such as a member of a tar file: `size` bytes from `offset`."""

    path: Path
    offset: int
    size: int

    def read(self) -> bytes:
        """Read the bytes. Raises OSError if there are fewer."""
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            content = file.read(self.size)
        if len(content) < self.size:
            raise OSError(f"{self.path} is cut off")
        return content


@dataclass(frozen=True)
class OpenedByLibrary:
    """An image that another library opens, as that library sees it; `read` returns what it is stored as."""

    open: Callable[[], Image.Image]
    read: Callable[[], bytes]


Encoded = Path | FilePart | OpenedByLibrary | bytes
"""An image as it is stored: a file, a part of one, one that a library opens, or its content."""


Reader = Callable[[Encoded], Image.Image]
"""A function of a module, so that other processes find it. Raises `DataError` for what is not an image."""


def content_of(encoded: Encoded) -> bytes:
    """Return the bytes of an image as they are stored. Raises OSError."""
    if isinstance(encoded, bytes):
        return encoded
    return encoded.read_bytes() if isinstance(encoded, Path) else encoded.read()


def is_image_file(file: Path) -> bool:
    """Return True if the suffix of a file belongs to an image format that is read."""
    return file.suffix.lower() in FORMATS


def read_image(file: Encoded, *, name: str | None = None) -> Image.Image:
    """Read an image file, or the bytes of one, in RGB and at its original size, as the module describes.

    `name` is its name in messages, the path by default. The result's `info` has the key `frames_dropped`.
    Raises `DataError` for anything that is not an image in one of the formats of `FORMATS`, is cut off, or
    is so large that it could be an attack.
    """
    with _reported(file, name), _large_allowed():
        image, animated = (
            (file.open().convert("RGB"), False) if isinstance(file, OpenedByLibrary) else _opened(file)
        )
    image.info = {"frames_dropped": animated}
    return image


def read_as_clip_benchmark(file: Encoded) -> Image.Image:
    """Read an image file as CLIP_benchmark does: as torchvision's own classes open it, others in RGB.

    Both torchvision's ImageFolder and webdataset's decoder convert an opened file to RGB and do no more.
    Raises `DataError` as `read_image` does.
    """
    image = read_unconverted(file)
    return image if isinstance(file, OpenedByLibrary) else image.convert("RGB")


def read_unconverted(file: Encoded) -> Image.Image:
    """Read an image file in the mode that it has: a transform converts it after it is scaled.

    CLIP_benchmark opens images with pairs of captions in this way. Raises `DataError` as `read_image` does.
    """
    with _reported(file), _large_allowed():
        if isinstance(file, OpenedByLibrary):
            return file.open()
        with Image.open(_stream_of(file), formats=ALLOWED) as opened:
            opened.load()
            return opened


def read_as_datasets(file: Encoded, *, mode: str | None = None) -> Image.Image:
    """Read an image as Hugging Face's `datasets` decodes it: upright, in `mode` or in the mode that it has.

    CLIP_benchmark gives a transform what that library decodes. Raises `DataError` as `read_image` does.
    """
    with _reported(file), _large_allowed():
        assert not isinstance(file, OpenedByLibrary)
        with Image.open(_stream_of(file), formats=ALLOWED) as opened:
            opened.load()
            turned = ExifTags.Base.Orientation in opened.getexif()
            image = ImageOps.exif_transpose(opened) if turned else opened
            return image.convert(mode) if mode not in (None, image.mode) else image


@contextmanager
def _reported(file: Encoded, name: str | None = None) -> Iterator[None]:
    """Turn Pillow's errors into a `DataError` that begins with the name."""
    where = name or (str(file) if isinstance(file, Path) else "image")
    try:
        yield
    except UNREADABLE as error:
        reason = " ".join(str(error).split())
        if isinstance(file, Path):
            reason = reason.replace(f" {str(file)!r}", "")
        raise DataError(
            f"{where}: cannot be read as an image ({reason[:200]}); replace or remove it"
        ) from error


def _stream_of(file: Path | FilePart | bytes) -> Path | BytesIO:
    return file if isinstance(file, Path) else BytesIO(content_of(file))


def _opened(file: Path | FilePart | bytes) -> tuple[Image.Image, bool]:
    """Return an image in RGB, and whether it is the first of several frames. Raises `UNREADABLE`."""
    with Image.open(_stream_of(file), formats=ALLOWED) as opened:
        # A multi-picture JPEG, as phones write, holds a preview or a second view, not an animation.
        animated = bool(getattr(opened, "is_animated", False)) and opened.format != "MPO"
        opened.load()
        ImageOps.exif_transpose(opened, in_place=True)
        return _as_rgb(opened, opened.format), animated


@contextmanager
def _large_allowed() -> Iterator[None]:
    """Let an image above Pillow's limit be read without a warning: only twice the limit is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def _as_rgb(image: Image.Image, file_format: str | None) -> Image.Image:
    # A 16-bit PGM comes in mode I, with values up to 65,535; other files in mode I have no fixed range.
    if image.mode.startswith("I;16") or (image.mode == "I" and file_format == "PPM"):
        return _from_16_bits(image)
    if image.mode in ("I", "F"):
        raise ValueError(f"pixel mode {image.mode} has no fixed range; save it with 8 or 16 bits")
    if not image.has_transparency_data:
        return image.copy() if image.mode == "RGB" else image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Return the upper 8 bits of grey levels, as Pillow does for colours; it would clip grey at 255."""
    values = np.asarray(image).astype(np.int64)
    grey = (values >> 8).clip(0, 255).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey).convert("RGB")
