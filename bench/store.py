"""The results store: plain files that git, a text editor and pandas can read.

    results/
      runs/<suite>/<utc>-<commit8>-<run id>.jsonl   one line per case; immutable once finished
      runs/<suite>/<utc>-<commit8>-<run id>/        arrays the pictures are drawn from, a file per case
      environments/<hash>.json
      tables/<suite>.csv, .md                       regenerated
      figures/<suite>/*.png                         regenerated

A run that is still going ends in `.partial.jsonl` and is locked by the process that writes it; it is
renamed when its last case is in. Each line is on disk before the next case starts, so whatever happens
costs at most the case in hand.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import numpy as np
import safetensors.numpy
from pydantic import ValidationError
from safetensors import SafetensorError

from latentbench.bench.record import Record
from latentbench.data.errors import LatentbenchError
from latentbench.models.checkpoint import write_atomically

PARTIAL = ".partial.jsonl"
FINISHED = ".jsonl"


@dataclass(frozen=True)
class Run:
    """A run as read from disk. `warnings` say what could not be read, and were not guessed at."""

    path: Path
    records: tuple[Record, ...]
    warnings: tuple[str, ...] = ()

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
        """Whether every case asked for is in."""
        return not self.path.name.endswith(PARTIAL)

    @property
    def is_sweep(self) -> bool:
        """Whether its records are rows of a sweep."""
        return any(record.point is not None for record in self.records)

    @property
    def last_records(self) -> tuple[Record, ...]:
        """One record a case: its last, where a failed case was tried again."""
        return tuple({record.case: record for record in self.records}.values())

    def arrays(self, record: Record) -> dict[str, np.ndarray]:
        """The arrays kept for a record of this run; empty where there are none or they were not kept."""
        return _read_arrays(arrays_path(self.path, record.case)) if record.arrays else {}


def stem_of(path: Path) -> str:
    """The name of a run without its endings."""
    return path.name.removesuffix(FINISHED).removesuffix(".partial")


def arrays_path(run: Path, case: str) -> Path:
    """Where the arrays of a case lie."""
    return run.parent / stem_of(run) / f"{case}.safetensors"


def read(path: Path) -> Run:
    """Read a run. A torn last line, or a line that is no record, is left out and named in `warnings`."""
    records: list[Record] = []
    warnings: list[str] = []
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise LatentbenchError(f"{path}: cannot be read: {error.strerror}") from None
    for number, line in enumerate(lines, start=1):
        if not line.endswith(b"\n"):
            warnings.append(f"{path.name}, line {number}: torn (the writer was stopped in mid-line); dropped")
            continue
        try:
            records.append(Record.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            warnings.append(f"{path.name}, line {number}: not a record ({where} {first['msg']}); left out")
    return Run(path, tuple(records), tuple(warnings))


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        return safetensors.numpy.load_file(path)
    except (OSError, SafetensorError):
        return {}


@dataclass(eq=False)
class Writer:
    """The one process that appends to a run."""

    path: Path
    file: IO[bytes]
    records: list[Record] = field(default_factory=list)

    @property
    def run_id(self) -> str:
        """The last part of the run's name."""
        return stem_of(self.path).rsplit("-", 1)[1]

    def append(self, record: Record, arrays: dict[str, np.ndarray] | None = None) -> Record:
        """Put a record, and the arrays kept beside it, on disk; returns it with the arrays' hash."""
        try:
            if arrays:
                content = safetensors.numpy.save(arrays)
                target = arrays_path(self.path, record.case)
                target.parent.mkdir(exist_ok=True)
                write_atomically(target, content)
                record = record.model_copy(update={"arrays": hashlib.sha256(content).hexdigest()})
            self._write_line(record.to_json().encode() + b"\n")
        except OSError as error:
            raise LatentbenchError(
                f"{self.path}: cannot be written: {error.strerror}; the {len(self.records)} cases "
                "before this one are safe, and the same command goes on from there"
            ) from None
        self.records.append(record)
        return record

    def _write_line(self, line: bytes) -> None:
        """Append and fsync a line; what a failed write left behind is cut off again."""
        end = self.file.seek(0, os.SEEK_END)
        try:
            self.file.write(line)
            self.file.flush()
            os.fsync(self.file.fileno())
        except OSError:
            with suppress(OSError):
                self.file.truncate(end)
            raise

    def finish(self) -> Path:
        """Give the run its final name."""
        final = self.path.with_name(stem_of(self.path) + FINISHED)
        os.rename(self.path, final)
        self.path = final
        return final


