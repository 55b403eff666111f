"""What every command shares: consoles, exit codes, options, and how things are found and printed."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from latentbench.bench.store.run import Run

EXIT_FAILED, EXIT_USAGE, EXIT_REGRESSION, EXIT_NOTHING, EXIT_INTERRUPTED = 1, 2, 3, 4, 130

out = Console()
err = Console(stderr=True)


class Format(StrEnum):
    """How data are printed."""

    rich = "rich"
    csv = "csv"
    md = "md"
    json = "json"


Results = Annotated[Path, typer.Option("--results", metavar="DIR", help="The results folder.")]
FormatOption = Annotated[Format, typer.Option("--format", help="How to print.")]
RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="[RUN]",
        help="A path, a suite, a run id (or its start), latest, latest~N or reference:SUITE.",
    ),
]
RESULTS = Path("results")


def find(name: str, results: Path) -> Run:
    """Read a run by any of its names, and warn of what could not be read of it."""
    from latentbench.bench.store.reference import find_reference, is_reference
    from latentbench.bench.store.run import read
    from latentbench.bench.store.store import Store

    path = find_reference(name, results) if is_reference(name) else Store(results).find(name)
    return with_warnings(read(path))


def find_two(a: str, b: str, results: Path) -> tuple[Run, Run]:
    """Read two runs to compare; `reference` is the reference run of the other's suite."""
    from latentbench.bench.store.reference import REFERENCE

    if a == REFERENCE:
        second = find(b, results)
        return find(f"{REFERENCE}:{second.suite}", results), second
    first = find(a, results)
    return first, find(f"{REFERENCE}:{first.suite}" if b == REFERENCE else b, results)


def with_warnings(run: Run) -> Run:
    """Return the run, after warning of lines that could not be read, and of a run that is not finished."""
    if not run.finished:
        count = f"{len(run.records)} record{'' if len(run.records) == 1 else 's'}"
        err.print(
            f"[yellow]warning:[/] {escape(run.stem)} is unfinished: it has {count} so far; run the same "
            f"command again to resume, such as: latentbench run {escape(run.suite)}",
            highlight=False,
            soft_wrap=True,
        )
    for warning in run.warnings:
        err.print(f"[yellow]warning:[/] {escape(str(warning))}", highlight=False, soft_wrap=True)
    return run


def emit(renderable: object) -> None:
    """Text as it is, everything else through rich; wide tables are not folded when piped."""
    if isinstance(renderable, str):
        sys.stdout.write(renderable)
    else:
        out.print(renderable)
