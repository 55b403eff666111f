"""The outputs of a run: its table on the terminal, and the files that are regenerated from it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from latentbench.bench.cli.options import EXIT_FAILED, Format, emit, err, out, say, short
from latentbench.bench.text import escaping
from latentbench.data.errors import LatentbenchError

if TYPE_CHECKING:
    from latentbench.bench.store.records.record import Status
    from latentbench.bench.store.run import Run
    from latentbench.bench.store.store import Store


def show(
    run: Run, store: Store, output: Format, *, figures: bool, accepted: tuple[Status, ...] = ("ok",)
) -> None:
    """Print a finished run and write its outputs. Exit 1 if a record's status is not accepted."""
    print_table(run, output)
    _write_outputs(run, store, figures=figures)
    if any(record.status not in accepted for record in run.last_records):
        raise typer.Exit(EXIT_FAILED)


def print_table(run: Run, output: Format) -> None:
    """Print the table of a suite or of a sweep, and the problems of its cases."""
    from latentbench.bench.present import tables, terminal_table
    from latentbench.bench.present.rows import rows as rows_of

    if run.is_sweep:
        _print_sweep(run, output)
        return
    rows = rows_of(run.last_records)
    if not rows:
        raise LatentbenchError(f"{run.path}: no records in this run")
    match output:
        case Format.rich:
            emit(terminal_table.as_rich(rows, title=tables.title(run.suite, rows), width=out.width))
            out.print(escaping.plain_lines(tables.footnote(rows), "dim"), highlight=False)
        case Format.csv:
            sys.stdout.write(tables.as_csv(rows))
        case Format.md:
            sys.stdout.write(tables.as_markdown(rows))
        case Format.json:
            sys.stdout.write(tables.as_json(rows))
    for row in rows:
        for problem in row.problems:
            say(err, problem, "red")


def _print_sweep(run: Run, output: Format) -> None:
    from latentbench.bench.sweep import view

    records = run.last_records
    match output:
        case Format.rich:
            emit(view.as_rich(records, title=view.title(run.suite, records)))
            out.print(escaping.plain_lines(view.footnote(records), "dim"), highlight=False)
        case Format.csv:
            sys.stdout.write(view.as_csv(records))
        case Format.md:
            sys.stdout.write(view.as_markdown(records))
        case Format.json:
            sys.stdout.write(view.as_json(records))


def _write_outputs(run: Run, store: Store, *, figures: bool) -> None:
    """The files that are regenerated from a run, and their paths."""
    written = {"records": run.path, **_write_tables(run, store)}
    if figures:
        from latentbench.bench.present.figures import drawn, figures_folder
        from latentbench.bench.present.report import write_report

        with err.status("drawing the figures"):
            if drawn(run, store):
                written["figures"] = figures_folder(run, store)
            if not run.is_sweep:
                written["report"] = write_report(run, store)
    for name, path in written.items():
        err.print(f"[dim]{name:>9}[/]  {escaping.markup(short(path))}", highlight=False, soft_wrap=True)


def _write_tables(run: Run, store: Store) -> dict[str, Path]:
    from latentbench.bench.present import tables
    from latentbench.bench.present.rows import rows as rows_of
    from latentbench.bench.sweep import view

    if run.is_sweep:
        csv, markdown = view.as_csv(run.last_records), view.as_markdown(run.last_records)
    else:
        rows = rows_of(run.last_records)
        csv, markdown = tables.as_csv(rows), tables.as_markdown(rows)
    return {
        "table": store.write(f"tables/{run.suite}.csv", csv),
        "": store.write(f"tables/{run.suite}.md", markdown),
    }
