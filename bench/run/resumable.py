"""One resumable run: the skeleton that suites and speed sweeps share.

A caller states the results that it wants. Results of earlier runs are copied, the others are produced
one by one, and each is on disk as soon as it exists. The same call resumes an interrupted run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch

from latentbench.bench.provenance.code import code
from latentbench.bench.provenance.environment import environment, environment_hash
from latentbench.bench.store.index import IndexPlace, open_index
from latentbench.bench.store.records.record import FeatureReference, JudgeReference, Record, Status
from latentbench.bench.store.run import Run, read
from latentbench.bench.store.store import Store
from latentbench.bench.store.writer import Writer, is_locked
from latentbench.models.spec import ModelSpec


class Watcher(Protocol):
    """Receives the events of a run, and shows its progress."""

    def run_started(self, path: Path, what: str, total: int, done: int) -> None:
        """A run starts; it already has `done` of `total` results (`what`: cases or rows)."""

    def stage_started(self, name: str, total: int, what: str) -> None:
        """A stage such as `training` starts; it has `total` steps (`what`: models, rows or steps)."""

    def stage_advanced(self, label: str) -> None:
        """One step of the stage is done; `label` names its model."""

    def result_written(self, record: Record, details: str | None) -> None:
        """A record is on disk; `details` is the traceback of an unexpected failure."""

    def note(self, message: str) -> None:
        """Show a message to the user."""


class Wanted(Protocol):
    """A requested result: a case of a suite, or a row of a sweep."""

    @property
    def id(self) -> str:
        """The identity, equal on every machine."""

    @property
    def spec(self) -> ModelSpec:
        """The model."""

    @property
    def analyses(self) -> tuple[str, ...]:
        """The analyses to run."""

    @property
    def features(self) -> tuple[FeatureReference, ...]:
        """The networks in whose features images are compared."""

    @property
    def family_code(self) -> str | None:
        """A hash of the installed package that defines the model's family; None for our own families."""


W = TypeVar("W", bound=Wanted)


@dataclass(frozen=True)
class Origin:
    """The properties that an earlier result must share to be copied."""

    environment: str
    source: str
    accepted: tuple[Status, ...] = ("ok",)
    """The statuses that count as results; a case with another status is repeated."""
    judges: Collection[tuple[str, ...]] | None = None
    """The hashes of each data set's judges; None as long as they are not known."""
    elsewhere: bool = False
    """True if results of other machines count: in a run on many machines, those that such a run has."""

    def is_place_of(self, record: Record) -> bool:
        """Return True if a record was measured where its result counts."""
        return record.environment == self.environment or (self.elsewhere and bool(record.nodes))

    def has_judges(self, judges: Sequence[JudgeReference]) -> bool:
        """Return True if something was measured by the judges of its data set, or by none.

        Judges are trained on one data set, so those of another have other hashes.
        """
        return not judges or self.judges is None or tuple(judge.hash for judge in judges) in self.judges

    def vouches_for(self, record: Record, wanted: Wanted) -> bool:
        """Return True if the record is a result of `wanted`, measured by this code in this environment.

        The code of an imported model is part of its spec.
        """
        return (
            record.status in self.accepted
            and record.case == wanted.id
            and record.model.is_of(wanted.spec)
            and record.family_code == wanted.family_code
            and self.is_place_of(record)
            and record.code.source == self.source
            and record.analyses == wanted.analyses
            and self.has_judges(record.judges)
            and record.features == wanted.features
        )


@dataclass(frozen=True)
class Request(Generic[W]):
    """The results that a call requests. `what` names them in messages: cases or rows."""

    suite: str
    what: str
    wanted: Sequence[W]
    device: torch.device
    fresh: bool = False
    accepted: tuple[Status, ...] = ("ok",)
    judges: Callable[[], Collection[tuple[str, ...]]] = tuple
    """Returns the hashes of each data set's judges, trained if needed. Not called if nothing is missing."""
    elsewhere: bool = False
    """True if the results come from many machines."""


@dataclass(frozen=True)
class OpenRun(Generic[W]):
    """A run that is being written, and its missing results."""

    suite: str
    origin: Origin
    todo: list[W]
    writer: Writer
    watcher: Watcher

    def write(
        self, record: Record, arrays: dict[str, np.ndarray] | None = None, details: str | None = None
    ) -> Record:
        """Put a record on disk and report it; return it with the digest of its arrays."""
        written = self.writer.append(record, arrays)
        self.watcher.result_written(written, details)
        return written


