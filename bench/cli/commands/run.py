"""`latentbench run` and `latentbench time`: suites, and sweeps of speed."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from latentbench.bench.cli.interrupts import interruptible
from latentbench.bench.cli.options import (
    RESULTS,
    Format,
    FormatOption,
    Results,
    choice,
    only_results_on_stdout,
    say_started,
)
from latentbench.bench.cli.outputs import show
from latentbench.data.errors import LatentbenchError

DeviceOption = Annotated[str, typer.Option(help="The device: auto, cpu, cuda or cuda:N.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(run)
    app.command("time")(time_)


class Precision(StrEnum):
    """The precisions in which the engine can train."""

    fp32 = "fp32"
    bf16 = "bf16"


def run(
    suite: Annotated[str, typer.Argument(help="A suite's name, or the path of a YAML file.")] = "mnist",
    results: Results = RESULTS,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATA",
            help="Other data, such as folder:photos?size=256; repeatable; default: the suite's.",
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            metavar="SEEDS", help="A count (5), a range (5-9) or a list (0,3,7); default: the suite's."
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="The number of epochs; default: each model's own.")
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(help="The number format of training; default: each model's own.", **choice(Precision)),
    ] = None,
    analysis: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Run only this analysis; repeatable; default: the suite's."),
    ] = None,
    device: DeviceOption = "auto",
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Cases that run in parallel; default: one per core, with a GPU per two."),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(
            metavar="[local|ray|ray://HOST:PORT|slurm]",
            help="Where cases run: here, on a Ray cluster, in Slurm jobs; default: the suite's, else local.",
        ),
    ] = None,
    shards: Annotated[
        int | None, typer.Option(min=1, help="Workers that share the test images of one model; default: 1.")
    ] = None,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Train and measure everything again, also what is in the cache."),
    ] = False,
    cache: Annotated[bool, typer.Option(help="Use trained models from the cache.")] = True,
    stack: Annotated[
        bool | None,
        typer.Option(help="Train models of one shape together; default: on a GPU only.", show_default=False),
    ] = None,
    figures: Annotated[bool, typer.Option(help="Draw the figures and the report.")] = True,
    allow_pickle: Annotated[
        bool,
        typer.Option("--allow-pickle", help="Read tensors from pickled checkpoints of your own models."),
    ] = False,
    output: FormatOption = Format.rich,
) -> None:
    """Train and measure a suite; write its results, tables, figures and report.

    For a sweep, such as `throughput`, this is `latentbench time`.
    """
    say_started(suite, results)
    from latentbench.bench.executors.settings import chosen
    from latentbench.bench.run.runner import Options, run_suite
    from latentbench.bench.run.suite import load, with_analyses, with_data, with_recipe
    from latentbench.bench.store.store import Store
    from latentbench.bench.sweep.spec import is_sweep
    from latentbench.bench.text.seeds import seeds_option

    if is_sweep(suite):
        _refuse(
            "a sweep only measures speed",
            data=", ".join(data or ()) or None,
            seeds=seeds,
            epochs=epochs,
            precision=precision,
            analysis=", ".join(analysis or ()) or None,
            jobs=jobs,
            executor=executor,
            shards=shards,
            stack=stack,
            allow_pickle=allow_pickle or None,
        )
        run_and_show(suite, results, device=device, fresh=fresh, figures=figures, output=output)
        return
    # Users' code may change the current folder.
    store = Store(results.absolute())
    options = Options(
        seeds=None if seeds is None else seeds_option(seeds),
        device=device,
        jobs=jobs,
        fresh=fresh,
        use_cache=cache,
        stack=stack,
        allow_pickle=allow_pickle,
    )
    with only_results_on_stdout():
        loaded = with_recipe(load(suite), epochs=epochs, precision=precision and precision.value)
        if analysis:
            loaded = with_analyses(loaded, analysis)
        if data:
            loaded = with_data(loaded, data)
    options = replace(options, executor=chosen(executor, shards, loaded.executor))
    done = interruptible(lambda watch: run_suite(loaded, store, options, watch))
    show(done, store, output, figures=figures)


def _refuse(why: str, **options: object) -> None:
    """Raise LatentbenchError for an option that was given and has no effect here."""
    for name, value in options.items():
        if value is not None:
            given = "" if value is True else f" {value}"
            raise LatentbenchError(f"--{name.replace('_', '-')}{given} has no effect here: {why}")


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

    A row that cannot be measured (no decoder, too large a batch) is recorded with the reason. Exit 1 if a
    row failed.
    """
    say_started(sweep, results)
    run_and_show(sweep, results, preset=preset, device=device, fresh=fresh, figures=figures, output=output)


def run_and_show(
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
    from latentbench.bench.store.store import Store
    from latentbench.bench.sweep import spec
    from latentbench.bench.sweep.runner import ACCEPTED, run_sweep

    with only_results_on_stdout():
        loaded = spec.load(sweep)
    store = Store(results.absolute())
    done = interruptible(
        lambda watch: run_sweep(loaded, store, watch, preset=preset, device=device, fresh=fresh)
    )
    show(done, store, output, figures=figures, accepted=ACCEPTED)
