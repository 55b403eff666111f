"""Runs a sweep: a row on disk for each model at each point, one at a time on a device of their own."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import torch

from latentbench.analysis.performance.number_formats import PRECISIONS
from latentbench.analysis.performance.point import (
    Candidate,
    Place,
    Point,
    RowResult,
    measure,
    without_numbers,
)
from latentbench.analysis.performance.roofline import Ceilings, measure_ceilings
from latentbench.analysis.performance.workloads import step_recipe
from latentbench.bench.run.runner import Origin, complete_run, resolve_device, take_over, unfinished
from latentbench.bench.run.workers import threads_of
from latentbench.bench.store.environment import code, environment, environment_hash
from latentbench.bench.store.machine_state import Conditions, Observer
from latentbench.bench.store.record import DataReference, Record, Seconds, Status
from latentbench.bench.store.store import Run, Store, Writer, read
from latentbench.bench.sweep.spec import Model, Row, Sweep, rows

RESULTS: tuple[Status, ...] = ("ok", "skipped", "out_of_memory")
"""That a row cannot be had is a result; only a failure is tried again."""


class SweepWatcher(Protocol):
    """Is told how a sweep goes."""

    def rows_started(self, path: Path, total: int, done: int) -> None:
        """`done` of `total` rows are in the run already."""

    def row_finished(self, record: Record) -> None:
        """A row is on disk."""

    def note(self, message: str) -> None:
        """Something worth knowing."""


def run_sweep(
    sweep: Sweep,
    store: Store,
    watcher: SweepWatcher,
    *,
    preset: str | None = None,
    device: str = "auto",
    fresh: bool = False,
) -> Run:
    """Time what is not yet timed of a sweep; returns the finished run.

    As with a suite, what earlier runs have is taken over unless `fresh`, and an interrupted run is gone on
    with. Raises LatentbenchError for a device that is not there and a preset nobody knows.
    """
    store.prepare()
    place = resolve_device(device)
    chosen = sweep.preset(preset, place)
    models = [Model(spec, sweep) for spec in sweep.specs]
    wanted = [row for model in models for row in rows(model, chosen, place)]
    threads = threads_of(1)
    here = environment(place, threads=threads)
    origin = Origin(environment_hash(here), code().source, RESULTS)
    store.remember_environment(origin.environment, here)
    earlier = [] if fresh else [read(path) for path in store.paths(sweep.name)]
    if complete := complete_run(earlier, wanted, origin):
        watcher.note(f"all {len(wanted)} rows are done already; --fresh times them again")
        return complete
    with store.writer(sweep.name, code().commit, unfinished(earlier, store, origin)) as writer:
        todo = take_over(earlier, wanted, origin, writer)
        watcher.rows_started(writer.path, len(wanted), len(wanted) - len(todo))
        if todo:
            with _threads(threads):
                ceilings = measure_ceilings(place, PRECISIONS)
                watcher.note(_at_its_best(ceilings, here, threads))
                timer = _Timer(sweep.name, Place(place, ceilings, chosen.patience), origin, writer, watcher)
                for model in models:
                    timer.time(model, [row for row in todo if row.spec == model.spec])
        return read(writer.finish())


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """All cores, for as long as rows are timed."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _at_its_best(ceilings: Ceilings, here: dict[str, object], threads: int) -> str:
    """The ceilings in a line, before anything is held against them."""
    peaks = ", ".join(f"{rate / 1e9:,.0f} GFLOP/s {name}" for name, rate in ceilings.flops_per_second.items())
    device = here["gpu"] or f"{here['cpu']}, {threads} threads"
    return f"at its best {device} does {peaks}, and moves {ceilings.bytes_per_second / 1e9:,.1f} GB/s"


class _Timer:
    """Times rows and writes them down; remembers what a call took, to tell what the next will take."""

    def __init__(
        self, suite: str, place: Place, origin: Origin, writer: Writer, watcher: SweepWatcher
    ) -> None:
        self.suite, self.place, self.origin, self.writer, self.watcher = suite, place, origin, writer, watcher

    def time(self, model: Model, todo: list[Row]) -> None:
        """All rows of one model."""
        last: dict[Point, tuple[int, float]] = {}
        for row in todo:
            way = row.point.model_copy(update={"batch": 1})
            batch, seconds = last.get(way, (1, 0.0))
            record = self._row(model, row, expected_seconds=seconds * row.point.batch / batch)
            latency = record.metric("latency_seconds")
            if latency is not None and latency.value is not None:
                last[way] = row.point.batch, latency.value
            self.watcher.row_finished(self.writer.append(record))
        if isinstance(model.candidate, Candidate):
            model.candidate.forget_all()

    def _row(self, model: Model, row: Row, *, expected_seconds: float) -> Record:
        started, observer = datetime.now(UTC), Observer(self.place.device)
        began = time.perf_counter()
        if isinstance(model.candidate, Candidate):
            result = measure(model.candidate, row.point, self.place, expected_seconds=expected_seconds)
        else:
            result = without_numbers("skipped", str(model.candidate))
        spent = time.perf_counter() - began
        return self._record(row, result, observer.conditions(), started.isoformat(timespec="seconds"), spent)

    def _record(
        self, row: Row, result: RowResult, conditions: Conditions, started: str, seconds: float
    ) -> Record:
        return Record(
            suite=self.suite,
            run=self.writer.run_id,
            case=row.id,
            model=row.spec,
            data=_noise(row.input_shape),
            recipe=step_recipe(row.point.precision, row.point.batch),
            seed=0,
            analyses=row.analyses,
            status=result.outcome,
            reason=result.reason,
            metrics=result.metrics,
            environment=self.origin.environment,
            code=code(),
            started=started,
            seconds=Seconds(train=None, evaluate=seconds),
            point=row.point,
            conditions=conditions if result.outcome == "ok" else None,
        )


def _noise(shape: tuple[int, ...]) -> DataReference:
    """The data of a row: noise of a shape, which speed does not depend on."""
    name = "noise " + "×".join(map(str, shape))
    fingerprint = hashlib.sha256(json.dumps(["noise", *shape]).encode()).hexdigest()
    return DataReference(name=name, fingerprint=fingerprint, train=0, test=0)
