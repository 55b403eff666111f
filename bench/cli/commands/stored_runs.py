"""The commands that show a stored run, or write it in another form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from latentbench.bench.cli.options import (
    RESULTS,
    Format,
    FormatOption,
    Results,
    RunArgument,
    emit,
    err,
    find,
    out,
    say,
)
from latentbench.bench.cli.outputs import print_table
from latentbench.bench.text import escaping
from latentbench.data.errors import LatentbenchError

if TYPE_CHECKING:
    from latentbench.bench.store.records.record import Record
    from latentbench.bench.store.run import Run

LONGEST_HISTORY = 500
"""The number of rows of a history that a terminal shows."""


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (table, plot, report, recommend, history, export, import_):
        app.command(command.__name__.rstrip("_"))(command)


def table(
    run: RunArgument = "latest",
    results: Results = RESULTS,
    output: FormatOption = Format.rich,
) -> None:
    """Print the table of a run."""
    print_table(find(run, results), output)


def plot(run: RunArgument = "latest", results: Results = RESULTS) -> None:
    """Draw the figures of a run."""
    from latentbench.bench.present.figures import draw_all, gaps
    from latentbench.bench.store.store import Store

    found = find(run, results)
    for figure in draw_all(found, Store(results)):
        say(out, figure.path)
    for line in gaps(found):
        say(err, f"warning: {line}")


def report(run: RunArgument = "latest", results: Results = RESULTS) -> None:
    """Write one self-contained HTML page with the table and the figures of a run."""
    from latentbench.bench.present.report import write_report
    from latentbench.bench.store.store import Store

    found = find(run, results)
    if found.is_sweep:
        raise LatentbenchError(f"{found.suite} is a sweep and has no report; see its table and plot")
    say(out, write_report(found, Store(results)))


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
        typer.Option(metavar="METRIC<=X", help="Any other requirement, also with >=; repeatable."),
    ] = None,
    prefer: Annotated[
        str, typer.Option(metavar="METRIC", help="The metric that ranks the models that qualify.")
    ] = "psnr",
    data: Annotated[
        str | None, typer.Option(metavar="DATA", help="The data set, if the run has several.")
    ] = None,
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
    rows = rows_of(_on(data, find(run, results)))
    found = choice.recommend(rows, requirements, prefer)
    if output is Format.rich:
        for line in choice.explain(found):
            say(out, line)
        return
    emit(render(choice.as_rows(rows, found), output.value))


def _on(data: str | None, run: Run) -> Sequence[Record]:
    """Return the records of a run on one of its data sets, or all."""
    from latentbench.bench.store.records.data_sets import by_data
    from latentbench.data.registry import unknown

    if data is None:
        return run.last_records
    known = by_data(run.last_records)
    if data not in known:
        raise unknown("data set", data, list(known))
    return known[data]


def history(
    metric: Annotated[
        str, typer.Argument(metavar="METRIC", help="The metric, see `latentbench list metrics`.")
    ],
    suite: Annotated[str | None, typer.Option(help="Only runs of this suite.")] = None,
    model: Annotated[str | None, typer.Option(help="Only the model of this label.")] = None,
    plot: Annotated[bool, typer.Option("--plot", help="Also draw a figure into the results folder.")] = False,
    results: Results = RESULTS,
    output: FormatOption = Format.rich,
) -> None:
    """Show one metric over all runs, and where its level seems to change (advice; a gate never uses it)."""
    from latentbench.bench.present.history import rows, timeline
    from latentbench.bench.present.listing import render
    from latentbench.bench.store.store import Store

    store = Store(results)
    series = timeline(store, metric, suite=suite, model=model)
    shown = rows(series, brief=output is Format.rich)
    if output is Format.rich and len(shown) > LONGEST_HISTORY:
        say(err, f"{len(shown) - LONGEST_HISTORY:,} more rows; --format csv has all, --model selects one")
        shown = shown[:LONGEST_HISTORY]
    emit(render(shown, output.value))
    if plot:
        from latentbench.bench.present.figures import draw_history

        figure = store.write_bytes(f"figures/history/{metric}.png", draw_history(series, metric))
        err.print(f"[dim]   figure[/]  {escaping.markup(figure)}", highlight=False, soft_wrap=True)


def export(
    run: RunArgument = "latest",
    to: Annotated[
        str, typer.Option("--to", metavar="FORMAT", help="The format, one of those above.")
    ] = "csv",
    out_folder: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The folder to write into.")
    ] = Path("export"),
    results: Results = RESULTS,
) -> None:
    """Write a run in the format of another tool.

    The formats are csv, parquet, pytest-benchmark, github-action-benchmark, clip-benchmark and mteb;
    tensorboard, mlflow and wandb need extras.
    """
    from latentbench.bench.exports.export import export as export_run

    for path in export_run(find(run, results), to, out_folder):
        say(out, path)


def import_(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Result files, or folders of them.")],
    suite: Annotated[str, typer.Option(help="The name under which the run is stored.")] = "clip-benchmark",
    same_images: Annotated[
        str | None,
        typer.Option("--same-images", metavar="RUN", help="A run on the same images, to compare with."),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(metavar="THEIRS=OURS", help="Our name of a data set of theirs; may be repeated."),
    ] = None,
    results: Results = RESULTS,
    output: FormatOption = Format.rich,
) -> None:
    """Make a run of zero-shot results that CLIP_benchmark measured, and print its table."""
    from latentbench.bench.exports.clip_results import import_results
    from latentbench.bench.store.store import Store

    names = dict(each.split("=", 1) for each in name or () if "=" in each)
    if bad := [each for each in name or () if "=" not in each]:
        raise LatentbenchError(f"--name {bad[0]}: must be THEIRS=OURS, such as vtab/cifar10=cifar10")
    same = None if same_images is None else find(same_images, results)
    made = import_results(files, Store(results), suite, same_images=same, names=names)
    print_table(made, output)
    err.print(f"[dim]  records[/]  {escaping.markup(made.path)}", highlight=False, soft_wrap=True)
