"""An index of a store's runs, so that a query for a few numbers does not read every record.

The index is a cache, never the truth: a run whose file changed since it was indexed is indexed again, and a
record found through the index is read from its run. Numbers are stored per run and metric, with a digest.
What is written and what is read of the database stay in one file, which makes it long.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic_core import from_json

from latentbench.bench.provenance.code import Code
from latentbench.bench.store.records.line import NotARecord, body_of, record_of
from latentbench.bench.store.records.record import Record, identity_of
from latentbench.bench.store.run import PARTIAL, lines_of
from latentbench.bench.store.store import Store
from latentbench.data.storage.cache import cache_root

TABLES = """
CREATE TABLE IF NOT EXISTS runs (id INTEGER PRIMARY KEY, path TEXT UNIQUE, size INTEGER, modified INTEGER);
CREATE TABLE IF NOT EXISTS models (identity TEXT PRIMARY KEY, label TEXT, data TEXT, settings TEXT);
CREATE TABLE IF NOT EXISTS records (
    run INTEGER, position INTEGER, offset INTEGER, length INTEGER, last INTEGER, name TEXT, status TEXT,
    origin TEXT, seed INTEGER, identity TEXT, environment TEXT, commit_label TEXT
);
CREATE INDEX IF NOT EXISTS records_by_run ON records (run);
CREATE INDEX IF NOT EXISTS records_by_origin ON records (origin);
CREATE TABLE IF NOT EXISTS numbers (
    metric TEXT, run INTEGER, content BLOB, digest BLOB, PRIMARY KEY (metric, run)
);
"""
NUMBERS = ("value", "se", "n", "version", "common_se")
"""The stored values of a metric, NaN if there is none."""
VERSION = hashlib.sha256(f"{TABLES}{NUMBERS}".encode()).hexdigest()[:8]
"""Part of the file's name, so that an index with other tables is never read."""


class IndexEntry(NamedTuple):
    """The last record of a case in a run, with its value of one metric."""

    identity: str
    environment: str
    commit: str
    seed: int
    value: float
    se: float | None
    n: int | None
    version: int
    common_se: float | None


@dataclass(frozen=True)
class IndexedModel:
    """The shared properties of records of one identity. `settings` are those of a model spec."""

    label: str
    data: str
    """The name of the data set."""
    settings: dict[str, Any]


@dataclass(frozen=True)
class IndexPlace:
    """The location of a record: its run, and its bytes."""

    run: Path
    offset: int
    length: int

    def read(self) -> Record | None:
        """Read the record; None if the run was changed or removed since it was indexed."""
        try:
            with open(self.run, "rb") as file:
                file.seek(self.offset)
                return record_of(file.read(self.length))
        except (OSError, NotARecord):
            return None


@contextmanager
def open_index(store: Store, suite: str | None = None) -> Iterator[Index]:
    """Open the index of a store's runs, of one suite or of all, and bring it up to date.

    A damaged file is replaced; if none can be written, the index is made in memory.
    """
    paths = store.paths(suite)
    file = _file(store)
    for attempt in (file, file, ":memory:"):
        try:
            with suppress(OSError):
                file.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(attempt, timeout=60, isolation_level=None)
            # A lost index is made again, so writes do not wait for the disk.
            database.execute("PRAGMA synchronous = OFF")
            database.executescript(TABLES)
            index = Index(store, database, paths)
            break
        except sqlite3.DatabaseError:
            if attempt == ":memory:":
                raise
            with suppress(OSError):
                file.unlink()
    with closing(database):
        yield index


def _file(store: Store) -> Path:
    name = hashlib.sha256(str(store.root.resolve()).encode()).hexdigest()[:16]
    return cache_root() / "index" / f"{name}-{VERSION}.sqlite"


