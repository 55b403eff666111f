"""The command line. Every command imports its modules when it is called, so `--help` does not wait for torch.

The file is long because every option of every command is declared with its help text.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from latentbench.bench.cli.commands import audit, protocols, regression, reproduce, timing
from latentbench.bench.cli.commands import cache as cache_commands
from latentbench.bench.cli.options import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_TERMINATED,
    EXIT_USAGE,
    RESULTS,
    Format,
    FormatOption,
    Results,
    RunArgument,
    choice,
    emit,
    err,
    find,
    only_results_on_stdout,
    out,
    prepare_streams,
    say,
    say_started,
    short,
)
from latentbench.bench.text import escaping
from latentbench.data.errors import LatentbenchError

if TYPE_CHECKING:
    from latentbench.bench.cli.progress import Lines
    from latentbench.bench.store.records.record import Status
    from latentbench.bench.store.run import Run
    from latentbench.bench.store.store import Store

app = typer.Typer(
    help="Benchmark and analysis toolkit for learned compression: the costs and benefits of a bottleneck.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Terminated(KeyboardInterrupt):
    """SIGTERM, as a batch system or `docker stop` sends it; handled like Ctrl-C."""


def _stop(number: int, _: object) -> None:
    """Raise for the first signal; a second one ends the process at once, which loses nothing either."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_DFL)
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


SIGNALS = (signal.SIGINT, signal.SIGTERM)


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


class Precision(StrEnum):
    """The precisions in which the engine can train."""

    fp32 = "fp32"
    bf16 = "bf16"


