"""The writer of a run: its name, its lock, its lines and its checksum.

A run in progress ends in `.partial.jsonl`. The process that writes it holds a lock on a file next to it, and
renames it after its last case. Each line is on disk before the next case starts, so an interruption
loses at most the cases in progress. Names sort in the order in which runs were started, even if the clock
was set back in between.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from latentbench.bench.store.records.line import line_of
from latentbench.bench.store.records.record import Record
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


@contextmanager
def appending(path: Path, lock: FileLock, note: str | None = None) -> Iterator[Writer]:
    """Write a run under its lock; the lock's file is removed after the run is finished."""
    with lock:
        # Without a buffer: its content would be written again when the file is closed after a failed write.
        with open(path, "ab", buffering=0) as file:
            _cut_torn_line(path)
            writer = Writer(path, file, list(read(path).records), note)
            yield writer
        if not path.exists():
            Path(lock.lock_file).unlink(missing_ok=True)


def file_lock(path: Path) -> FileLock:
    """Return a lock with this file; it is not for one thread alone."""
    # A generator may end in another thread than it began in.
    return FileLock(path, thread_local=False)


def lock_of(run: Path) -> FileLock:
    """Return the lock of a run, not yet taken."""
    return file_lock(_lock_path(run))


def try_lock(run: Path) -> FileLock | None:
    """Take the lock of a run; None if another process holds it."""
    lock = lock_of(run)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock


def is_locked(run: Path) -> bool:
    """Return True if another process is writing the run."""
    if not _lock_path(run).exists():
        return False
    try:
        lock = try_lock(run)
    except OSError:
        return False
    if lock:
        lock.release()
    return lock is None


def new_run(folder: Path, commit: str | None, last: str) -> tuple[Path, str | None]:
    """Return the path of a new run, whose name sorts after the run named `last`, and a note if needed."""
    begun, note = _begun(last)
    return folder / f"{begun}-{(commit or 'nocommit')[:8]}-{secrets.token_hex(3)}{PARTIAL}", note


def _lock_path(run: Path) -> Path:
    return run.with_name(f".{stem_of(run)}.lock")


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
