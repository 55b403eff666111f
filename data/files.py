"""Files are written whole: a reader sees all of a file or nothing, even after a crash."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` through a temporary file in the same folder, and make the folder if needed.

    The temporary file is called `.NAME.*.tmp`, is on the disk before it takes the place of `path`, and is
    removed if anything fails. Several processes may write the same path: the last one wins. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
