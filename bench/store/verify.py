"""Checks every file of a store, and gives a remedy for each problem."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from latentbench.bench.provenance.environment import environment_hash
from latentbench.bench.store.baseline import FILE, read_all, why_unfit
from latentbench.bench.store.records.line import RESTORE, NotARecord, body_of, record_of
from latentbench.bench.store.records.record import SCHEMA
from latentbench.bench.store.run import FINISHED, PARTIAL, arrays_path, id_of, lines_of
from latentbench.bench.store.store import Store
from latentbench.bench.store.writer import CHECKSUM, checksum_path, is_locked
from latentbench.data.errors import LatentbenchError
from latentbench.data.storage.files import file_sha256


@dataclass(frozen=True)
class Problem:
    """One file or line that differs from what was written; `broken`, or else only a note."""

    file: str
    what: str
    remedy: str
    broken: bool = True

    @property
    def state(self) -> str:
        """The state: `broken` or `note`."""
        return "broken" if self.broken else "note"

    def row(self) -> dict[str, str]:
        """Return a row of a table."""
        return {"file": self.file, "what": self.what, "what to do": self.remedy, "state": self.state}

    def __str__(self) -> str:
        return f"{self.file}: {self.what}; {self.remedy}"


@dataclass(frozen=True)
class Verification:
    """The number of checked items, and the problems."""

    runs: int
    records: int
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """True if nothing is broken."""
        return not any(problem.broken for problem in self.problems)


CHECKED = ("schema_version", "suite", "run", "case", "status", "environment", "arrays")
"""The fields of a record that are compared with other files, or with other records."""


@dataclass(frozen=True)
class _Line:
    """The checked parts of one record, without validating all of it, which is too slow for a large store."""

    number: int
    raw: bytes
    content: dict[str, Any]

    @property
    def name(self) -> str:
        """The model and the seed."""
        return record_of(self.raw).name


def verify(store: Store) -> Verification:
    """Check every run with its arrays and environments, and the baselines.

    Raises LatentbenchError for a folder that is not a store.
    """
    if not (store.root / "runs").is_dir():
        raise LatentbenchError(f"{store.root}: is not a results folder: it has no folder 'runs'")
    problems: list[Problem] = []
    environments: set[str] = set()
    runs = records = 0
    for path in store.paths():
        lines, damages = _lines(path, _in(store, path))
        problems += [*damages, *_of_run(path, lines, store, damaged=bool(damages))]
        environments |= {line.content["environment"] for line in lines}
        runs, records = runs + 1, records + len(lines)
    problems += [*_of_environments(environments, store), *_of_baselines(store), *_left_behind(store)]
    return Verification(runs, records, tuple(problems))


def _lines(path: Path, name: str) -> tuple[list[_Line], list[Problem]]:
    """Return the lines that are records, and a problem for every other line."""
    lines, problems = [], []
    for number, raw in enumerate(lines_of(path), start=1):
        try:
            lines.append(_Line(number, raw, _content(raw)))
        except NotARecord as error:
            problems.append(Problem(name, f"line {number}: {error.what}", error.remedy))
    return lines, problems


def _content(raw: bytes) -> dict[str, Any]:
    """Return the checked fields of a record's line. A line whose digest matches was valid in its schema.

    The metrics, which are nearly all of a record, are not kept.
    """
    body, sealed = body_of(raw)
    content: Any = from_json(body) if sealed else None
    if not (isinstance(content, dict) and content.get("schema_version") in range(2, SCHEMA + 1)):
        content = record_of(raw).model_dump(mode="json")
    return {name: content[name] for name in CHECKED}


def _of_run(path: Path, lines: list[_Line], store: Store, *, damaged: bool) -> Iterator[Problem]:
    name, suite = _in(store, path), path.parent.name
    if path.name.endswith(PARTIAL):
        if not is_locked(path):
            remedy = f"run the same command again to resume, such as: latentbench run {suite}"
            yield Problem(name, f"unfinished, with {len(lines)} records", remedy, broken=False)
    elif not lines and not damaged:
        yield Problem(name, "holds no record", f"{RESTORE}, or delete it")
    else:
        yield from _of_checksum(path, name)
    older = sorted({schema for line in lines if (schema := line.content["schema_version"]) < 2})
    if older:
        yield Problem(name, f"schema {older[0]}: no digests to check", "none needed", broken=False)
    done: dict[str, int] = {}
    for line in lines:
        yield from _of_record(line, path, name)
        case = line.content["case"]
        if case in done:
            what = f"{line.name}: line {line.number} repeats line {done[case]}"
            yield Problem(name, what, RESTORE)
        elif line.content["status"] == "ok":
            done[case] = line.number


def _of_checksum(path: Path, name: str) -> Iterator[Problem]:
    """Compare a run with its checksum: lines that were removed or reordered leave the others intact."""
    try:
        expected = checksum_path(path).read_text(encoding="utf-8").partition(" ")[0]
    except (OSError, UnicodeDecodeError):
        what = f"its checksum, {path.name}{CHECKSUM}, is gone or was never written"
        yield Problem(name, what, RESTORE, broken=False)
        return
    if file_sha256(path) != expected:
        what = "records were removed, added or changed after the run was finished: the checksum differs"
        yield Problem(name, what, RESTORE)


def _of_record(line: _Line, path: Path, name: str) -> Iterator[Problem]:
    suite, run, arrays = (line.content[key] for key in ("suite", "run", "arrays"))
    if suite != path.parent.name or run != id_of(path):
        what = f"{line.name}: states that it belongs to run {run} of suite {suite}"
        yield Problem(name, what, "move the file back to where it was written")
    if arrays is None:
        return
    file = arrays_path(path, line.content["case"])
    if not file.is_file():
        yield Problem(name, f"{line.name}: its arrays, {file.name}, are gone", RESTORE)
    elif file_sha256(file) != arrays:
        yield Problem(name, f"{line.name}: its arrays, {file.name}, were changed", RESTORE)


def _of_environments(names: set[str], store: Store) -> Iterator[Problem]:
    for name in sorted(names):
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
        yield Problem(FILE, str(error), RESTORE)
        return
    for name, baseline in known.items():
        if unfit := why_unfit(store, baseline):
            yield Problem(FILE, f"{name}: {unfit.what}", unfit.remedy)


def _left_behind(store: Store) -> Iterator[Problem]:
    """Find partly written files of a writer that was stopped, and checksums and arrays without their run."""
    for path in sorted(store.root.rglob(".*.tmp")):
        yield Problem(_in(store, path), "left by a writer that was stopped", "delete it", broken=False)
    for path in sorted((store.root / "runs").glob("*/*")):
        if path.is_dir():
            if not any(path.with_name(path.name + end).is_file() for end in (FINISHED, PARTIAL)):
                remedy = f"{RESTORE}, or delete it"
                yield Problem(_in(store, path), "arrays without a run", remedy, broken=False)
        elif path.name.endswith(CHECKSUM) and not path.with_name(path.name.removesuffix(CHECKSUM)).is_file():
            yield Problem(
                _in(store, path), "the run of this checksum is gone", f"{RESTORE}, or delete this too"
            )


def _in(store: Store, path: Path) -> str:
    return str(path.relative_to(store.root))
