"""The cache: files that latentbench made and can make again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from latentbench.data.errors import LatentbenchError
from latentbench.data.storage.files import write_atomically

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
    """Read a file of `write_sealed`. Raises LatentbenchError for a file that is missing or was changed."""
    try:
        sealed = path.read_bytes()
    except OSError as error:
        raise LatentbenchError(f"{path}: cannot be read: {error.strerror}") from None
    content = sealed[DIGEST_BYTES:]
    if sealed[:DIGEST_BYTES] != hashlib.sha256(content).digest():
        raise LatentbenchError(f"{path}: {CHANGED}")
    return content


def digest_of(content: object) -> str:
    """Return the sha256 of JSON content, by which a later change of it is noticed."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_to_cache(path: Path, content: bytes) -> None:
    """Write a file of the cache as a whole. Raises CacheError."""
    try:
        write_atomically(path, content)
    except OSError as error:
        raise CacheError(
            f"cache {cache_root()}: cannot be written: {error.strerror}; make room, or name another folder "
            "in the environment variable LATENTBENCH_CACHE"
        ) from None


@dataclass(frozen=True)
class CacheEntry:
    """Something in the cache: files that belong together, or a folder; `what` says what it is, if it does."""

    kind: str
    name: str
    paths: tuple[Path, ...]
    size_bytes: int
    unused_days: float
    what: str


def entries() -> list[CacheEntry]:
    """Return what is in the cache, by kind: a kind is a folder such as `images` or `checkpoints`.

    Files of one folder that differ in their suffix alone belong together. What a process left behind when
    it was killed while it wrote is of kind `temporary`, once it is an hour old.
    """
    root = cache_root()
    found: list[CacheEntry] = []
    for folder in sorted(path for path in root.glob("*") if path.is_dir()):
        groups: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(folder.iterdir()):
            if not path.name.startswith("."):
                groups[path.name if path.is_dir() else path.stem].append(path)
        found += [_entry(folder.name, name, paths) for name, paths in groups.items()]
    leftovers = [_entry("temporary", path.name, [path]) for path in sorted(root.rglob(".*.tmp"))]
    return found + [entry for entry in leftovers if entry.unused_days > 1 / 24]


def remove(entry: CacheEntry) -> None:
    """Remove an entry from the disk. Raises CacheError where that is not allowed."""
    try:
        for path in entry.paths:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise CacheError(f"{error.filename}: cannot be removed: {error.strerror}") from None


def _entry(kind: str, name: str, paths: list[Path]) -> CacheEntry:
    every = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
    stats = [file.stat() for file in every if file.is_file()]
    newest = max((max(stat.st_mtime, stat.st_atime) for stat in stats), default=time.time())
    return CacheEntry(
        kind,
        name,
        tuple(paths),
        sum(stat.st_size for stat in stats),
        max(0.0, (time.time() - newest) / 86_400),
        _described(paths),
    )


def _described(paths: list[Path]) -> str:
    """The data that a card among the files names, such as that of decoded images."""
    for path in paths:
        if path.suffix == ".json":
            try:
                content = json.loads(path.read_bytes())
            except (OSError, ValueError):
                return "unreadable"
            data = content.get("data") if isinstance(content, dict) else None
            return data if isinstance(data, str) else ""
    return ""
