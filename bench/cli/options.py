"""What every command shares: consoles, exit codes, options, and how things are found and printed."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from latentbench.bench.store.store import Run

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
    str, typer.Argument(metavar="[RUN]", help="A path, a suite, a run id (or its start), latest, latest~N.")
]
RESULTS = Path("results")


def find(reference: str, results: Path) -> Run:
    """A run by any of its names; what could not be read of it is said."""
    from latentbench.bench.store.store import Store, read

    return with_warnings(read(Store(results).find(reference)))


def with_warnings(run: Run) -> Run:
    """The run, after what could not be read of it was said."""
    for warning in run.warnings:
        err.print(f"[yellow]warning:[/] {warning}", highlight=False, soft_wrap=True)
    return run


def emit(renderable: object) -> None:
    """Text as it is, everything else through rich; wide tables are not folded when piped."""
    if isinstance(renderable, str):
        sys.stdout.write(renderable)
    else:
        out.print(renderable)