@app.command()
def run(
    suite: Annotated[str, typer.Argument(help="A suite's name, or the path of a YAML file.")] = "mnist",
    results: Results = RESULTS,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA", help="Other data, such as folder:photos?size=256; default: the suite's."
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
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Cases that run in parallel; default: one per core.")
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
    from latentbench.bench.run.seeds import seeds_option
    from latentbench.bench.run.suite import load, with_analyses, with_data, with_recipe
    from latentbench.bench.store.store import Store
    from latentbench.bench.sweep.spec import is_sweep

    if is_sweep(suite):
        _refuse(
            "a sweep only measures speed",
            data=data,
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
        timing.run(suite, results, device=device, fresh=fresh, figures=figures, output=output)
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
        if data is not None:
            loaded = with_data(loaded, data)
    options = replace(options, executor=chosen(executor, shards, loaded.executor))
    done = interruptible(lambda watch: run_suite(loaded, store, options, watch))
    show(done, store, output, figures=figures)


def show(
    run: Run, store: Store, output: Format, *, figures: bool, accepted: tuple[Status, ...] = ("ok",)
) -> None:
    """Print a finished run and write its outputs. Exit 1 if a record's status is not accepted."""
    _print_table(run, output)
    _write_outputs(run, store, figures=figures)
    if any(record.status not in accepted for record in run.last_records):
        raise typer.Exit(EXIT_FAILED)


def _refuse(why: str, **options: object) -> None:
    """Raise LatentbenchError for an option that was given and has no effect here."""
    for name, value in options.items():
        if value is not None:
            given = "" if value is True else f" {value}"
            raise LatentbenchError(f"--{name.replace('_', '-')}{given} has no effect here: {why}")


def interruptible(run: Callable[[Lines], Run]) -> Run:
    """Run with progress shown. Ctrl-C is safe: the same command resumes the run."""
    from latentbench.bench.cli.progress import watcher

    try:
        with only_results_on_stdout(), watcher(err) as watch:
            return run(watch)
    except KeyboardInterrupt as stop:
        _say_how_to_go_on()
        raise typer.Exit(EXIT_TERMINATED if isinstance(stop, Terminated) else EXIT_INTERRUPTED) from None


@app.command("list")
def list_(
    what: Annotated[Listed, typer.Argument(help="What to list.", **choice(Listed))],
    output: FormatOption = Format.rich,
) -> None:
    """List suites, models, data sets or metrics."""
    from latentbench.bench.present.listing import LISTINGS, render

    emit(render(LISTINGS[what.value](), output.value))


@app.command()
def table(
    run: RunArgument = "latest",
    results: Results = RESULTS,
    output: FormatOption = Format.rich,
) -> None:
    """Print the table of a run."""
    _print_table(find(run, results), output)


@app.command()
def plot(run: RunArgument = "latest", results: Results = RESULTS) -> None:
    """Draw the figures of a run."""
    from latentbench.bench.present.figures import draw_all, gaps
    from latentbench.bench.store.store import Store

    found = find(run, results)
    for path in draw_all(found, Store(results)).values():
        say(out, path)
    for line in gaps(found):
        say(err, f"warning: {line}")


@app.command()
def report(run: RunArgument = "latest", results: Results = RESULTS) -> None:
    """Write one self-contained HTML page with the table and the figures of a run."""
    from latentbench.bench.present.report import write_report
    from latentbench.bench.store.store import Store

    found = find(run, results)
    if found.is_sweep:
        raise LatentbenchError(f"{found.suite} is a sweep and has no report; see its table and plot")
    say(out, write_report(found, Store(results)))


@app.command()
def recommend(
    run: RunArgument = "latest",
    max_latency: Annotated[
        str | None,
        typer.Option(
            "--max-latency", metavar="TIME", help="Highest latency of one encoding, such as 250us or 2ms."
        ),
    ] = None,
    min_psnr: Annotated[
        float | None, typer.Option("--min-psnr", metavar="DB", help="Lowest PSNR of reconstructions.")
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC<=X", help="Any other requirement, also with >=; may be repeated."),
    ] = None,
    prefer: Annotated[
        str, typer.Option(metavar="METRIC", help="The metric that ranks the models that qualify.")
    ] = "psnr",
    results: Results = RESULTS,
    output: FormatOption = Format.rich,
) -> None:
    """Pick the model of a run that meets your requirements, with the reasons."""
    from latentbench.bench.present import recommend as choice
    from latentbench.bench.present.listing import render
    from latentbench.bench.present.rows import rows as rows_of

    requirements = [choice.requirement(text) for text in require or []]
    if max_latency is not None:
        requirements.insert(0, choice.Requirement(choice.LATENCY, "<=", choice.seconds(max_latency)))
    if min_psnr is not None:
        requirements.append(choice.Requirement(choice.QUALITY, ">=", min_psnr))
    rows = rows_of(find(run, results).last_records)
    found = choice.recommend(rows, requirements, prefer)
    if output is Format.rich:
        for line in choice.explain(found):
            say(out, line)
        return
    emit(render(choice.as_rows(rows, found), output.value))


@app.command()
def doctor(results: Results = RESULTS) -> None:
    """Check that all dependencies and data of latentbench are installed and work."""
    from latentbench.bench.cli.commands.doctor import examine, render

    findings = examine(results)
    emit(render(findings))
    if not all(finding.ok for finding in findings):
        raise typer.Exit(EXIT_FAILED)


def _print_table(run: Run, output: Format) -> None:
    from latentbench.bench.present import tables
    from latentbench.bench.present.rows import rows as rows_of

    if run.is_sweep:
        _print_sweep(run, output)
        return
    rows = rows_of(run.last_records)
    if not rows:
        raise LatentbenchError(f"{run.path}: no records in this run")
    match output:
        case Format.rich:
            emit(tables.as_rich(rows, title=tables.title(run.suite, rows), width=out.width))
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
        from latentbench.bench.present.figures import drawn
        from latentbench.bench.present.report import write_report

        with err.status("drawing the figures"):
            if paths := drawn(run, store):
                written["figures"] = next(iter(paths.values())).parent
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


def _say_how_to_go_on() -> None:
    # With --fresh, what is finished would be done again.
    again = shlex.join(["latentbench", *(argument for argument in sys.argv[1:] if argument != "--fresh")])
    say(err, f"\ninterrupted; finished cases and trained models are kept. Resume with: {again}")


timing.add_to(app)
audit.add_to(app)
protocols.add_to(app)
reproduce.add_to(app)
regression.add_to(app)
cache_commands.add_to(app)


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 2."""
    prepare_streams()
    # Worker processes and users' code that changes the current folder must find the same cache.
    if cache := os.environ.get("LATENTBENCH_CACHE"):
        os.environ["LATENTBENCH_CACHE"] = str(Path(cache).expanduser().absolute())
    for each in SIGNALS:
        if signal.getsignal(each) is not signal.SIG_IGN:  # as a shell's background jobs ignore Ctrl-C
            signal.signal(each, _stop)
    try:
        app()
    except LatentbenchError as error:
        message = escaping.markup(" ".join(str(error).split()))
        err.print(f"[red]error:[/] {message}", highlight=False, soft_wrap=True)
        sys.exit(EXIT_USAGE)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(EXIT_FAILED)
