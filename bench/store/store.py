"""The results store: plain files that git, a text editor and pandas can read.

    results/
      runs/<suite>/<utc>-<commit8>-<run id>.jsonl   one line per case; immutable once finished
      runs/<suite>/<utc>-<commit8>-<run id>/        arrays the pictures are drawn from, a file per case
      environments/<hash>.json
      baselines.json                                names that runs go by, with reasons
      tables/<suite>.csv, .md                       regenerated
      figures/<suite>/*.png                         regenerated

A run that is still going ends in `.partial.jsonl` and is locked by the process that writes it; it is
renamed when its last case is in. Each line is on disk before the next case starts, so whatever happens
costs at most the case in hand. Names sort in the order in which runs were begun, also where the clock was
set back in between.
"""

from __future__ import annotations

import fcntl
import gc
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from latentbench.bench.store.record import Record, line_of, record_of
from latentbench.data.errors import LatentbenchError
from latentbench.data.files import write_atomically

PARTIAL = ".partial.jsonl"
FINISHED = ".jsonl"
STAMP = "%Y%m%dT%H%M%SZ"
SURELY_SET_BACK = timedelta(minutes=1)
"""Runs begun within one second are named a second apart, so names may be a little ahead of the clock."""


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
        """The arrays kept for a record of this run; empty where there are none, or others than were kept."""
        return _read_arrays(arrays_path(self.path, record.case), record.arrays) if record.arrays else {}

    def environment(self, name: str) -> dict[str, Any]:
        """What the store that the run lies in knows of an environment; empty where it knows nothing."""
        folder = self.path.resolve().parent.parent.parent / "environments"
        try:
            content = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


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
    with _no_garbage_collection():
        for number, line in enumerate(lines, start=1):
            try:
                records.append(record_of(line))
            except ValueError as error:
                warnings.append(f"{path.name}, line {number}: {error}")
    return Run(path, tuple(records), tuple(warnings))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Records hold no cycles; looking for some among so many takes longer than reading them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _read_arrays(path: Path, digest: str) -> dict[str, np.ndarray]:
    try:
        content = path.read_bytes()
        return safetensors.numpy.load(content) if hashlib.sha256(content).hexdigest() == digest else {}
    except (OSError, SafetensorError):
        return {}


@dataclass(eq=False)
class Writer:
    """The one process that appends to a run."""

    path: Path
    file: FileIO
    records: list[Record] = field(default_factory=list)
    note: str | None = None
    """Something odd about how the run got its name."""

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
                record = record.with_arrays(content)
            self._write_line(line_of(record))
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
            rest = memoryview(line)
            while rest:
                rest = rest[self.file.write(rest) :]
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
        return self.write_bytes(relative, content.encode())

    def write_bytes(self, relative: str, content: bytes) -> Path:
        """Write a file under the store, atomically; returns its path."""
        path = self.root / relative
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
        except OSError as error:
            raise LatentbenchError(
                f"{path}: cannot be written: {error.strerror}; no record is lost, "
                "and what was there is still there"
            ) from None
        return path

    def remember_environment(self, name: str, content: dict[str, Any]) -> None:
        """Keep an environment under its hash."""
        if not (self.root / "environments" / f"{name}.json").exists():
            self.write(f"environments/{name}.json", json.dumps(content, indent=2, sort_keys=True) + "\n")

    def paths(self, suite: str | None = None) -> list[Path]:
        """The files of all runs, of one suite or of every suite, oldest first."""
        return sorted((self.root / "runs").glob(f"{suite or '*'}/*{FINISHED}"), key=lambda path: path.name)

    def find(self, reference: str) -> Path:
        """A run by path, by suite (its latest), by (the start of) its name or id, `latest`, or `latest~N`.

        The path of another results folder stands for the latest run there.
        """
        if reference.endswith(FINISHED) and Path(reference).is_file():
            return Path(reference)
        if (Path(reference) / "runs").is_dir():
            return Store(Path(reference)).find("latest")
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
        begun, note = _begun(max((path.name for path in self.paths()), default=""))
        path = resume or folder / f"{begun}-{(commit or 'nocommit')[:8]}-{secrets.token_hex(3)}{PARTIAL}"
        # Without a buffer: one that could not be written would be tried again when the file is closed.
        with open(path, "ab", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            run = read(path)
            if resume:
                _cut_torn_line(path)
            yield Writer(path, file, list(run.records), None if resume else note)

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


def _begun(last: str) -> tuple[str, str | None]:
    """The first part of a new run's name, later than the run named `last`; and what is odd about it."""
    now = datetime.now(UTC).replace(microsecond=0)
    try:
        then = datetime.strptime(last.partition("-")[0], STAMP).replace(tzinfo=UTC)
    except ValueError:
        return now.strftime(STAMP), None
    note = None
    if then - now > SURELY_SET_BACK:
        note = (
            f"the clock says {now:%Y-%m-%d %H:%M} UTC, and the last run here was begun at "
            f"{then:%Y-%m-%d %H:%M}: one of the two is wrong; the new run is named one second after it, "
            "so that it is the latest"
        )
    return max(now, then + timedelta(seconds=1)).strftime(STAMP), note


def _cut_torn_line(path: Path) -> None:
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
