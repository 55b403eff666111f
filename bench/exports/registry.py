"""The registry of export formats: each is a function from a run and a folder to the files that it wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from latentbench.bench.store.run import Run
from latentbench.data.registry import Registry
from latentbench.data.storage.files import write_atomically

Exporter = Callable[[Run, Path], list[Path]]

EXPORTS: Registry[Exporter] = Registry("export format")


def write(path: Path, content: str) -> Path:
    """Write a text file; return its path."""
    write_atomically(path, content.encode(errors="backslashreplace"))
    return path
