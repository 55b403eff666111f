"""Runs a sweep: times one model at one point after the other, and writes a row to disk for each."""

from __future__ import annotations

import hashlib
import json
import time
from datetime import UTC, datetime

from latentbench.analysis.core.devices import find_device
from latentbench.analysis.performance.cores import threads as using_threads
from latentbench.analysis.performance.cores import threads_of
from latentbench.analysis.performance.point import PRECISIONS, SweepPoint
from latentbench.analysis.performance.roofline import Peaks, measure_peaks
from latentbench.analysis.workloads.candidate import Candidate
from latentbench.analysis.workloads.measure import RowResult, WorkloadPlace, measure, without_numbers
from latentbench.analysis.workloads.operations import step_recipe
from latentbench.bench.provenance.code import code
from latentbench.bench.provenance.environment import environment
from latentbench.bench.provenance.machine_state import Conditions, Observer
from latentbench.bench.run.resumable import OpenRun, Request, Watcher, run_resumable
from latentbench.bench.store.records.record import DataReference, Record, Seconds, Status
from latentbench.bench.store.records.recorded_model import RecordedModel
from latentbench.bench.store.run import Run
from latentbench.bench.store.store import Store
from latentbench.bench.sweep.rows import SweepModel, SweepRow, rows
from latentbench.bench.sweep.spec import Sweep

ACCEPTED: tuple[Status, ...] = ("ok", "skipped", "out_of_memory")
"""A row that cannot be measured is a result too; only a failed one is measured again."""


def run_sweep(
    sweep: Sweep,
    store: Store,
    watcher: Watcher,
    *,
    preset: str | None = None,
    device: str = "auto",
    fresh: bool = False,
) -> Run:
    """Time the rows of a sweep that no earlier run has; return the finished run.

    Raises LatentbenchError for a device that does not exist and for an unknown preset.
    """
    store.prepare()
    place = find_device(device)
    chosen = sweep.preset(preset, place)
    models = [SweepModel(spec, sweep) for spec in sweep.specs]
    wanted = [row for model in models for row in rows(model, chosen, place)]
    request = Request(sweep.name, "rows", wanted, place, fresh=fresh, accepted=ACCEPTED)
    count = threads_of(jobs=1)

    def produce(run: OpenRun[SweepRow]) -> None:
        with using_threads(count):
            peaks = measure_peaks(place, PRECISIONS)
            watcher.note(_peaks_in_words(peaks, environment(place), count))
            watcher.stage_started("timing", len(run.todo), "rows")
            timer = _Timer(run, WorkloadPlace(place, peaks, chosen.patience))
            for model in models:
                timer.time(model, [row for row in run.todo if row.spec == model.spec])

    return run_resumable(request, store, watcher, produce)


def _peaks_in_words(peaks: Peaks, here: dict[str, object], threads: int) -> str:
    """Return the measured peaks in one line, shown before any row is compared with them."""
    rates = ", ".join(f"{rate / 1e9:,.0f} GFLOP/s {name}" for name, rate in peaks.flops_per_second.items())
    device = here["gpu"] or f"{here['cpu']}, {threads} threads"
    return f"measured peak of {device}: {rates}, {peaks.bytes_per_second / 1e9:,.1f} GB/s"


class _Timer:
    """Times rows and writes them to disk; predicts the time of a call from the batch size before it."""

    def __init__(self, run: OpenRun[SweepRow], place: WorkloadPlace) -> None:
        self.run, self.place = run, place

    def time(self, model: SweepModel, todo: list[SweepRow]) -> None:
        """Time all rows of one model."""
        last: dict[SweepPoint, tuple[int, float]] = {}
        for row in todo:
            way = row.point.model_copy(update={"batch": 1})
            batch, seconds = last.get(way, (1, 0.0))
            record = self._row(model, row, expected_seconds=seconds * row.point.batch / batch)
            latency = record.metric("latency_seconds")
            if latency is not None and latency.value is not None:
                last[way] = row.point.batch, latency.value
            self.run.write(record)
            self.run.watcher.stage_advanced(row.spec.label)
        if isinstance(model.candidate, Candidate):
            model.candidate.forget_all()

    def _row(self, model: SweepModel, row: SweepRow, *, expected_seconds: float) -> Record:
        started, observer = datetime.now(UTC), Observer(self.place.device)
        began = time.perf_counter()
        if isinstance(model.candidate, Candidate):
            result = measure(model.candidate, row.point, self.place, expected_seconds=expected_seconds)
        else:
            result = without_numbers("skipped", str(model.candidate))
        spent = time.perf_counter() - began
        return self._record(row, result, observer.conditions(), started.isoformat(timespec="seconds"), spent)

    def _record(
        self, row: SweepRow, result: RowResult, conditions: Conditions, started: str, seconds: float
    ) -> Record:
        return Record(
            suite=self.run.suite,
            run=self.run.writer.run_id,
            case=row.id,
            model=RecordedModel.of(row.spec),
            data=_noise(row.input_shape),
            recipe=step_recipe(row.point.precision, row.point.batch),
            seed=0,
            analyses=row.analyses,
            trained=False,
            status=result.outcome,
            reason=result.reason,
            metrics=result.metrics,
            environment=self.run.origin.environment,
            family_code=row.family_code,
            threads=threads_of(jobs=1),
            code=code(),
            started=started,
            seconds=Seconds(train=None, evaluate=seconds),
            point=row.point,
            conditions=conditions if result.outcome == "ok" else None,
        )


def _noise(shape: tuple[int, ...]) -> DataReference:
    """Return the data of a row: noise of a shape, since speed does not depend on the values."""
    name = "noise " + "×".join(map(str, shape))
    fingerprint = hashlib.sha256(json.dumps(["noise", *shape]).encode()).hexdigest()
    return DataReference(name=name, fingerprint=fingerprint, train=0, test=0)
