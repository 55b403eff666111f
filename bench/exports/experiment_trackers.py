"""Experiment trackers: TensorBoard, MLflow and W&B, each with one run for each case.

The runs have names and identifiers that follow from the case, so that a second export replaces the first.
"""

from __future__ import annotations

import hashlib
import importlib
import shutil
from pathlib import Path
from typing import Any

from latentbench.bench.exports.registry import EXPORTS
from latentbench.bench.present.rows import rows
from latentbench.bench.store.records.record import Record
from latentbench.bench.store.run import Run
from latentbench.bench.text import escaping
from latentbench.data.errors import optional_package


@EXPORTS.register("tensorboard")
def tensorboard(run: Run, folder: Path) -> list[Path]:
    """Write a TensorBoard run for each case: its metrics, and the curves of its training."""
    writers = _needed("torch.utils.tensorboard", "tensorboard")
    made = []
    for label, record in _cases(run):
        target = folder / run.stem / escaping.file_name(f"{label} seed {record.seed}")
        for earlier in target.glob("events.out.tfevents.*"):
            earlier.unlink()
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
    """Write an MLflow run for each case, in the experiment of the suite's name, in `mlflow.db`."""
    package = _needed("mlflow", "mlflow")
    entities = importlib.import_module("mlflow.entities")
    path = folder / "mlflow.db"
    client = package.MlflowClient(tracking_uri=f"sqlite:///{path.resolve()}")
    found = client.get_experiment_by_name(run.suite)
    experiment = found.experiment_id if found else client.create_experiment(run.suite)
    for label, record in _cases(run):
        identifier = _identifier(run, record)
        earlier = client.search_runs([experiment], filter_string=f"tags.`latentbench.id` = '{identifier}'")
        for each in earlier:
            client.delete_run(each.info.run_id)
        made = client.create_run(experiment, run_name=f"{escaping.printable(label)}, seed {record.seed}")
        client.log_batch(
            made.info.run_id,
            metrics=[
                entities.Metric(metric.name, metric.value, 0, record.seed)
                for metric in record.metrics
                if metric.value is not None
            ],
            params=[entities.Param(name, str(value)) for name, value in _settings(record).items()],
            tags=[
                entities.RunTag("latentbench.id", identifier),
                entities.RunTag("latentbench.run", run.stem),
                entities.RunTag("latentbench.environment", record.environment),
            ],
        )
        client.set_terminated(made.info.run_id, "FINISHED" if record.status == "ok" else "FAILED")
    return [path]


@EXPORTS.register("wandb")
def wandb(run: Run, folder: Path) -> list[Path]:
    """Write an offline W&B run for each case; `wandb sync` uploads the folder."""
    package = _needed("wandb", "wandb")
    made = []
    for label, record in _cases(run):
        identifier = _identifier(run, record)
        for earlier in (folder / "wandb").glob(f"offline-run-*-{identifier}"):
            shutil.rmtree(earlier)
        with package.init(
            project=f"latentbench-{run.suite}",
            id=identifier,
            name=f"{escaping.printable(label)}, seed {record.seed}",
            group=run.stem,
            config={**_settings(record), "environment": record.environment},
            dir=str(folder),
            mode="offline",
            settings=package.Settings(silent=True, console="off", x_disable_stats=True),
        ) as theirs:
            theirs.log({m.name: m.value for m in record.metrics if m.value is not None})
            made.append(Path(theirs.dir).parent)
    # Its service may still be writing when a run is finished; it ends when all is on disk.
    package.teardown()
    return made


def _cases(run: Run) -> list[tuple[str, Record]]:
    """Return the records with the name of their row, which is unique to model and data set."""
    return [(row.name, record) for row in rows(run.last_records) for record in row.records]


def _identifier(run: Run, record: Record) -> str:
    """Return an identifier that is the same for a case of a run in every export."""
    return hashlib.sha256(f"{run.stem}/{record.case}".encode()).hexdigest()[:16]


def _settings(record: Record) -> dict[str, object]:
    return {
        **record.model.model_dump(exclude_none=True),
        **{f"recipe.{name}": value for name, value in record.recipe.model_dump().items()},
        "data": record.data.name,
        "seed": record.seed,
    }


def _needed(module: str, extra: str) -> Any:
    """Import an optional package. Raises LatentbenchError with the command that installs it."""
    return optional_package(module, f"export to {extra}", extra, extra)
