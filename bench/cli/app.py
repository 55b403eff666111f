"""The command line. A command imports its modules when it is called, so `--help` does not wait for torch."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from latentbench.bench.cli.commands import (
    audit,
    cache,
    protocols,
    regression,
    reproduce,
    run,
    store,
    stored_runs,
)
from latentbench.bench.cli.interrupts import handle_signals
from latentbench.bench.cli.options import (
    EXIT_FAILED,
    EXIT_USAGE,
    RESULTS,
    Format,
    FormatOption,
    Results,
    choice,
    emit,
    err,
    out,
    prepare_streams,
)
from latentbench.bench.text import escaping
from latentbench.data.errors import LatentbenchError

app = typer.Typer(
    help="Benchmark and analysis toolkit for learned compression: the costs and benefits of a bottleneck.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        out.print(f"latentbench {version('latentbench')}", highlight=False)
        raise typer.Exit


@app.callback()
def options_of_all(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Accept the options that come before a command."""


class Listed(StrEnum):
    """The kinds of things that `list` can show."""

    suites = "suites"
    models = "models"
    data = "data"
    metrics = "metrics"


def list_(
    what: Annotated[Listed, typer.Argument(help="What to list.", **choice(Listed))],
    output: FormatOption = Format.rich,
) -> None:
    """List suites, models, data sets or metrics."""
    from latentbench.bench.present.listing import LISTINGS, render

    emit(render(LISTINGS[what.value](), output.value))


def doctor(results: Results = RESULTS) -> None:
    """Check that all dependencies and data of latentbench are installed and work."""
    from latentbench.bench.cli.doctor import examine, render

    findings = examine(results)
    emit(render(findings))
    if not all(finding.ok for finding in findings):
        raise typer.Exit(EXIT_FAILED)


run.add_to(app)
app.command("list")(list_)
for module in (stored_runs, regression, store, audit, protocols, reproduce, cache):
    module.add_to(app)
app.command()(doctor)


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 2."""
    prepare_streams()
    # Worker processes and users' code that changes the current folder must find the same cache.
    if cache := os.environ.get("LATENTBENCH_CACHE"):
        os.environ["LATENTBENCH_CACHE"] = str(Path(cache).expanduser().absolute())
    handle_signals()
    try:
        app()
    except LatentbenchError as error:
        message = escaping.markup(" ".join(str(error).split()))
        err.print(f"[red]error:[/] {message}", highlight=False, soft_wrap=True)
        sys.exit(EXIT_USAGE)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(EXIT_FAILED)
