"""The results store: plain files that git, a text editor and pandas can read.

    results/
      runs/<suite>/<utc>-<commit8>-<run id>.jsonl         one line per case; immutable once finished
      runs/<suite>/<utc>-<commit8>-<run id>.jsonl.sha256  its checksum, as `sha256sum --check` reads it
      runs/<suite>/<utc>-<commit8>-<run id>/              arrays the figures are drawn from, one file per case
      environments/<hash>.json
      baselines.json                                      names of runs, with reasons
      tables/<suite>.csv, .md                             regenerated
      figures/<suite>/*.png                               regenerated

A run in progress ends in `.partial.jsonl`. The process that writes it holds a lock on a file next to it, and
renames it after its last case. Each line is on disk before the next case starts, so an interruption
loses at most the cases in progress. Names sort in the order in which runs were started, even if the clock
was set back in between.

The file is long because readers and the writer of a run agree on its names, its lock and its ending here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from latentbench.bench.store.record import Record, line_of
from latentbench.bench.store.run import FINISHED, PARTIAL, arrays_path, id_of, read, stem_of
from latentbench.data.errors import LatentbenchError
from latentbench.data.storage.files import write_atomically

if TYPE_CHECKING:
    import numpy as np

CHECKSUM = ".sha256"
"""The ending of the file that holds a finished run's checksum."""
STAMP = "%Y%m%dT%H%M%SZ"
SURELY_SET_BACK = timedelta(minutes=1)
"""Runs started within one second are named a second apart, so names may be a little ahead of the clock."""
SUITE_NAME = re.compile(r"\w[\w .-]{0,99}")
RESERVED = ("latest", "reference")
"""Names that stand for a run of any suite."""


def check_suite_name(name: str) -> None:
    """Raise LatentbenchError for a name that cannot be a folder of the store, or has another meaning."""
    if not SUITE_NAME.fullmatch(name) or name in RESERVED or name.endswith((" ", ".")):
        raise LatentbenchError(
            f"suite name {name!r}: must be letters, digits, spaces, dots, hyphens or underscores, at most "
            "100 of them, must begin with a letter, digit or underscore, must not end with a dot or space, "
            f"and must not be one of {', '.join(RESERVED)}; rename the file"
        )


@dataclass(eq=False)
class Writer:
    """The one process that appends to a run."""

    path: Path
    file: FileIO
    records: list[Record] = field(default_factory=list)
    note: str | None = None
    """A note on an unusual name of the run."""

    @property
    def run_id(self) -> str:
        """The last part of the run's name."""
        return id_of(self.path)

    def append(
        self, record: Record, arrays: Mapping[str, np.ndarray] | None = None, *, durably: bool = True
    ) -> Record:
        """Write a record and its arrays; return the record with the hash of the arrays.

        The record is on disk when this returns, or, if not `durably`, when the next one or the run is.
        """
        try:
            if arrays:
                import safetensors.numpy

                content = safetensors.numpy.save(dict(arrays))
                target = arrays_path(self.path, record.case)
                target.parent.mkdir(exist_ok=True)
                write_atomically(target, content)
                record = record.with_arrays(content)
            self._write_line(line_of(record), durably=durably)
        except OSError as error:
            raise LatentbenchError(
                f"{self.path}: cannot be written: {error.strerror}; the {len(self.records)} cases "
                "before this one are safe; run the same command again to resume"
            ) from None
        self.records.append(record)
        return record

    def _write_line(self, line: bytes, *, durably: bool) -> None:
        """Append a line; a partly failed write is cut off."""
        end = self.file.seek(0, os.SEEK_END)
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[self.file.write(rest) :]
            if durably:
                os.fsync(self.file.fileno())
        except OSError:
            with suppress(OSError):
                self.file.truncate(end)
            raise

    def finish(self) -> Path:
        """Give the run its final name, and write its checksum next to it.

        A file that was deleted meanwhile is written again from memory. Raises LatentbenchError if another
        file has the final name.
        """
        final = self.path.with_name(stem_of(self.path) + FINISHED)
        if final.exists():
            raise LatentbenchError(f"{final}: already exists; the records are in {self.path}")
        try:
            if not self.path.exists():
                write_atomically(self.path, b"".join(map(line_of, self.records)))
            os.fsync(self.file.fileno())
            content = self.path.read_bytes()
            self.path.rename(final)
            self.path = final
            write_atomically(checksum_path(final), checksum_of(final.name, content))
        except OSError as error:
            raise LatentbenchError(f"{final}: cannot be written: {error.strerror}") from None
        return final


def checksum_path(run: Path) -> Path:
    """Return the path of the checksum of a finished run."""
    return run.with_name(run.name + CHECKSUM)


def checksum_of(name: str, content: bytes) -> bytes:
    """Return the checksum of a file in the format of `sha256sum`."""
    return f"{hashlib.sha256(content).hexdigest()}  {name}\n".encode()


