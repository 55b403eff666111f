"""Where latentbench keeps what it made and can make again."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path


def cache_root() -> Path:
    """Where checkpoints are kept: `$LATENTBENCH_CACHE`, or the user's cache folder."""
    override = os.environ.get("LATENTBENCH_CACHE")
    return Path(override) if override else user_cache_path("latentbench")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or none, even after a crash."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
