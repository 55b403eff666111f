"""The long table of a run, one row for each metric of each case, for pandas, DuckDB and spreadsheets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from latentbench.analysis.core.metric import Metric
from latentbench.bench.exports.registry import EXPORTS, write
from latentbench.bench.present.rows import TableRow, rows
from latentbench.bench.store.records.record import Record
from latentbench.bench.store.run import Run
from latentbench.bench.text import escaping


def as_frame(run: Run) -> pd.DataFrame:
    """Return the long table: one row for each metric of each case."""
    table = rows(run.last_records)
    settings = list(dict.fromkeys(name for row in table for name in row.records[0].model.labelled_settings()))
    return pd.DataFrame(
        [
            _flat(record, metric, settings, row)
            for row in table
            for record in row.records
            for metric in record.metrics
        ]
    )


def _flat(record: Record, metric: Metric, settings: Sequence[str], row: TableRow) -> dict[str, object]:
    return {
        "suite": record.suite,
        "run": record.run,
        "case": record.case,
        "model": row.label,
        "family": record.model.family,
        "latent_dim": record.model.latent_dim,
        "code_shape": record.model.size,
        **{name: record.model.settings.get(name) for name in settings},
        "data": row.data or record.data.name,
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


@EXPORTS.register("csv")
def csv(run: Run, folder: Path) -> list[Path]:
    """Write the long table, comma-separated."""
    return [write(folder / f"{run.stem}.csv", escaping.csv(as_frame(run)))]


@EXPORTS.register("parquet")
def parquet(run: Run, folder: Path) -> list[Path]:
    """Write the long table, for pandas, DuckDB and others."""
    path = folder / f"{run.stem}.parquet"
    as_frame(run).to_parquet(path, index=False)
    return [path]
