"""`latentbench audit`: which measure of fidelity or diversity to believe, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from latentbench.bench.cli.options import Format, FormatOption, emit, err, out, say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from latentbench.analysis.audit.battery import BatterySize
    from latentbench.analysis.audit.verdicts import AuditCell


def add_to(app: typer.Typer) -> None:
    """Make the command part of the command line."""
    app.command("audit")(audit)


def audit(
    full: Annotated[
        bool,
        typer.Option("--full", help="Run all points and repeats of the published battery; this takes long."),
    ] = False,
    check: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Run only this check; repeatable.")
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Audit only these measures: neighbours, clipped, gaps, overlap or distances; repeatable.",
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="The number of parallel processes.")] = 1,
    output: FormatOption = Format.rich,
) -> None:
    """Run a published battery of 15 sanity checks on the measures of fidelity and diversity.

    By default there is one repeat at about eleven points of each sweep, so noise decides some verdicts. The
    csv and json formats have one row for each verdict, with what failed and the published verdict, if any.
    """
    from latentbench.analysis.audit.battery import CHECKS, QUICK, BatterySize
    from latentbench.analysis.audit.measures import FAMILIES
    from latentbench.analysis.audit.verdicts import differences, rows, tables
    from latentbench.bench.present.listing import render

    checks = _chosen("check", check, CHECKS)
    families = _chosen("measure", measure, FAMILIES)
    cells = _run(checks, families, BatterySize() if full else QUICK, jobs)
    if output in (Format.csv, Format.json):
        emit(render(rows(cells), output.value))
        return
    for table in tables(cells).values():
        emit(render(table, output.value))
    for line in differences(cells):
        say(err if output is Format.md else out, line)


def _chosen(what: str, names: list[str] | None, known: Iterable[str]) -> list[str]:
    from latentbench.data.registry import unknown

    allowed = list(known)
    for name in names or ():
        if name not in allowed:
            raise unknown(what, name, allowed)
    return list(dict.fromkeys(names)) if names else allowed


def _run(checks: list[str], families: list[str], effort: BatterySize, jobs: int) -> list[AuditCell]:
    from rich.progress import Progress, TimeRemainingColumn

    from latentbench.analysis.audit import battery

    total = len(battery.tasks(checks, families, effort))
    with Progress(
        *Progress.get_default_columns()[:-1], TimeRemainingColumn(), console=err, transient=True
    ) as bar:
        task = bar.add_task("auditing", total=total)
        return battery.run(
            checks, families, effort, jobs=jobs, watch=lambda done: bar.update(task, completed=done)
        )
