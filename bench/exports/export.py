"""Exports a run to the format of another tool; the records stay the source."""

from __future__ import annotations

from pathlib import Path

from latentbench.bench.exports import (  # noqa: F401
    benchmark_files,
    clip_files,
    experiment_trackers,
    long_table,
)
from latentbench.bench.exports.registry import EXPORTS
from latentbench.bench.store.run import Run
from latentbench.data.errors import LatentbenchError


def export(run: Run, name: str, folder: Path) -> list[Path]:
    """Write a run in a format by name into a folder, which is created; return the written files.

    A second export of the same run replaces the first. Raises LatentbenchError for an unknown format, a
    format whose package is not installed, and a folder that cannot be written.
    """
    exporter = EXPORTS[name]
    if not run.records:
        raise LatentbenchError(f"{run.path}: no records in this run")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return exporter(run, folder)
    except OSError as error:
        raise LatentbenchError(f"{folder}: cannot be written: {error.strerror or error}") from None