class Store:
    """A results folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self) -> None:
        """Make sure that results can be written, before anything is trained."""
        probe = self.root / f".writable-{os.getpid()}"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise LatentbenchError(
                f"results folder {self.root}: cannot be written: {error.strerror}; "
                "choose another with --results"
            ) from None

    def write(self, relative: str, content: str) -> Path:
        """Write a text file under the store, atomically; returns its path."""
        path = self.root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.encode())
        return path

    def remember_environment(self, name: str, content: dict[str, Any]) -> None:
        """Keep an environment under its hash."""
        if not (self.root / "environments" / f"{name}.json").exists():
            self.write(f"environments/{name}.json", json.dumps(content, indent=2, sort_keys=True) + "\n")

    def paths(self, suite: str | None = None) -> list[Path]:
        """The files of all runs, of one suite or of every suite, oldest first."""
        return sorted((self.root / "runs").glob(f"{suite or '*'}/*{FINISHED}"), key=lambda path: path.name)

    def find(self, reference: str) -> Path:
        """A run by path, by suite (its latest), by (the start of) its name or id, `latest`, or `latest~N`."""
        if reference.endswith(FINISHED) and Path(reference).is_file():
            return Path(reference)
        paths = self.paths()
        if not paths:
            raise LatentbenchError(f"no runs in {self.root}; make one with: latentbench run")
        if reference == "latest" or reference.startswith("latest~"):
            return _counted_back(paths, reference)
        if of_suite := [path for path in paths if path.parent.name == reference]:
            return of_suite[-1]
        matches = [
            path
            for path in paths
            if stem_of(path).startswith(reference) or stem_of(path).rsplit("-", 1)[1].startswith(reference)
        ]
        if len(matches) == 1:
            return matches[0]
        problem = "no run is" if not matches else f"{len(matches)} runs are"
        recent = ", ".join(stem_of(path) for path in paths[-3:])
        raise LatentbenchError(
            f"{problem} named {reference!r} in {self.root}; give a path, a suite, a run id or latest~N "
            f"(most recent: {recent})"
        )

    @contextmanager
    def writer(self, suite: str, commit: str | None, resume: Path | None = None) -> Iterator[Writer]:
        """Append to the run `resume`, or to a new one; BlockingIOError if another process writes there."""
        folder = self.root / "runs" / suite
        folder.mkdir(parents=True, exist_ok=True)
        path = resume or folder / f"{_new_stem(commit)}{PARTIAL}"
        with open(path, "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            run = read(path)
            if resume:
                _cut_torn_line(path)
            yield Writer(path, file, list(run.records))

    def is_written_now(self, path: Path) -> bool:
        """Whether another process holds the run."""
        with open(path, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


def _counted_back(paths: list[Path], reference: str) -> Path:
    _, _, count = reference.partition("~")
    if count and not count.isdigit():
        raise LatentbenchError(f"{reference!r}: write latest~N with a whole number N")
    back = int(count or 0)
    if back >= len(paths):
        raise LatentbenchError(f"{reference!r}: there are only {len(paths)} runs")
    return paths[-1 - back]


def _new_stem(commit: str | None) -> str:
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"{now}-{(commit or 'nocommit')[:8]}-{secrets.token_hex(3)}"


def _cut_torn_line(path: Path) -> None:
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