class Store:
    """A results folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self) -> None:
        """Check that results can be written and locked, before anything is trained."""
        probe = self.root / f".writable-{os.getpid()}"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with _lock(probe):
                pass
        except (OSError, NotImplementedError) as error:
            raise LatentbenchError(
                f"results folder {self.root}: cannot be written or its files cannot be locked: "
                f"{getattr(error, 'strerror', None) or error}; choose another with --results"
            ) from None
        finally:
            with suppress(OSError):
                probe.unlink()

    def write(self, relative: str, content: str) -> Path:
        """Write a text file in the store, atomically; return its path."""
        return self.write_bytes(relative, content.encode())

    def write_bytes(self, relative: str, content: bytes) -> Path:
        """Write a file in the store, atomically; return its path."""
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

    def environments(self) -> set[str]:
        """Return the hashes of the environments that are described."""
        return {path.stem for path in (self.root / "environments").glob("*.json")}

    def remember_environment(self, name: str, content: dict[str, Any]) -> None:
        """Write an environment under its hash."""
        if not (self.root / "environments" / f"{name}.json").exists():
            self.write(f"environments/{name}.json", json.dumps(content, indent=2, sort_keys=True) + "\n")

    def paths(self, suite: str | None = None) -> list[Path]:
        """Return the files of all runs, of one suite or of every suite, oldest first."""
        runs = self.root / "runs"
        try:
            folders = [runs / suite] if suite else [path for path in runs.iterdir() if path.is_dir()]
            files = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
        except FileNotFoundError:
            return []
        found = [path for path in files if path.name.endswith(FINISHED) and not path.name.startswith(".")]
        return sorted(found, key=lambda path: path.name)

    def find(self, reference: str) -> Path:
        """Find a run by path, suite (its latest), (start of) its name or id, `latest`, or `latest~N`.

        The path of another results folder stands for the latest run there. A run that was interrupted
        before its first case has no records and is only found by its name.
        """
        if reference.endswith(FINISHED) and Path(reference).is_file():
            return Path(reference)
        if (Path(reference) / "runs").is_dir():
            return Store(Path(reference)).find("latest")
        paths = self.paths()
        if not paths:
            raise LatentbenchError(f"no runs in {self.root}; make one with: latentbench run")
        begun = [path for path in paths if path.stat().st_size]
        if reference.partition("~")[0] == "latest":
            return _counted_back(begun, reference)
        if of_suite := [path for path in begun if path.parent.name == reference]:
            return of_suite[-1]
        matches = [
            path for path in paths if stem_of(path).startswith(reference) or id_of(path).startswith(reference)
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
        """Append to the run `resume`, or to a new one.

        A new one is also started if `resume` is missing, or if another process is writing it.
        """
        check_suite_name(suite)
        folder = self.root / "runs" / suite
        folder.mkdir(parents=True, exist_ok=True)
        if resume and (lock := _try_lock(resume)):
            if resume.exists():
                with _appending(resume, lock) as writer:
                    yield writer
                return
            lock.release()
        begun, note = _begun(max((path.name for path in self.paths()), default=""))
        path = folder / f"{begun}-{(commit or 'nocommit')[:8]}-{secrets.token_hex(3)}{PARTIAL}"
        with _appending(path, _lock(_lock_path(path)), note) as writer:
            yield writer

    def is_written_now(self, path: Path) -> bool:
        """Return True if another process is writing the run."""
        if not _lock_path(path).exists():
            return False
        try:
            lock = _try_lock(path)
        except OSError:
            return False
        if lock:
            lock.release()
        return lock is None


@contextmanager
def _appending(path: Path, lock: FileLock, note: str | None = None) -> Iterator[Writer]:
    """Write a run under its lock; the lock's file is removed after the run is finished."""
    with lock:
        # Without a buffer: its content would be written again when the file is closed after a failed write.
        with open(path, "ab", buffering=0) as file:
            _cut_torn_line(path)
            writer = Writer(path, file, list(read(path).records), note)
            yield writer
        if not path.exists():
            Path(lock.lock_file).unlink(missing_ok=True)


def _lock_path(path: Path) -> Path:
    return path.with_name(f".{stem_of(path)}.lock")


def _lock(path: Path) -> FileLock:
    # Not for one thread alone: a generator may end in another thread than it began in.
    return FileLock(path, thread_local=False)


def _try_lock(path: Path) -> FileLock | None:
    """Take the lock of a run; None if another process holds it."""
    lock = _lock(_lock_path(path))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock


def _counted_back(paths: list[Path], reference: str) -> Path:
    _, _, count = reference.partition("~")
    if count and not count.isdigit():
        raise LatentbenchError(f"{reference!r}: write latest~N with a whole number N")
    back = int(count or 0)
    if back >= len(paths):
        raise LatentbenchError(f"{reference!r}: there are only {len(paths)} runs")
    return paths[-1 - back]


def _begun(last: str) -> tuple[str, str | None]:
    """Return the first part of a new run's name, later than the run named `last`, and a note if needed."""
    now = datetime.now(UTC).replace(microsecond=0)
    try:
        then = datetime.strptime(last.partition("-")[0], STAMP).replace(tzinfo=UTC)
    except ValueError:
        return now.strftime(STAMP), None
    note = None
    if then - now > SURELY_SET_BACK:
        note = (
            f"the clock says {now:%Y-%m-%d %H:%M} UTC, and the last run here was started at "
            f"{then:%Y-%m-%d %H:%M}: one of them is wrong; the new run is named one second after it, "
            "so that it is the latest"
        )
    return max(now, then + timedelta(seconds=1)).strftime(STAMP), note


def _cut_torn_line(path: Path) -> None:
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
