"""Baselines: names that runs go by, each with its reason, in one file that is reviewed as a diff."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from latentbench.bench.store.reference import reference_store
from latentbench.bench.store.store import FINISHED, Run, Store, read
from latentbench.data.errors import LatentbenchError
from latentbench.data.registry import unknown
from latentbench.data.validation import explain

FILE = "baselines.json"


class Baseline(BaseModel):
    """A run that others are held against."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    suite: str
    run: str
    """`<utc>-<commit8>-<run id>`."""
    sha256: str
    """Of the run's file, so that a run that was changed since is not taken for it."""
    why: Annotated[str, Field(min_length=1)]
    set: str
    """When, in UTC."""


class Baselines(BaseModel):
    """The whole file: baselines by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Annotated[int, Field(ge=1, le=1)] = 1
    baselines: dict[str, Baseline] = {}


def read_all(store: Store) -> dict[str, Baseline]:
    """Every baseline by name. Raises LatentbenchError for a file that is none, naming the key."""
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
        raise LatentbenchError(
            f"{path}: {explain(error, Baselines)}; restore the file, as with git checkout"
        ) from None


def set_baseline(store: Store, name: str, run: Run, why: str) -> Baseline:
    """Give a finished run a name, in place of the one that had it; `why` is kept with it.

    Raises LatentbenchError for a run that is not finished, not whole, or lies in another store.
    """
    if not run.finished or run.path.resolve().parent.parent != (store.root / "runs").resolve():
        raise LatentbenchError(f"{run.path}: a baseline must be a finished run of {store.root}")
    if run.warnings:
        raise LatentbenchError(f"a baseline must be whole: {run.warnings[0]}")
    if not why.strip():
        raise LatentbenchError("--why must say why this run is the one to hold others against")
    baseline = Baseline(
        suite=run.suite,
        run=run.stem,
        sha256=_sha256(run.path),
        why=why.strip(),
        set=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    with _locked(store):
        known = {**read_all(store), name: baseline}
        content = Baselines(baselines=dict(sorted(known.items())))
        store.write(FILE, json.dumps(content.model_dump(), indent=2, ensure_ascii=False) + "\n")
    return baseline


def find_baseline(store: Store, name: str) -> Run:
    """Return the run that a baseline of the store names, or else one of the reference store.

    Raises LatentbenchError for an unknown name, and where the run is gone or was changed since.
    """
    shipped = reference_store(store.root)
    if shipped and name not in read_all(store) and name in read_all(shipped):
        store = shipped
    known = read_all(store)
    if not known:
        raise LatentbenchError(
            f"no baselines in {store.root}; set one with: latentbench baseline set {name} RUN --why TEXT"
        )
    if name not in known:
        raise unknown("baseline", name, list(known))
    if problem := why_unfit(store, known[name]):
        raise LatentbenchError(f"baseline {name!r}: {problem}")
    return read(path_of(store, known[name]))


def path_of(store: Store, baseline: Baseline) -> Path:
    """Where the baseline's run lies."""
    return store.root / "runs" / baseline.suite / f"{baseline.run}{FINISHED}"


def why_unfit(store: Store, baseline: Baseline) -> str:
    """Why a baseline cannot be held against; empty where it can."""
    path = path_of(store, baseline)
    remedy = "restore it, as with git checkout, or set another with: latentbench baseline set"
    if not path.is_file():
        return f"{path} is not there; {remedy}"
    if _sha256(path) != baseline.sha256:
        return f"{path} was changed after it was set as a baseline; {remedy}"
    return ""


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def _locked(store: Store) -> Iterator[None]:
    """Two commands never write the file at once; the lock is the results folder's own."""
    folder = os.open(store.root, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