def run_resumable(
    request: Request[W], store: Store, watcher: Watcher, produce: Callable[[OpenRun[W]], None]
) -> Run:
    """Return a finished run with exactly the wanted results, the latest of the store.

    `produce` writes a record for everything in `todo`. A result of an earlier run is copied,
    unless the request is `fresh`. An interrupted run is resumed if nothing was started after it.
    """
    wanted = request.wanted
    here = environment(request.device)
    origin = Origin(environment_hash(here), code().source, request.accepted, elsewhere=request.elsewhere)
    store.remember_environment(origin.environment, here)
    all_done = f"all {len(wanted)} {request.what} are already done; --fresh measures them again"
    latest = None if request.fresh else _latest(store, request.suite)
    if latest and _holds_exactly(latest, wanted, origin):
        watcher.note(all_done)
        return latest
    # One run must not mix results of several judges, which may have been trained again in between.
    origin = replace(origin, judges=request.judges())
    resumed = latest.path if latest and _can_be_resumed(latest, wanted, origin) else None
    with store.writer(request.suite, code().run_commit, resumed) as writer:
        if writer.note:
            watcher.note(writer.note)
        todo = _lacking(writer.records, wanted, origin)
        if not request.fresh:
            todo = _take_over(todo, request, origin, store, writer)
        watcher.run_started(writer.path, request.what, len(wanted), len(wanted) - len(todo))
        if todo:
            produce(OpenRun(request.suite, origin, todo, writer, watcher))
        else:
            watcher.note(all_done)
        return read(writer.finish())


def _latest(store: Store, suite: str) -> Run | None:
    """Return the suite's last run if no run of any suite was started after it."""
    paths = store.paths()
    return read(paths[-1]) if paths and paths[-1].parent.name == suite else None


def _holds_exactly(run: Run, wanted: Sequence[Wanted], origin: Origin) -> bool:
    """Return True if a finished run contains a result of everything wanted and nothing else."""
    cases = {record.case for record in run.records}
    return (
        run.finished and cases == {each.id for each in wanted} and not _lacking(run.records, wanted, origin)
    )


def _can_be_resumed(run: Run, wanted: Sequence[Wanted], origin: Origin) -> bool:
    """Return True if an interrupted run is of this code and environment, and contains only wanted results."""
    cases = {record.case for record in run.records}
    return (
        not run.finished
        and cases <= {each.id for each in wanted}
        and all(origin.is_place_of(record) for record in run.records)
        and {record.code.source for record in run.records} <= {origin.source}
        and all(origin.has_judges(record.judges) for record in run.records)
        and not is_locked(run.path)
    )


def _lacking(records: Sequence[Record], wanted: Sequence[W], origin: Origin) -> list[W]:
    """Return the wanted results that are not among the records."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record.case, []).append(record)
    return [
        each
        for each in wanted
        if not any(origin.vouches_for(record, each) for record in found.get(each.id, []))
    ]


def _take_over(todo: list[W], request: Request[W], origin: Origin, store: Store, writer: Writer) -> list[W]:
    """Copy results of earlier runs into the run that is being written; return the missing ones."""
    left: list[W] = []
    environments = [origin.environment]
    if origin.elsewhere:
        environments += sorted(store.environments() - {origin.environment})
    with open_index(store, request.suite) as index:
        for analyses, group in groupby(todo, key=lambda each: each.analyses):
            found_in = [
                index.records(request.suite, environment, origin.source, analyses, origin.accepted)
                for environment in environments
            ]
            for each in group:
                places = [place for found in found_in for place in found.get(each.id, [])]
                if found := _first_result(places, each, origin):
                    run, record = found
                    # A copy that is lost in a crash is made again.
                    writer.append(record.reused_in(writer.run_id), run.arrays(record), durably=False)
                else:
                    left.append(each)
    return left


def _first_result(places: Sequence[IndexPlace], wanted: Wanted, origin: Origin) -> tuple[Run, Record] | None:
    for place in places:
        record = place.read()
        if record and origin.vouches_for(record, wanted):
            return Run(place.run, ()), record
    return None
