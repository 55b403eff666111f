"""The IDX format: the format in which MNIST and similar data sets are published.

A file is two zero bytes, a type code, the number of dimensions, each dimension as a big-endian
32-bit integer, and then the values in row-major order (http://yann.lecun.com/exdb/mnist/). Only
unsigned bytes (type code 0x08) are read: every image set published as IDX uses them.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from latentbench.data.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"
UNSIGNED_BYTES = 0x08
FETCH_AGAIN = "fetch the file again"


def read_idx(file: Path | Traversable, *, md5: str | None = None) -> Tensor:
    """Read one IDX file, plain or gzip'd, as uint8 in the shape that its header states.

    `md5` is the expected MD5 sum (hex) of the uncompressed bytes; None skips that check. Raises
    `DataError`, naming the file, if it is missing, damaged, not IDX, or longer or shorter than
    its header states.
    """
    content = _uncompressed(file)
    if md5 is not None:
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if found != md5:
            raise DataError(f"{file}: MD5 of the uncompressed bytes is {found}, not {md5}; {FETCH_AGAIN}")
    return _parse(content, where=str(file))


def read_images_and_labels(
    folder: Path | Traversable, prefix: str, *, sums: Mapping[str, str] = MappingProxyType({})
) -> tuple[Tensor, Tensor]:
    """Read `{prefix}-images-idx3-ubyte.gz` and `{prefix}-labels-idx1-ubyte.gz` from `folder`.

    Returns images, uint8 `[N, 1, H, W]`, and labels, int64 `[N]`. `sums` maps a file's name without
    `.gz` to the MD5 sum of its uncompressed bytes; a file that is not listed is not checked. Raises
    `DataError` if either file is damaged, has the wrong number of dimensions, or the two disagree
    on N.
    """
    images_name, labels_name = f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"
    images = read_idx(folder / f"{images_name}.gz", md5=sums.get(images_name))
    labels = read_idx(folder / f"{labels_name}.gz", md5=sums.get(labels_name))
    if images.ndim != 3 or labels.ndim != 1:
        raise DataError(
            f"{folder}: {prefix} images have {images.ndim} dimensions and labels {labels.ndim}, "
            f"not 3 and 1; the files may be swapped"
        )
    if len(images) != len(labels):
        raise DataError(
            f"{folder}: {prefix} has {len(images)} images but {len(labels)} labels; {FETCH_AGAIN} for both"
        )
    return images.unsqueeze(1), labels.long()


def _uncompressed(file: Path | Traversable) -> bytes:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: {error.strerror or error}; put the file there or check the path") from error
    # The name may be wrong about compression (browsers unpack .gz on the way), so the content decides.
    if not content.startswith(GZIP_MAGIC):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{file}: damaged or truncated gzip ({error}); {FETCH_AGAIN}") from error


def _parse(content: bytes, *, where: str) -> Tensor:
    if len(content) < 4 or content[:2] != b"\0\0":
        raise DataError(f"{where}: not IDX (starts with {content[:4].hex() or 'nothing'}); {FETCH_AGAIN}")
    kind, dimensions = content[2], content[3]
    if kind != UNSIGNED_BYTES:
        raise DataError(f"{where}: IDX type code 0x{kind:02x}; only unsigned bytes (0x08) are read")
    header = 4 + 4 * dimensions
    if dimensions == 0 or len(content) < header:
        raise DataError(f"{where}: header states {dimensions} dimensions but is cut short; {FETCH_AGAIN}")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    stated, found = math.prod(shape), len(content) - header
    if found != stated:
        size = "x".join(map(str, shape))
        raise DataError(f"{where}: header states {size} = {stated} bytes, found {found}; {FETCH_AGAIN}")
    if stated == 0:
        return torch.empty(shape, dtype=torch.uint8)
    # A bytearray, because torch needs writable memory.
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=header).view(shape)
