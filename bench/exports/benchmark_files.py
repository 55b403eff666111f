"""Files for tools that follow benchmarks: pytest-benchmark and github-action-benchmark."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from latentbench.analysis.core.metric import Better
from latentbench.bench.exports.registry import EXPORTS, write
from latentbench.bench.present.rows import TableRow, columns, rows
from latentbench.bench.store.run import Run
from latentbench.data.errors import LatentbenchError


@EXPORTS.register("pytest-benchmark")
def pytest_benchmark(run: Run, folder: Path) -> list[Path]:
    """Write timings for `pytest-benchmark compare`, one round per seed: rates become seconds per image."""
    record = run.last_records[0]
    where = run.environment(record.environment)
    content = {
        "machine_info": {
            "node": "",
            "machine": where.get("device", ""),
            "system": where.get("os", ""),
            "python_version": where.get("python", ""),
            "cpu": {"brand_raw": where.get("cpu", ""), "count": where.get("cpu_cores", 0)},
        },
        "commit_info": {"id": record.code.commit, "dirty": record.code.dirty},
        "benchmarks": [_benchmark(row, name) for row, name in _timed(run)],
        "datetime": record.started,
        "version": "5.0.0",
    }
    if not content["benchmarks"]:
        raise LatentbenchError(f"{run.stem}: no timings to export; the suite did not measure throughput")
    return [write(folder / f"{run.stem}.json", json.dumps(content, indent=2))]


def _timed(run: Run) -> Iterator[tuple[TableRow, str]]:
    for row in rows(run.last_records):
        for name, cell in row.cells.items():
            if cell.value is not None and _unit(row, name) in ("images/s", "s"):
                yield row, name


def _unit(row: TableRow, name: str) -> str:
    return row.metric(name).unit


def _values(row: TableRow, name: str) -> list[float]:
    metrics = [record.metric(name) for record in row.records]
    return [metric.value for metric in metrics if metric and metric.value is not None]


def _benchmark(row: TableRow, name: str) -> dict[str, Any]:
    rate = _unit(row, name) == "images/s"
    seconds = sorted(1 / value if rate else value for value in _values(row, name))
    what = name.removesuffix("_images_per_second").removesuffix("_seconds")
    q1, median, q3 = (float(np.quantile(seconds, share)) for share in (0.25, 0.5, 0.75))
    return {
        "group": what,
        "name": f"{what}[{row.name}]",
        "fullname": f"latentbench::{what}[{row.name}]",
        "params": {"model": row.name},
        "param": row.name,
        "extra_info": {"unit": "seconds per image" if rate else "seconds", "metric": name},
        "options": {
            "disable_gc": False,
            "timer": "perf_counter",
            "min_rounds": 1,
            "max_time": 0.0,
            "min_time": 0.0,
            "warmup": True,
        },
        "stats": {
            "min": seconds[0],
            "max": seconds[-1],
            "mean": statistics.fmean(seconds),
            "stddev": statistics.stdev(seconds) if len(seconds) > 1 else 0.0,
            "rounds": len(seconds),
            "median": median,
            "iqr": q3 - q1,
            "q1": q1,
            "q3": q3,
            "iqr_outliers": 0,
            "stddev_outliers": 0,
            "outliers": "0;0",
            "ld15iqr": seconds[0],
            "hd15iqr": seconds[-1],
            "ops": 1 / statistics.fmean(seconds),
            "total": sum(seconds),
            "iterations": 1,
            "data": seconds,
        },
    }


@EXPORTS.register("github-action-benchmark")
def github_action_benchmark(run: Run, folder: Path) -> list[Path]:
    """Write two files, for the action's tools customBiggerIsBetter and customSmallerIsBetter."""
    sides: dict[str, Better] = {"customBiggerIsBetter": "higher", "customSmallerIsBetter": "lower"}
    return [
        write(folder / f"{name}.json", json.dumps(list(_entries(run, better)), indent=2, ensure_ascii=False))
        for name, better in sides.items()
    ]


def _entries(run: Run, better: Better) -> Iterator[dict[str, object]]:
    for row in rows(run.last_records):
        for definition in columns([row]):
            cell = row.cells[definition.name]
            if definition.better == better and cell.value is not None:
                spread = {} if cell.half_width is None else {"range": f"± {cell.half_width:.3g}"}
                yield {
                    "name": f"{row.name} · {definition.name}",
                    "unit": definition.unit or "1",
                    "value": cell.value,
                    **spread,
                    "extra": f"{cell.measured} seeds, run {run.stem}",
                }
