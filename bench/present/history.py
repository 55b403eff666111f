"""One metric over many runs: a table, a picture, and where it seems to have changed.

A series is one model in one environment by one version of the metric. Its change points are found by PELT
(Killick et al. 2012, doi:10.1080/01621459.2012.737745, as in `ruptures`) on the runs' means. They are
advice, for whoever looks for when something happened; a gate never rests on them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from io import BytesIO

import numpy as np
import ruptures
from matplotlib.axes import Axes
from numpy.typing import NDArray

from latentbench.analysis.catalogue import METRICS
from latentbench.analysis.figures.drawing.style import FAINT, SMALL, colour, panels, theme
from latentbench.bench.present import tables
from latentbench.bench.store.run import read
from latentbench.bench.store.store import STAMP, Store
from latentbench.data.errors import LatentbenchError
from latentbench.models.spec import ModelSpec

FEWEST = 6
"""Runs below which no change point is looked for."""
PENALTY = 6.0
"""Times ln n, for each change point. BIC's 2 is for a known noise; of few runs it is known badly, and at 6
about one quiet series of a dozen runs in 25 has a change point."""


@dataclass(frozen=True)
class Point:
    """The metric of one model in one run. `half_width` is that of the table's 95 % interval."""

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
    """Whether the series seems to be on another level from this run on: advice."""


@dataclass(frozen=True)
class Series:
    """One model over many runs, oldest first."""

    spec: ModelSpec
    points: tuple[Point, ...]

    @property
    def name(self) -> str:
        """What sets it apart."""
        return f"{self.points[0].model} ({self.points[0].suite})"


def timeline(
    store: Store, metric: str, *, suite: str | None = None, model: str | None = None
) -> list[Series]:
    """The series of a metric over all finished runs, of one suite or model if given.

    Raises LatentbenchError for an unknown metric, and where no run has it.
    """
    METRICS[metric]
    found: dict[tuple[object, ...], tuple[ModelSpec, list[Point]]] = {}
    for path in store.paths(suite):
        run = read(path)
        for row in tables.rows(run.last_records):
            record, cell = row.records[0], row.cells.get(metric)
            if cell is None or cell.value is None or model not in (None, row.label):
                continue
            version = max(m.version for r in row.records if (m := r.metric(metric)))
            point = Point(
                suite=run.suite,
                run=run.stem,
                begun=_begun(run.stem),
                commit=record.code.commit_label or None,
                environment=record.environment,
                model=row.label,
                seeds=cell.n_seeds,
                version=version,
                value=cell.value,
                half_width=cell.half_width,
            )
            key = (run.suite, record.model.model_dump_json(), record.recipe, record.environment, version)
            found.setdefault(key, (record.model, []))[1].append(point)
    if not found:
        what = f" of {model}" if model else ""
        raise LatentbenchError(f"no finished run in {store.root} has {metric}{what}")
    return [Series(spec, _marked(points, METRICS[metric].tolerance)) for spec, points in found.values()]


def _begun(stem: str) -> str:
    try:
        return datetime.strptime(stem.partition("-")[0], STAMP).replace(tzinfo=UTC).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return stem


def _marked(points: Sequence[Point], tolerance: float) -> tuple[Point, ...]:
    at = change_points(np.array([point.value for point in points]), tolerance)
    return tuple(Point(**{**asdict(point), "changed": index in at}) for index, point in enumerate(points))


def change_points(values: NDArray[np.float64], tolerance: float) -> list[int]:
    """Where a series `[n]` seems to go over to another level: the index of the first value there.

    The noise is judged by how much neighbours differ, so that a step does not hide itself; it is taken to
    be half the relative `tolerance` at least, so that runs that agree to the last digit do not make a
    change of every difference.
    """
    if len(values) < FEWEST:
        return []
    steps = np.abs(np.diff(values))
    noise = max(
        1.4826 * float(np.median(steps)) / math.sqrt(2), tolerance / 2 * abs(float(np.median(values))), 1e-12
    )
    scaled = (values / noise).reshape(-1, 1)
    found: list[int] = (
        ruptures.Pelt(model="l2", min_size=2, jump=1).fit(scaled).predict(pen=PENALTY * math.log(len(values)))
    )
    return found[:-1]


def rows(series: Sequence[Series], *, brief: bool = False) -> list[dict[str, str]]:
    """A row for each run of each model, oldest first within a model; `brief` for a narrow terminal."""
    return [
        {
            "model": point.model,
            **({} if brief else {"suite": point.suite, "run": point.run}),
            "begun": point.begun,
            "commit": point.commit or "",
            **({} if brief else {"environment": point.environment}),
            "seeds": str(point.seeds),
            "value": f"{point.value:.6g}",
            "±": "" if point.half_width is None else f"{point.half_width:.2g}",
            "advice": "changed here?" if point.changed else "",
        }
        for one in series
        for point in one.points
    ]


def draw(series: Sequence[Series], metric: str) -> bytes:
    """A panel for each series, as PNG: its values with their intervals, and its change points dashed."""
    definition = METRICS[metric]
    with theme():
        picture, all_axes = panels(len(series), columns=3, width=3.6, height=2.4)
        for axes, one in zip(all_axes, series, strict=True):
            values = [point.value for point in one.points]
            errors = [point.half_width or 0.0 for point in one.points]
            axes.errorbar(
                range(len(values)), values, yerr=errors, color=colour(one.spec), marker="o", capsize=3
            )
            for index, point in enumerate(one.points):
                if point.changed:
                    axes.axvline(index - 0.5, color=FAINT, linestyle="--", linewidth=1.2)
            axes.set_title(f"{one.name}, {one.points[0].environment[:6]}")
            _name_runs(axes, one.points)
            axes.margins(x=0.1)
        all_axes[0].set_ylabel(tables.heading(definition))
        picture.supxlabel(
            "runs, oldest first, by commit; dashed where the level seems to change", fontsize=SMALL
        )
        buffer = BytesIO()
        picture.savefig(buffer, dpi=130)
    return buffer.getvalue()


def _name_runs(axes: Axes, points: Sequence[Point]) -> None:
    """The first and the last run, and some between, by commit."""
    count = len(points)
    shown = sorted({round(index * (count - 1) / 2) for index in range(3)})
    axes.set_xticks(shown, [points[index].commit or points[index].begun[5:10] for index in shown])
