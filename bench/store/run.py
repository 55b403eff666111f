"""A run on disk: a file of records, and the folder of arrays from which the figures are drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentbench.bench.store.records.line import NotARecord, record_of
from latentbench.bench.store.records.record import Record
from latentbench.data.errors import LatentbenchError
from latentbench.data.storage.files import file_sha256
from latentbench.data.storage.garbage import no_garbage_collection

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
        """The name `<utc>-<commit8>-<run id>`."""
        return stem_of(self.path)

    @property
    def suite(self) -> str:
        """The suite's name."""
        return self.path.parent.name

    @property
    def finished(self) -> bool:
        """True if every requested case has a result."""
        return not self.path.name.endswith(PARTIAL)

    @property
    def is_sweep(self) -> bool:
        """True if its records are rows of a sweep."""
        return any(record.point is not None for record in self.records)

    @property
    def last_records(self) -> tuple[Record, ...]:
        """One record per case: the last one, if a failed case was repeated."""
        return tuple({record.case: record for record in self.records}.values())

    def arrays(self, record: Record) -> Arrays:
        """Return the arrays kept for a record; empty if there are none, or if they were changed."""
        return Arrays(arrays_path(self.path, record.case), record.arrays)

    def environment(self, name: str) -> dict[str, Any]:
        """Return an environment as the run's store describes it; empty if the store does not have it."""
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
    """Return the path of the arrays of a case."""
    return run.parent / stem_of(run) / f"{case}.safetensors"


def lines_of(path: Path) -> Iterator[bytes]:
    """Yield the lines of a run's file with their newlines. Raises LatentbenchError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            yield from file
    except OSError as error:
        raise LatentbenchError(f"{path}: cannot be read: {error.strerror}") from None


def read(path: Path) -> Run:
    """Read a run. A line that is torn or not a record is left out and named in `warnings`."""
    records: list[Record] = []
    warnings: list[Damage] = []
    # Records contain no cycles, and searching them is slower than reading.
    with no_garbage_collection():
        for number, line in enumerate(lines_of(path), start=1):
            try:
                records.append(record_of(line))
            except NotARecord as error:
                warnings.append(Damage(path.name, number, error.what, error.remedy))
    return Run(path, tuple(records), tuple(warnings))


class Arrays(Mapping[str, "np.ndarray"]):
    """The arrays in a file with a known digest, each read when it is looked up: a run may have gigabytes.

    Empty if there is no digest, or if the file is gone or was changed.
    """

    def __init__(self, path: Path, digest: str | None) -> None:
        self._path, self._digest = path, digest

    @cached_property
    def _names(self) -> tuple[str, ...]:
        from safetensors import safe_open

        if self._digest is None or not _has_digest(self._path, self._digest):
            return ()
        with safe_open(self._path, "numpy") as file:
            return tuple(file.keys())

    def __getitem__(self, name: str) -> np.ndarray:
        """Read one array."""
        from safetensors import safe_open

        if name not in self._names:
            raise KeyError(name)
        with safe_open(self._path, "numpy") as file:
            array: np.ndarray = file.get_tensor(name)
            return array

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._names)

    def __len__(self) -> int:
        """Count the arrays."""
        return len(self._names)


def _has_digest(path: Path, digest: str) -> bool:
    try:
        about = path.stat()
        return _sha256(path, about.st_size, about.st_mtime_ns) == digest
    except OSError:
        return False


@lru_cache(maxsize=100_000)
def _sha256(path: Path, size: int, modified: int) -> str:  # noqa: ARG001 - of the file as it is now
    return file_sha256(path)
