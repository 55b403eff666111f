"""One metric over many runs: a table, and the runs where its level seems to change.

A series is one model in one environment by one version of the metric. Its change points are found by PELT
(Killick et al. 2012, doi:10.1080/01621459.2012.737745, as in `ruptures`) on the runs' means. They are advice
for a person who looks for the cause of a change; no gate uses them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentbench.analysis.definitions import definition_of
from latentbench.analysis.statistics.estimates import estimate, newest
from latentbench.bench.store.index import Index, IndexedModel, IndexEntry, open_index
from latentbench.bench.store.records.data_sets import label_on
from latentbench.bench.store.records.record import numbered
from latentbench.bench.store.run import stem_of
from latentbench.bench.store.store import Store
from latentbench.bench.store.writer import STAMP
from latentbench.data.errors import LatentbenchError
from latentbench.data.text import numbers
from latentbench.models.spec import ForeignSpec, ModelSpec

FEWEST = 6
"""The least number of runs for which a change point is searched."""
PENALTY = 6.0
"""The cost of a change point, times ln n. BIC's 2 is for a known noise; few runs do not show the noise well,
and with 6 about one in 25 series of a dozen runs without a change has a change point."""


@dataclass(frozen=True)
class HistoryPoint:
    """The metric of one model in one run. `half_width` is that of the table's 95 % interval."""

    metric: str
    suite: str
    run: str
    begun: str
    commit: str | None
    environment: str
    model: str
    seeds: int
    version: int
    value: float
    half_width: float | None
    changed: bool = False
    """True if the level of the series seems to change with this run."""


@dataclass(frozen=True)
class Series:
    """One model over many runs, oldest first."""

    spec: ModelSpec
    points: tuple[HistoryPoint, ...]

    @property
    def name(self) -> str:
        """The model and the suite."""
        return f"{self.points[0].model} ({self.points[0].suite})"


def timeline(
    store: Store, metric: str, *, suite: str | None = None, model: str | None = None
) -> list[Series]:
    """Return the series of a metric over all finished runs, or over those of one suite or model.

    Raises LatentbenchError for an unknown metric, and if no run has it.
    """
    definition = definition_of(metric)
    with open_index(store, suite) as index:
        series = _series(index, metric, model)
    if not series:
        what = f" of {model}" if model else ""
        raise LatentbenchError(f"no finished run in {store.root} has {metric}{what}")
    return [replace(one, points=_marked(one.points, definition.tolerance)) for one in series]


def _series(index: Index, metric: str, model: str | None) -> list[Series]:
    models = index.models()
    found: dict[tuple[str, str, str, int], list[HistoryPoint]] = {}
    for path, entries in index.entries(metric):
        groups: dict[tuple[str, str], list[IndexEntry]] = {}
        for entry in entries:
            groups.setdefault((entry.identity, entry.environment), []).append(entry)
        labels = _labels([models[identity] for identity, _ in groups])
        for ((identity, environment), group), label in zip(groups.items(), labels, strict=True):
            if model in (None, label):
                current = newest(group)
                key = (path.parent.name, identity, environment, current[0].version)
                found.setdefault(key, []).append(_point(metric, path, label, current))
    specs = {key: ForeignSpec.model_validate(models[key[1]].settings) for key in found}
    return [Series(specs[key], tuple(points)) for key, points in found.items()]


def _labels(models: Sequence[IndexedModel]) -> list[str]:
    """Return a name for each model of a run, with its data set if the run has several."""
    several = len({model.data for model in models}) > 1
    return numbered(label_on(model.label, model.data * several) for model in models)


def _point(metric: str, path: Path, label: str, entries: Sequence[IndexEntry]) -> HistoryPoint:
    """Return the estimate of a model over the seeds of a run."""
    found = estimate(entries)
    assert found is not None
    return HistoryPoint(
        metric=metric,
        suite=path.parent.name,
        run=stem_of(path),
        begun=_begun(stem_of(path)),
        commit=entries[0].commit or None,
        environment=entries[0].environment,
        model=label,
        seeds=len(entries),
        version=entries[0].version,
        value=found.value,
        half_width=found.half_width,
    )


@cache
def _begun(stem: str) -> str:
    try:
        return datetime.strptime(stem.partition("-")[0], STAMP).replace(tzinfo=UTC).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return stem


def _marked(points: Sequence[HistoryPoint], tolerance: float) -> tuple[HistoryPoint, ...]:
    at = change_points(np.array([point.value for point in points]), tolerance)
    return tuple(replace(point, changed=index in at) for index, point in enumerate(points))


def change_points(values: NDArray[np.float64], tolerance: float) -> list[int]:
    """Return the indices of a series `[n]` at which a new level seems to begin.

    The noise is estimated from the differences of neighbours, so that a step does not hide itself. It is at
    least half the relative `tolerance`, so that among runs that agree to the last digit not every difference
    is a change.
    """
    if len(values) < FEWEST:
        return []
    import ruptures  # slow to import

    steps = np.abs(np.diff(values))
    noise = max(
        1.4826 * float(np.median(steps)) / math.sqrt(2), tolerance / 2 * abs(float(np.median(values))), 1e-12
    )
    scaled = (values / noise).reshape(-1, 1)
    found: list[int] = (
        ruptures.KernelCPD(kernel="linear", min_size=2)
        .fit(scaled)
        .predict(pen=PENALTY * math.log(len(values)))
    )
    return found[:-1]


def rows(series: Sequence[Series], *, brief: bool = False) -> list[dict[str, object]]:
    """Return one row per run of each model, oldest first within a model; `brief` for a narrow terminal."""
    return [
        {
            "model": point.model,
            **({} if brief else {"suite": point.suite, "run": point.run}),
            "begun": point.begun,
            "commit": point.commit or "",
            **({} if brief else {"environment": point.environment}),
            "seeds": point.seeds,
            **_numbers(point, rounded=brief),
            "advice": "changed here?" if point.changed else "",
        }
        for one in series
        for point in one.points
    ]


def _numbers(point: HistoryPoint, *, rounded: bool) -> dict[str, object]:
    """Return the value and half of its interval, in full for a program or rounded together for a reader."""
    if not rounded:
        return {"value": point.value, "±": point.half_width}
    value, error = numbers.value_and_error(
        point.value, point.half_width, definition_of(point.metric).decimals
    )
    return {"value": value, "±": error}
