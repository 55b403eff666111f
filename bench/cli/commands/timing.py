"""`latentbench time`: speed sweeps. `latentbench run` calls the same function for a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latentbench.bench.cli.options import (
    RESULTS,
    Format,
    FormatOption,
    Results,
    only_results_on_stdout,
    say_started,
)

DeviceOption = Annotated[str, typer.Option(help="The device: auto, cpu, cuda or cuda:N.")]


def add_to(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("time")(time_)


def time_(
    sweep: Annotated[str, typer.Argument(help="A sweep's name, or the path of a YAML file.")] = "throughput",
    results: Results = RESULTS,
    preset: Annotated[
        str | None,
        typer.Option(help="The rows to time; default: `full` on a GPU and `small` elsewhere."),
    ] = None,
    device: DeviceOption = "auto",
    fresh: Annotated[bool, typer.Option("--fresh", help="Time finished rows again.")] = False,
    figures: Annotated[bool, typer.Option(help="Draw the figures.")] = True,
    output: FormatOption = Format.rich,
) -> None:
    """Time models by operation, batch size and number format, and compare them with the peak of the device.

    A row that cannot be measured (no decoder, too large a batch) is a result with its reason. Exit 1 if a
    row failed.
    """
    say_started(sweep, results)
    run(sweep, results, preset=preset, device=device, fresh=fresh, figures=figures, output=output)


def run(
    sweep: str,
    results: Path,
    *,
    preset: str | None = None,
    device: str,
    fresh: bool,
    figures: bool,
    output: Format,
) -> None:
    """Run a sweep, print it and write its outputs."""
    from latentbench.bench.cli import app
    from latentbench.bench.store.store import Store
    from latentbench.bench.sweep import spec
    from latentbench.bench.sweep.runner import ACCEPTED, run_sweep

    with only_results_on_stdout():
        loaded = spec.load(sweep)
    store = Store(results.absolute())
    done = app.interruptible(
        lambda watch: run_sweep(loaded, store, watch, preset=preset, device=device, fresh=fresh)
    )
    app.show(done, store, output, figures=figures, accepted=ACCEPTED)
