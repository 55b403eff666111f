"""Results in the formats of other tools, one way only: the records stay the source.

Each format is a function from a run and a folder to the files it made, registered under its name.
"""

from __future__ import annotations

import importlib
import json
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from latentbench.analysis.core.metric import Better, Metric
from latentbench.bench.present import tables
from latentbench.bench.store.record import Record
from latentbench.bench.store.run import Run
from latentbench.data.errors import LatentbenchError
from latentbench.data.files import write_atomically
from latentbench.data.registry import Registry

Exporter = Callable[[Run, Path], list[Path]]

EXPORTS: Registry[Exporter] = Registry("export format")


def export(run: Run, name: str, folder: Path) -> list[Path]:
    """Write a run in a format by name into a folder, which is made; returns what was written.

    Raises LatentbenchError for an unknown format, one whose package is not installed, and a folder
    that cannot be written.
    """
    exporter = EXPORTS[name]
    if not run.records:
        raise LatentbenchError(f"{run.path}: no records in this run")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return exporter(run, folder)
    except OSError as error:
        raise LatentbenchError(f"{folder}: cannot be written: {error.strerror or error}") from None


def as_frame(run: Run) -> pd.DataFrame:
    """The long table: a row for each metric of each case."""
    return pd.DataFrame([_flat(record, metric) for record, metric in _measured(run)])


def _flat(record: Record, metric: Metric) -> dict[str, object]:
    return {
        "suite": record.suite,
        "run": record.run,
        "case": record.case,
        "model": record.model.label,
        "family": record.model.family,
        "latent_dim": record.model.latent_dim,
        "beta": record.model.number("beta"),
        "data": record.data.name,
        "seed": record.seed,
        "status": record.status,
        "metric": metric.name,
        "version": metric.version,
        "value": metric.value,
        "se": metric.se,
        "n": metric.n,
        "unit": metric.unit,
        "better": metric.better,
        "reason": metric.reason,
        "environment": record.environment,
        "commit": record.code.commit,
        "started": record.started,
    }


def _measured(run: Run) -> Iterator[tuple[Record, Metric]]:
    for record in run.last_records:
        for metric in record.metrics:
            yield record, metric


def _write(path: Path, content: str) -> Path:
    write_atomically(path, content.encode())
    return path


@EXPORTS.register("csv")
def csv(run: Run, folder: Path) -> list[Path]:
    """The long table, comma-separated."""
    return [_write(folder / f"{run.stem}.csv", as_frame(run).to_csv(index=False))]


@EXPORTS.register("parquet")
def parquet(run: Run, folder: Path) -> list[Path]:
    """The long table, for pandas, DuckDB and others."""
    path = folder / f"{run.stem}.parquet"
    as_frame(run).to_parquet(path, index=False)
    return [path]


@EXPORTS.register("pytest-benchmark")
def pytest_benchmark(run: Run, folder: Path) -> list[Path]:
    """The timings, a round a seed: rates become seconds an image; for `pytest-benchmark compare`."""
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
    return [_write(folder / f"{run.stem}.json", json.dumps(content, indent=2))]


def _timed(run: Run) -> Iterator[tuple[tables.Row, str]]:
    for row in tables.rows(run.last_records):
        for name, cell in row.cells.items():
            if cell.value is not None and _unit(row, name) in ("images/s", "s"):
                yield row, name


def _unit(row: tables.Row, name: str) -> str:
    return next(metric.unit for record in row.records if (metric := record.metric(name)))


def _values(row: tables.Row, name: str) -> list[float]:
    metrics = [record.metric(name) for record in row.records]
    return [metric.value for metric in metrics if metric and metric.value is not None]


