"""The cache: files that latentbench made and can make again."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path

from latentbench.data.errors import LatentbenchError
from latentbench.data.files import write_atomically


class CacheError(LatentbenchError):
    """The cache cannot be written, so no trained model could be kept."""


def cache_root() -> Path:
    """Return the folder of checkpoints: `$LATENTBENCH_CACHE`, or the user's cache folder."""
    override = os.environ.get("LATENTBENCH_CACHE")
    return Path(override).expanduser() if override else user_cache_path("latentbench")


def prepare_cache() -> None:
    """Make sure that checkpoints can be written, before anything is trained. Raises CacheError."""
    write_to_cache(cache_root() / "checkpoints" / ".writable", b"")


def write_to_cache(path: Path, content: bytes) -> None:
    """Write a file of the cache as a whole. Raises CacheError."""
    try:
        write_atomically(path, content)
    except OSError as error:
        raise CacheError(
            f"cache {cache_root()}: cannot be written: {error.strerror}; make room, or name another folder "
            "in the environment variable LATENTBENCH_CACHE"
        ) from None