class Index:
    """An open index; see `open_index`."""

    def __init__(self, store: Store, database: sqlite3.Connection, paths: Sequence[Path]) -> None:
        self._store, self._database = store, database
        self._ids = {path: self._indexed(path) for path in paths}
        self._forget_removed()

    def entries(self, metric: str) -> Iterator[tuple[Path, list[IndexEntry]]]:
        """Yield the finished runs that have a metric, oldest first, with an entry for each value of it."""
        for path in self._ids:
            content = None if path.name.endswith(PARTIAL) else self._numbers(metric, path)
            if content is None:
                continue
            value, se, n, version, common_se = np.frombuffer(content).reshape(len(NUMBERS), -1).tolist()
            rows = self._database.execute(
                "SELECT position, identity, environment, commit_label, seed FROM records "
                "WHERE run = ? AND last = 1 ORDER BY position",
                (self._ids[path],),
            )
            yield (
                path,
                [
                    IndexEntry(
                        identity,
                        environment,
                        commit,
                        seed,
                        value[at],
                        se[at] if se[at] == se[at] else None,
                        int(n[at]) if n[at] == n[at] else None,
                        int(version[at]),
                        common_se[at] if common_se[at] == common_se[at] else None,
                    )
                    for at, identity, environment, commit, seed in rows
                    if value[at] == value[at]
                ],
            )

    def models(self) -> dict[str, IndexedModel]:
        """Return every model by identity."""
        rows = self._database.execute("SELECT identity, label, data, settings FROM models")
        return {
            identity: IndexedModel(label, data, json.loads(settings))
            for identity, label, data, settings in rows
        }

    def records(
        self, suite: str, environment: str, source: str, analyses: Sequence[str], statuses: Sequence[str]
    ) -> dict[str, list[IndexPlace]]:
        """Return the locations of the records of this origin, by case, the latest first."""
        rows = self._database.execute(
            "SELECT run, offset, length, name, status FROM records WHERE origin = ? ORDER BY position",
            (_origin(suite, environment, source, analyses),),
        )
        paths = {run: path for path, run in self._ids.items()}
        order = {run: age for age, run in enumerate(self._ids.values())}
        found: dict[str, list[IndexPlace]] = {}
        for run, offset, length, name, status in sorted(rows, key=lambda row: -order.get(row[0], -1)):
            if run in paths and status in statuses:
                found.setdefault(name, []).append(IndexPlace(paths[run], offset, length))
        return found

    def _numbers(self, metric: str, path: Path) -> bytes | None:
        """Return the stored values of a metric in a run; None if the run does not have it.

        Values that were changed in the index are read from the run again.
        """
        query = "SELECT content, digest FROM numbers WHERE metric = ? AND run = ?"
        found = self._database.execute(query, (metric, self._ids[path])).fetchone()
        if found and _digest(found[0]) != found[1]:
            with _transaction(self._database) as database:
                _forget(database, self._ids[path])
            self._ids[path] = self._indexed(path)
            found = self._database.execute(query, (metric, self._ids[path])).fetchone()
        return found[0] if found else None

    def _indexed(self, path: Path) -> int:
        """Return the number of a run, after indexing it if the index does not have the current file."""
        name, about = str(path.relative_to(self._store.root)), path.stat()
        file = (about.st_size, about.st_mtime_ns)
        known = self._known(name)
        if known and known[1:] == file:
            return known[0]
        with _transaction(self._database) as database:
            # Another process may have indexed it in the meantime.
            known = self._known(name)
            if known and known[1:] == file:
                return known[0]
            if known:
                _forget(database, known[0])
            query = "INSERT INTO runs (path, size, modified) VALUES (?, ?, ?)"
            run = database.execute(query, (name, *file)).lastrowid
            assert run is not None
            _insert(database, run, path)
        return run

    def _forget_removed(self) -> None:
        """Delete the rows of runs whose files are gone."""
        runs = self._database.execute("SELECT id, path FROM runs").fetchall()
        present = set(self._ids.values())
        gone = [run for run, path in runs if run not in present and not (self._store.root / path).exists()]
        if gone:
            with _transaction(self._database) as database:
                for run in gone:
                    _forget(database, run)

    def _known(self, name: str) -> tuple[int, int, int] | None:
        query = "SELECT id, size, modified FROM runs WHERE path = ?"
        known: tuple[int, int, int] | None = self._database.execute(query, (name,)).fetchone()
        return known


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield database
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def _forget(database: sqlite3.Connection, run: int) -> None:
    for table, key in (("records", "run"), ("numbers", "run"), ("runs", "id")):
        database.execute(f"DELETE FROM {table} WHERE {key} = ?", (run,))


def _insert(database: sqlite3.Connection, run: int, path: Path) -> None:
    """Index the lines of a run that are records."""
    contents, places, offset = [], [], 0
    for line in lines_of(path):
        with suppress(NotARecord):
            contents.append(_content(line))
            places.append((offset, len(line)))
        offset += len(line)
    last = {content["case"]: position for position, content in enumerate(contents)}
    models, rows = {}, []
    for position, (content, place) in enumerate(zip(contents, places, strict=True)):
        identity, code = identity_of(content), content["code"]
        models[identity] = (
            identity,
            content["label"],
            content["data"]["name"],
            json.dumps(content["model"]),
        )
        origin = _origin(content["suite"], content["environment"], code["source"], content["analyses"])
        rows.append(
            (
                *(run, position, *place, last[content["case"]] == position, content["case"]),
                *(content["status"], origin, content["seed"], identity, content["environment"]),
                Code.model_construct(**{"project_commit": None, "project_dirty": None, **code}).commit_label,
            )
        )
    database.executemany("INSERT OR REPLACE INTO models VALUES (?, ?, ?, ?)", models.values())
    database.executemany(f"INSERT INTO records VALUES ({', '.join('?' * 12)})", rows)
    numbers: dict[str, Any] = {}
    for position, content in enumerate(contents):
        for metric in content["metrics"]:
            name = metric["name"]
            if name not in numbers:
                numbers[name] = np.full((len(NUMBERS), len(contents)), np.nan)
            values = (metric.get(field) for field in NUMBERS)
            numbers[name][:, position] = [np.nan if value is None else value for value in values]
    contents_of = {metric: array.tobytes() for metric, array in numbers.items()}
    blobs = [(metric, run, content, _digest(content)) for metric, content in contents_of.items()]
    database.executemany("INSERT INTO numbers VALUES (?, ?, ?, ?)", blobs)


def _content(line: bytes) -> dict[str, Any]:
    """Return a record's line as JSON, with the label of its model, and the point of a sweep.

    A line with a matching digest was a valid record, and need not be validated again.
    """
    body, _ = body_of(line)
    content: dict[str, Any] = from_json(body)
    if content.get("model_label") and content.get("point") is None:
        return {**content, "label": content["model_label"]}
    record = record_of(line)
    return {**record.model_dump(mode="json"), "label": record.label}


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _origin(suite: str, environment: str, source: str, analyses: Sequence[str]) -> str:
    content = json.dumps([suite, environment, source, list(analyses)])
    return hashlib.sha256(content.encode()).hexdigest()[:16]
