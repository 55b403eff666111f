"""A run as it lies on disk: a file of records, and the folder of arrays that the figures are drawn from."""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentbench.bench.store.record import NotARecord, Record, record_of
from latentbench.data.errors import LatentbenchError

if TYPE_CHECKING:
    import numpy as np

PARTIAL = ".partial.jsonl"
FINISHED = ".jsonl"


@dataclass(frozen=True)
class Damage:
    """A line of a run that cannot be read and was left out; the first line is 1."""

    file: str
    line: int
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: {self.what}; left out; {self.remedy}"


@dataclass(frozen=True)
class Run:
    """A run as read from disk. `warnings` name the lines that could not be read."""

    path: Path
    records: tuple[Record, ...]
    warnings: tuple[Damage, ...] = ()

    @property
    def stem(self) -> str:
        """`<utc>-<commit8>-<run id>`."""
        return stem_of(self.path)

    @property
    def suite(self) -> str:
        """The suite's name."""
        return self.path.parent.name

    @property
    def finished(self) -> bool:
        """Whether every case that was asked for is in."""
        return not self.path.name.endswith(PARTIAL)

    @property
    def is_sweep(self) -> bool:
        """Whether its records are rows of a sweep."""
        return any(record.point is not None for record in self.records)

    @property
    def last_records(self) -> tuple[Record, ...]:
        """One record per case: its last, where a failed case was tried again."""
        return tuple({record.case: record for record in self.records}.values())

    def arrays(self, record: Record) -> dict[str, np.ndarray]:
        """Return the arrays kept for a record; empty where there are none, or where they were changed."""
        return _read_arrays(arrays_path(self.path, record.case), record.arrays) if record.arrays else {}

    def environment(self, name: str) -> dict[str, Any]:
        """Return an environment as the run's store describes it; empty where the store does not know it."""
        folder = self.path.resolve().parent.parent.parent / "environments"
        try:
            content = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


def stem_of(path: Path) -> str:
    """Return the name of a run without its endings."""
    return path.name.removesuffix(FINISHED).removesuffix(".partial")


def id_of(path: Path) -> str:
    """Return the run id, the last part of a run's name."""
    return stem_of(path).rsplit("-", 1)[-1]


def arrays_path(run: Path, case: str) -> Path:
    """Return where the arrays of a case lie."""
    return run.parent / stem_of(run) / f"{case}.safetensors"


def lines_of(path: Path) -> list[bytes]:
    """Return the lines of a run's file, with their newlines. Raises LatentbenchError if it cannot be read."""
    try:
        return path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise LatentbenchError(f"{path}: cannot be read: {error.strerror}") from None


def read(path: Path) -> Run:
    """Read a run. A line that is torn or no record is left out and named in `warnings`."""
    records: list[Record] = []
    warnings: list[Damage] = []
    with _no_garbage_collection():
        for number, line in enumerate(lines_of(path), start=1):
            try:
                records.append(record_of(line))
            except NotARecord as error:
                warnings.append(Damage(path.name, number, error.what, error.remedy))
    return Run(path, tuple(records), tuple(warnings))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Pause the garbage collector: records hold no cycles, and searching them takes longer than reading."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _read_arrays(path: Path, digest: str) -> dict[str, np.ndarray]:
    import safetensors.numpy

    try:
        content = path.read_bytes()
        return safetensors.numpy.load(content) if hashlib.sha256(content).hexdigest() == digest else {}
    except (OSError, safetensors.SafetensorError):
        return {}
