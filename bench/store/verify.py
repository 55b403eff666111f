"""Is the store whole? Every file of it looked at, and for each that is not right what to do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from latentbench.bench.store.baseline import read_all, why_unfit
from latentbench.bench.store.environment import environment_hash
from latentbench.bench.store.record import Record
from latentbench.bench.store.store import PARTIAL, Run, Store, arrays_path, read, stem_of
from latentbench.data.errors import LatentbenchError

RESTORE = "restore it, as with git checkout"


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it was written; `broken` unless it is only worth knowing."""

    file: str
    what: str
    remedy: str
    broken: bool = True

    @property
    def state(self) -> str:
        """In a word."""
        return "broken" if self.broken else "note"

    def row(self) -> dict[str, str]:
        """As a row of a table."""
        return {"file": self.file, "what": self.what, "what to do": self.remedy, "state": self.state}

    def __str__(self) -> str:
        return f"{self.file}: {self.what}; {self.remedy}"


@dataclass(frozen=True)
class Verification:
    """What was looked at, and what was found."""

    runs: int
    records: int
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is broken."""
        return not any(problem.broken for problem in self.problems)


def verify(store: Store) -> Verification:
    """Look at every run, its arrays and environments, and at the baselines."""
    runs = [read(path) for path in sorted((store.root / "runs").glob("*/*.jsonl"))]
    problems = [problem for run in runs for problem in _of_run(run, store)]
    problems += [*_of_environments(runs, store), *_of_baselines(store), *_left_behind(store)]
    return Verification(len(runs), sum(len(run.records) for run in runs), tuple(problems))


def _of_run(run: Run, store: Store) -> Iterator[Problem]:
    name = str(run.path.relative_to(store.root))
    for warning in run.warnings:
        what, _, remedy = warning.removeprefix(f"{run.path.name}, ").partition("; ")
        yield Problem(name, what, remedy)
    if not run.records and not run.warnings:
        yield Problem(name, "holds no record", "delete it", broken=run.finished)
    if not run.finished and not store.is_written_now(run.path):
        yield Problem(name, "unfinished", f"go on with: latentbench run {run.suite}", broken=False)
    older = sorted({record.schema_version for record in run.records if record.schema_version < 2})
    if older:
        yield Problem(name, f"schema {older[0]}: no digests to check", "none needed", broken=False)
    for record in run.records:
        yield from _of_record(record, run, name)


def _of_record(record: Record, run: Run, name: str) -> Iterator[Problem]:
    if record.suite != run.suite or record.run != stem_of(run.path).rsplit("-", 1)[1]:
        yield Problem(
            name,
            f"{record.name}: says it is of run {record.run} of suite {record.suite}",
            "put the file back where it was written",
        )
    if record.arrays is None:
        return
    path = arrays_path(run.path, record.case)
    if not path.is_file():
        yield Problem(name, f"{record.name}: its arrays, {path.name}, are gone", RESTORE)
    elif hashlib.sha256(path.read_bytes()).hexdigest() != record.arrays:
        yield Problem(name, f"{record.name}: its arrays, {path.name}, were changed", RESTORE)


def _of_environments(runs: list[Run], store: Store) -> Iterator[Problem]:
    for name in sorted({record.environment for run in runs for record in run.records}):
        path = store.root / "environments" / f"{name}.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            yield Problem(_in(store, path), "is gone or cannot be read", RESTORE)
            continue
        if environment_hash(content) != name:
            yield Problem(_in(store, path), "was changed: its content does not give its name", RESTORE)


def _of_baselines(store: Store) -> Iterator[Problem]:
    try:
        known = read_all(store)
    except LatentbenchError as error:
        yield Problem("baselines.json", str(error), RESTORE)
        return
    for name, baseline in known.items():
        if problem := why_unfit(store, baseline):
            what, _, remedy = problem.partition("; ")
            yield Problem("baselines.json", f"{name}: {what}", remedy)


def _left_behind(store: Store) -> Iterator[Problem]:
    """What a writer that was killed left half written, and arrays of no run."""
    for path in sorted(store.root.rglob(".*.tmp")):
        yield Problem(_in(store, path), "left by a writer that was stopped", "delete it", broken=False)
    for folder in sorted(path for path in (store.root / "runs").glob("*/*") if path.is_dir()):
        if not any(folder.with_name(folder.name + end).is_file() for end in (".jsonl", PARTIAL)):
            yield Problem(
                _in(store, folder), "arrays without a run", f"{RESTORE}, or delete it", broken=False
            )


def _in(store: Store, path: Path) -> str:
    return str(path.relative_to(store.root))
