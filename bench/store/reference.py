"""The reference store: runs that are committed with the source, and that README and docs quote.

It is an ordinary results folder, `results/reference` in the source checkout. An installed package does not
contain it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import safetensors.numpy

from latentbench.bench.store.records.line import line_of
from latentbench.bench.store.records.per_example import FOLDER
from latentbench.bench.store.run import Run, arrays_path
from latentbench.bench.store.store import Store
from latentbench.bench.store.writer import checksum_of, checksum_path
from latentbench.data.errors import LatentbenchError

REFERENCE = "reference"


def is_reference(run: str) -> bool:
    """Return True if a run is requested as `reference` or `reference:SUITE`."""
    return run.partition(":")[0] == REFERENCE


def reference_store(results: Path) -> Store | None:
    """Return the reference store in `results`, in the current folder, or in the checkout of this code.

    None if none of them has one.
    """
    checkout = Path(__file__).resolve().parents[2]
    folders = (results / REFERENCE, *(root / "results" / REFERENCE for root in (Path(), checkout)))
    return next((Store(folder) for folder in folders if (folder / "runs").is_dir()), None)


def find_reference(run: str, results: Path) -> Path:
    """Return the latest reference run of the suite in `reference:SUITE`.

    Raises LatentbenchError if there is no reference store, or no run of that suite in it.
    """
    store = reference_store(results)
    if store is None:
        raise LatentbenchError(
            f"{run!r}: there is no reference store here; it is the folder results/reference of a source "
            "checkout, and is not part of the installed package. Run this in a checkout, or give a path"
        )
    suite = run.partition(":")[2]
    suites = sorted({path.parent.name for path in store.paths()})
    if suite not in suites:
        problem = f"the reference store {store.root} has no such suite" if suite else "name the suite"
        raise LatentbenchError(
            f"{run!r}: {problem}; choose {', '.join(f'{REFERENCE}:{name}' for name in suites)}"
        )
    return store.find(suite)


Arrays = Literal["all", "examples", "none"]


def copy_run(run: Run, target: Store, *, arrays: Arrays = "none") -> Path:
    """Copy a finished run and its environments into another store, and return the path of the copy.

    Figures are drawn from a record's arrays, which take most of a run's space. A copy keeps `all` arrays,
    only the `examples` (results per test image, which comparisons use), or `none`. Its records are sealed
    again, since each contains the hash of its arrays; nothing else in them changes.

    Raises LatentbenchError for a run that is unfinished or damaged, or that the target already has.
    """
    copy = target.root / "runs" / run.suite / run.path.name
    if not run.finished or run.warnings:
        raise LatentbenchError(f"{run.path}: only a finished and undamaged run can be copied")
    if copy.exists():
        raise LatentbenchError(f"{copy} already exists; delete it and its arrays to copy the run again")
    lines = []
    for record in run.records:
        kept = {} if arrays == "none" else dict(run.arrays(record))
        if arrays == "examples":
            kept = {name: values for name, values in kept.items() if name.startswith(f"{FOLDER}/")}
        saved = safetensors.numpy.save(kept) if kept else None
        if saved:
            target.write_bytes(str(arrays_path(copy, record.case).relative_to(target.root)), saved)
        lines.append(line_of(record.with_arrays(saved)))
        if environment := run.environment(record.environment):
            target.remember_environment(record.environment, environment)
    content = b"".join(lines)
    target.write_bytes(str(copy.relative_to(target.root)), content)
    target.write_bytes(str(checksum_path(copy).relative_to(target.root)), checksum_of(copy.name, content))
    return copy
