"""Baselines: named runs, each with a reason, in one file that is easy to review as a diff."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from latentbench.bench.store.records.line import RESTORE
from latentbench.bench.store.reference import reference_store
from latentbench.bench.store.run import FINISHED, Run, read
from latentbench.bench.store.store import Store
from latentbench.data.errors import LatentbenchError
from latentbench.data.registry import unknown
from latentbench.data.storage.files import file_sha256
from latentbench.data.text.validation import explain
from latentbench.data.text.visible import visible

FILE = "baselines.json"
LONGEST_NAME = 100


class Baseline(BaseModel):
    """A run with which others are compared."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    suite: str
    run: str
    """`<utc>-<commit8>-<run id>`."""
    sha256: str
    """sha256 of the run's file, so that a later change of it is noticed."""
    why: Annotated[str, Field(min_length=1)]
    set: str
    """The time, in UTC."""


class Baselines(BaseModel):
    """The file of all baselines, by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Annotated[int, Field(ge=1, le=1)] = 1
    baselines: dict[str, Baseline] = {}


def read_all(store: Store) -> dict[str, Baseline]:
    """Return every baseline by name. Raises LatentbenchError for a damaged file, naming the key."""
    path = store.root / FILE
    try:
        content = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise LatentbenchError(f"{path}: cannot be read: {error}") from None
    try:
        return Baselines.model_validate_json(content).baselines
    except ValidationError as error:
        raise LatentbenchError(f"{path}: {explain(error, Baselines)}; {RESTORE}") from None


def set_baseline(store: Store, name: str, run: Run, why: str) -> Baseline:
    """Name a finished run, in place of the run that had the name; `why` is stored with it.

    Raises LatentbenchError for a bad name, and for a run that is unfinished, damaged or in another store.
    """
    _check_name(name)
    if not run.finished or run.path.resolve().parent.parent != (store.root / "runs").resolve():
        raise LatentbenchError(f"{run.path}: a baseline must be a finished run of {store.root}")
    if run.warnings:
        raise LatentbenchError(f"a baseline must be undamaged: {run.warnings[0]}")
    if not run.records:
        raise LatentbenchError(f"{run.path}: a baseline must hold records, and this run has none")
    if not why.strip():
        raise LatentbenchError("--why must state why this run is the baseline, got nothing")
    baseline = Baseline(
        suite=run.suite,
        run=run.stem,
        sha256=file_sha256(run.path),
        why=why.strip(),
        set=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    with _lock(store):
        _write(store, {**read_all(store), name: baseline})
    return baseline


def remove_baseline(store: Store, name: str) -> Baseline:
    """Remove a baseline's name; the run stays. Raises LatentbenchError for an unknown name."""
    with _lock(store):
        known = read_all(store)
        removed = _named(store, known, name)
        _write(store, {other: baseline for other, baseline in known.items() if other != name})
    return removed


def find_baseline(store: Store, name: str) -> Run:
    """Return the run that a baseline of the store names, or else one of the reference store.

    Raises LatentbenchError for an unknown name, and if the run is missing or was changed since.
    """
    shipped = reference_store(store.root)
    if shipped and name not in read_all(store) and name in read_all(shipped):
        store = shipped
    baseline = _named(store, read_all(store), name)
    if unfit := why_unfit(store, baseline):
        raise LatentbenchError(f"baseline {name!r}: {unfit}")
    return read(path_of(store, baseline))


def path_of(store: Store, baseline: Baseline) -> Path:
    """Return the path of the baseline's run."""
    return store.root / "runs" / baseline.suite / f"{baseline.run}{FINISHED}"


@dataclass(frozen=True)
class Unfit:
    """The reason why a baseline cannot be used, and its remedy."""

    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}"


def why_unfit(store: Store, baseline: Baseline) -> Unfit | None:
    """Return why a baseline cannot be used; None if it can."""
    path = path_of(store, baseline)
    remedy = f"{RESTORE}, or set another with: latentbench baseline set"
    if not path.is_file():
        return Unfit(f"{path} is not there", remedy)
    if file_sha256(path) != baseline.sha256:
        return Unfit(f"{path} was changed after it was set as a baseline", remedy)
    return None


def _named(store: Store, known: dict[str, Baseline], name: str) -> Baseline:
    if not known:
        raise LatentbenchError(
            f"no baselines in {store.root}; set one with: latentbench baseline set {name} RUN --why TEXT"
        )
    if name not in known:
        raise unknown("baseline", name, list(known))
    return known[name]


def _check_name(name: str) -> None:
    """Refuse names that cannot be seen, or that would change how a terminal or table shows them."""
    try:
        if len(visible(name)) > LONGEST_NAME:
            raise ValueError(f"must have at most {LONGEST_NAME} characters")
    except ValueError as error:
        raise LatentbenchError(f"baseline name {name!r}: {error}") from None


def _write(store: Store, baselines: dict[str, Baseline]) -> None:
    content = Baselines(baselines=dict(sorted(baselines.items())))
    store.write(FILE, json.dumps(content.model_dump(), indent=2, ensure_ascii=False) + "\n")


def _lock(store: Store) -> FileLock:
    """Return the lock that keeps two commands from writing the file at the same time."""
    return FileLock(store.root / f".{FILE}.lock")
