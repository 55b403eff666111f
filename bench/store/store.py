"""The results store: plain files that git, a text editor and pandas can read.

results/
  runs/<suite>/<utc>-<commit8>-<run id>.jsonl         one line per case; immutable once finished
  runs/<suite>/<utc>-<commit8>-<run id>.jsonl.sha256  its checksum, as `sha256sum --check` reads it
  runs/<suite>/<utc>-<commit8>-<run id>/              arrays the figures are drawn from, one file per case
  environments/<hash>.json
  baselines.json                                      names of runs, with reasons
  tables/<suite>.csv, .md                             regenerated
  figures/<suite>/*.png                               regenerated
  reports/<suite>.html                                regenerated
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from latentbench.bench.store.run import FINISHED, id_of, stem_of
from latentbench.bench.store.writer import Writer, appending, file_lock, lock_of, new_run, try_lock
from latentbench.data.errors import LatentbenchError
from latentbench.data.storage.files import write_atomically

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


class Store:
    """A results folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self) -> None:
        """Check that results can be written and locked, before anything is trained."""
        probe = self.root / f".writable-{os.getpid()}"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with file_lock(probe):
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
        if resume and (lock := try_lock(resume)):
            if resume.exists():
                with appending(resume, lock) as writer:
                    yield writer
                return
            lock.release()
        path, note = new_run(folder, commit, max((path.name for path in self.paths()), default=""))
        with appending(path, lock_of(path), note) as writer:
            yield writer


def _counted_back(paths: list[Path], reference: str) -> Path:
    _, _, count = reference.partition("~")
    if count and not count.isdigit():
        raise LatentbenchError(f"{reference!r}: write latest~N with a whole number N")
    back = int(count or 0)
    if back >= len(paths):
        raise LatentbenchError(f"{reference!r}: there are only {len(paths)} runs")
    return paths[-1 - back]
