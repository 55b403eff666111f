"""Reading and writing of files: text in any Unicode encoding, folders that users name, atomic writes.

Files are written whole: a reader sees all of a file or nothing, even after a crash.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, BinaryIO

from latentbench.data.errors import DataError

# UTF-32's mark begins with UTF-16's, so it comes first.
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def file_sha256(path: Path) -> str:
    """Return the sha256 (hex) of a file, read piece by piece. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_text(path: Path) -> str:
    """Read a text file: UTF-8, or UTF-16 or UTF-32 that begins with a byte order mark.

    Raises `DataError`, naming the file, if it cannot be read or is in another encoding.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    encoding = next((name for mark, name in BYTE_ORDER_MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}, line {line}: byte 0x{content[error.start]:02x} is not {encoding.upper()} text; "
            f"save the file as UTF-8"
        ) from None
    if "\0" in text:
        raise DataError(f"{path}: contains NUL characters, as UTF-16 without a mark does; save it as UTF-8")
    return text


def folder_at(path: str | Path, *, relative_to: Path = Path()) -> Path:
    """Return the folder that a user names by `path`, with `~` expanded, from `relative_to` if it is relative.

    Raises `DataError`, with the place that was searched, if there is no such folder.
    """
    try:
        folder = relative_to / Path(path).expanduser()
        if folder.is_dir():
            return folder
        problem = "is not a folder" if folder.exists() else "does not exist"
    except RuntimeError:  # an unknown user after ~
        raise DataError(f"{path}: no home folder for this user; give the path in full") from None
    except (OSError, ValueError) as error:  # longer than a path may be, or holding a NUL
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"folder {str(path)[:60]!r}…: {reason}; give the path of a folder") from None
    where = "" if Path(path).expanduser().is_absolute() else f" (looked for in {relative_to.resolve()})"
    raise DataError(f"{path}: {problem}{where}; give the path of a folder")


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file in the folder of `path`, which takes its place when the block ends.

    The folder is made if needed. The temporary file is called `.NAME.*.tmp`, is on the disk before it takes
    the place of `path`, and is removed if anything fails. Several processes may write the same path: the
    last one wins. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with open(temporary, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` as a whole; see `atomic_file`. Raises OSError."""
    with atomic_file(path) as file:
        file.write(content)


@contextmanager
def reserved_file(size: int, folder: Path | None = None) -> Iterator[IO[bytes] | None]:
    """Provide a temporary file with room for `size` bytes; None where the system or the disk has none.

    Without reserved room, a full disk would end a process that writes to the file through its memory.
    `folder` is the system's by default.
    """
    reserve = getattr(os, "posix_fallocate", None)
    with ExitStack() as stack:
        file = None
        if size and reserve is not None:
            with suppress(OSError):
                opened = stack.enter_context(NamedTemporaryFile(dir=folder, prefix=".", suffix=".tmp"))
                reserve(opened.fileno(), 0, size)
                file = opened
        yield file
