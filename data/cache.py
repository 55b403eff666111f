"""The cache: files that latentbench made and can make again."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from platformdirs import user_cache_path

from latentbench.data.errors import LatentbenchError
from latentbench.data.files import write_atomically

DIGEST_BYTES = hashlib.sha256().digest_size
CHANGED = "was changed after it was written: its digest does not match"


class CacheError(LatentbenchError):
    """The cache cannot be written, so no trained model could be kept."""


def cache_root() -> Path:
    """Return the folder of checkpoints: `$LATENTBENCH_CACHE`, or the user's cache folder."""
    override = os.environ.get("LATENTBENCH_CACHE")
    return Path(override).expanduser() if override else user_cache_path("latentbench")


def prepare_cache() -> None:
    """Make sure that checkpoints can be written, before anything is trained. Raises CacheError."""
    write_to_cache(cache_root() / "checkpoints" / ".writable", b"")


def write_sealed(path: Path, content: bytes) -> None:
    """Write a file of the cache that begins with the sha256 of the rest. Raises CacheError."""
    write_to_cache(path, hashlib.sha256(content).digest() + content)


def read_sealed(path: Path) -> bytes:
    """Read what `write_sealed` wrote. Raises LatentbenchError for a file that is missing or was changed."""
    try:
        sealed = path.read_bytes()
    except OSError as error:
        raise LatentbenchError(f"{path}: cannot be read: {error.strerror}") from None
    content = sealed[DIGEST_BYTES:]
    if sealed[:DIGEST_BYTES] != hashlib.sha256(content).digest():
        raise LatentbenchError(f"{path}: {CHANGED}")
    return content


def write_to_cache(path: Path, content: bytes) -> None:
    """Write a file of the cache as a whole. Raises CacheError."""
    try:
        write_atomically(path, content)
    except OSError as error:
        raise CacheError(
            f"cache {cache_root()}: cannot be written: {error.strerror}; make room, or name another folder "
            "in the environment variable LATENTBENCH_CACHE"
        ) from None
