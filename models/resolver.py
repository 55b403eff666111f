"""Resolves the file names of a suite, and decides whether pickles may be read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Resolver:
    """The access of a family to the files that a model's settings name."""

    folder: Path = Path()
    """The suite's folder: relative paths start here."""
    allow_pickle: bool = False
    """True if checkpoints may be pickles, which are then read by torch's restricted reader."""

    def path(self, name: str) -> Path:
        """Return the path that a suite gives as `name`, with `~` expanded.

        >>> Resolver(Path("suites")).path("weights/mine.safetensors").as_posix()
        'suites/weights/mine.safetensors'
        """
        return self.folder / Path(name).expanduser()