def _benchmark(row: tables.Row, name: str) -> dict[str, Any]:
    rate = _unit(row, name) == "images/s"
    seconds = sorted(1 / value if rate else value for value in _values(row, name))
    what = name.removesuffix("_images_per_second").removesuffix("_seconds")
    q1, median, q3 = (float(np.quantile(seconds, share)) for share in (0.25, 0.5, 0.75))
    return {
        "group": what,
        "name": f"{what}[{row.label}]",
        "fullname": f"latentbench::{what}[{row.label}]",
        "params": {"model": row.label},
        "param": row.label,
        "extra_info": {"unit": "seconds an image" if rate else "seconds", "metric": name},
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
    """Two files, for the action's tools customBiggerIsBetter and customSmallerIsBetter."""
    sides: dict[str, Better] = {"customBiggerIsBetter": "higher", "customSmallerIsBetter": "lower"}
    return [
        _write(folder / f"{name}.json", json.dumps(list(_entries(run, better)), indent=2, ensure_ascii=False))
        for name, better in sides.items()
    ]


def _entries(run: Run, better: Better) -> Iterator[dict[str, object]]:
    for row in tables.rows(run.last_records):
        for definition in tables.columns([row]):
            cell = row.cells[definition.name]
            if definition.better == better and cell.value is not None:
                spread = {} if cell.half_width is None else {"range": f"± {cell.half_width:.3g}"}
                yield {
                    "name": f"{row.label} · {definition.name}",
                    "unit": definition.unit or "1",
                    "value": cell.value,
                    **spread,
                    "extra": f"{cell.n_seeds} seeds, run {run.stem}",
                }


@EXPORTS.register("tensorboard")
def tensorboard(run: Run, folder: Path) -> list[Path]:
    """A TensorBoard run for each case: its metrics, and the curves of its training."""
    writers = _needed("torch.utils.tensorboard", "tensorboard")
    made = []
    for record in run.last_records:
        target = folder / run.stem / f"{record.model.label} seed {record.seed}"
        with writers.SummaryWriter(str(target)) as writer:
            for metric in record.metrics:
                if metric.value is not None:
                    writer.add_scalar(f"metrics/{metric.name}", metric.value, record.seed)
            for name, curve in run.arrays(record).items():
                if name.startswith("history/") and curve.ndim == 1:
                    for step, value in enumerate(curve.tolist(), start=1):
                        writer.add_scalar(f"training/{name.removeprefix('history/')}", value, step)
        made.append(target)
    return made


@EXPORTS.register("mlflow")
def mlflow(run: Run, folder: Path) -> list[Path]:
    """An MLflow run for each case, in the experiment of the suite's name, in `mlflow.db`."""
    package = _needed("mlflow", "mlflow")
    path = folder / "mlflow.db"
    client = package.MlflowClient(tracking_uri=f"sqlite:///{path.resolve()}")
    found = client.get_experiment_by_name(run.suite)
    experiment = found.experiment_id if found else client.create_experiment(run.suite)
    entities = importlib.import_module("mlflow.entities")
    for record in run.last_records:
        made = client.create_run(experiment, run_name=record.name)
        client.log_batch(
            made.info.run_id,
            metrics=[
                entities.Metric(metric.name, metric.value, 0, record.seed)
                for metric in record.metrics
                if metric.value is not None
            ],
            params=[entities.Param(name, str(value)) for name, value in _settings(record).items()],
            tags=[
                entities.RunTag("latentbench.run", run.stem),
                entities.RunTag("latentbench.environment", record.environment),
            ],
        )
        client.set_terminated(made.info.run_id, "FINISHED" if record.status == "ok" else "FAILED")
    return [path]


@EXPORTS.register("wandb")
def wandb(run: Run, folder: Path) -> list[Path]:
    """A W&B run for each case, offline; `wandb sync` sends what is in the folder."""
    package = _needed("wandb", "wandb")
    made = []
    for record in run.last_records:
        with package.init(
            project=f"latentbench-{run.suite}",
            name=record.name,
            group=run.stem,
            config={**_settings(record), "environment": record.environment},
            dir=str(folder),
            mode="offline",
            settings=package.Settings(silent=True, console="off", x_disable_stats=True),
        ) as theirs:
            theirs.log({m.name: m.value for m in record.metrics if m.value is not None})
            made.append(Path(theirs.dir).parent)
    return made


def _settings(record: Record) -> dict[str, object]:
    return {
        **record.model.model_dump(exclude_none=True),
        **{f"recipe.{name}": value for name, value in record.recipe.model_dump().items()},
        "data": record.data.name,
        "seed": record.seed,
    }


def _needed(module: str, extra: str) -> Any:
    """An optional package. Raises LatentbenchError saying how it is installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise LatentbenchError(
            f"export to {extra} needs a package: python -m pip install 'latentbench[{extra}]'"
        ) from None
