"""The commands that compare runs, manage baselines, and export and check results.

The file is long because every option of every command is declared with its help text.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from latentbench.bench.cli.options import (
    EXIT_FAILED,
    EXIT_NOTHING,
    EXIT_REGRESSION,
    RESULTS,
    Format,
    FormatOption,
    Results,
    RunArgument,
    choice,
    emit,
    err,
    find,
    find_two,
    out,
    say,
    with_warnings,
)
from latentbench.bench.text import escaping
from latentbench.data.errors import LatentbenchError

if TYPE_CHECKING:
    from latentbench.bench.compare.verdicts import Comparison

baseline = typer.Typer(help="Named runs that others are compared with.", no_args_is_help=True)
results_ = typer.Typer(help="Check the results folder, and copy runs between folders.", no_args_is_help=True)


class ComparisonFormat(StrEnum):
    """The formats of a comparison."""

    rich = "rich"
    csv = "csv"
    md = "md"
    json = "json"
    junit = "junit"


ComparisonFormatOption = Annotated[
    ComparisonFormat, typer.Option("--format", help="The output format.", **choice(ComparisonFormat))
]
LONGEST_HISTORY = 500
"""The number of rows of a history that a terminal shows."""
PolicyOption = Annotated[
    Path | None,
    typer.Option("--policy", metavar="FILE", help="YAML policy file; its keys override the built-in policy."),
]
SaveOption = Annotated[
    list[Path],
    typer.Option(
        "--save",
        metavar="FILE",
        help="Also write a .md, .json, .csv or .xml (JUnit) file; repeatable.",
    ),
]
AcrossOption = Annotated[
    bool,
    typer.Option("--across-environments", help="Compare even if machines or libraries differ."),
]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(compare)
    app.command()(check)
    app.add_typer(baseline, name="baseline")
    app.command()(history)
    app.command()(export)
    app.add_typer(results_, name="results")


def compare(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A", help="The earlier run: as for `table`, or `reference` for the committed run."
        ),
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="The later run.")],
    results: Results = RESULTS,
    output: ComparisonFormatOption = ComparisonFormat.rich,
    policy: PolicyOption = None,
    save: SaveOption = [],  # noqa: B006
    across_environments: AcrossOption = False,
) -> None:
    """Compare run B with run A in every metric. Exit 3 on a regression, 4 if nothing was comparable.

    `latentbench compare reference latest` shows how this machine's run differs from the committed one.
    """
    from latentbench.bench.compare.compare import compare as compare_runs
    from latentbench.bench.compare.policy import load
    from latentbench.bench.store.reference import is_reference

    decided_by = load(policy)
    across_environments = across_environments or is_reference(a) or is_reference(b)
    compared = compare_runs(*find_two(a, b, results), decided_by, across_environments=across_environments)
    _say(compared, output, save)


def check(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]", help="The run to check (default: the latest of the baseline's suite)."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--baseline", metavar="NAME", help="The baseline to compare it with.")
    ] = None,
    results: Results = RESULTS,
    output: ComparisonFormatOption = ComparisonFormat.rich,
    policy: PolicyOption = None,
    save: SaveOption = [],  # noqa: B006
    across_environments: AcrossOption = False,
    throughput: Annotated[
        bool,
        typer.Option(
            "--throughput", help="Compare the speed of the working tree with that of a git revision."
        ),
    ] = False,
    against: Annotated[
        str | None, typer.Option(metavar="REV", help="With --throughput: the git revision, such as main.")
    ] = None,
    command: Annotated[
        str | None,
        typer.Option(help="With --throughput: a command that prints seconds by name as JSON."),
    ] = None,
    blocks: Annotated[
        int, typer.Option(min=3, help="With --throughput: number of blocks (six processes each).")
    ] = 5,
) -> None:
    """Compare a run with a baseline, and fail on regressions: a gate for CI.

    It tests the metrics of the policy, corrected for the number of tests. Exit 0 if nothing fails, 3 on a
    regression, 1 if a case failed or the run is unfinished, 4 if nothing was comparable.
    """
    from latentbench.bench.compare.compare import compare as compare_runs
    from latentbench.bench.compare.policy import load
    from latentbench.bench.store.baseline import find_baseline
    from latentbench.bench.store.store import Store

    if throughput:
        _say(_timed(against, policy, command, blocks), output, save)
        return
    if name is None:
        raise LatentbenchError(
            "--baseline is missing: name the baseline to compare with, see `latentbench baseline list`"
        )
    decided_by, held = load(policy), with_warnings(find_baseline(Store(results), name))
    compared = compare_runs(
        held,
        find(run or held.suite, results),
        decided_by,
        metrics=decided_by.gated,
        correction="Holm",
        across_environments=across_environments,
    )
    _say(compared, output, save)


def _timed(against: str | None, policy: Path | None, command: str | None, blocks: int) -> Comparison:
    """Run the throughput gate, and show its progress in a line."""
    from latentbench.bench.compare.policy import load
    from latentbench.bench.throughput_gate.gate import gate

    if against is None:
        raise LatentbenchError(
            "--against is missing: name the git revision to compare with, such as --against main"
        )
    with err.status("starting") as status:

        def progress(done: int, total: int) -> None:
            status.update(f"{done} of {total} turns of {6 * blocks} processes")

        return gate(against, load(policy), command=command, blocks=blocks, progress=progress)


def _say(comparison: Comparison, output: ComparisonFormat, save: list[Path]) -> None:
    """Print and save a comparison, and exit with its code."""
    from latentbench.bench.compare import view

    for path in save:
        view.save(comparison, path)
    emit(view.render(comparison, output.value))
    code = _exit_code(comparison)
    if code:
        raise typer.Exit(code)


def _exit_code(comparison: Comparison) -> int:
    """Return the exit code. A missing metric is a regression, unless a failed case explains it."""
    if any(finding.verdict != "missing" for finding in comparison.failures):
        return EXIT_REGRESSION
    if comparison.failed or comparison.unfinished:
        return EXIT_FAILED
    if not comparison.compared or comparison.same_run:
        return EXIT_NOTHING
    return EXIT_REGRESSION if comparison.failures else 0


@baseline.command("set")
def set_(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the baseline.")],
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run: as for `table`.")],
    why: Annotated[str, typer.Option(help="The reason for choosing this run; it is stored with the name.")],
    results: Results = RESULTS,
) -> None:
    """Save a run as a named baseline."""
    from latentbench.bench.store.baseline import FILE, set_baseline
    from latentbench.bench.store.store import Store

    store = Store(results)
    made = set_baseline(store, name, find(run, results), why)
    where = store.root / FILE
    say(out, f"{name} → {made.run} in {where}")


@baseline.command("remove")
def remove_(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The baseline to remove.")],
    results: Results = RESULTS,
) -> None:
    """Remove a baseline's name. The run itself stays."""
    from latentbench.bench.store.baseline import remove_baseline
    from latentbench.bench.store.store import Store

    removed = remove_baseline(Store(results), name)
    say(out, f"{name} removed; its run {removed.run} stays")


@baseline.command("list")
def list_(results: Results = RESULTS, output: FormatOption = Format.rich) -> None:
    """List the baselines, and mark those that cannot be used."""
    from latentbench.bench.present.listing import render
    from latentbench.bench.store.baseline import read_all, why_unfit
    from latentbench.bench.store.store import Store

    store = Store(results)
    rows = [
        {"baseline": name, **b.model_dump(exclude={"sha256"}), "state": str(why_unfit(store, b) or "ok")}
        for name, b in read_all(store).items()
    ]
    if not rows:
        say(err, f"no baselines in {results}")
        return
    emit(render(rows, output.value))


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
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help="The format; see below.")] = "csv",
    out_folder: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The folder to write into.")
    ] = Path("export"),
    results: Results = RESULTS,
) -> None:
    """Write a run in the format of another tool.

    csv, parquet, pytest-benchmark, github-action-benchmark, clip-benchmark, mteb; and with extras
    tensorboard, mlflow, wandb.
    """
    from latentbench.bench.exports.export import export as export_run

    for path in export_run(find(run, results), to, out_folder):
        say(out, path)


@results_.command("verify")
def verify_(results: Results = RESULTS, output: FormatOption = Format.rich) -> None:
    """Check every run, its arrays, environments and baselines. Exit 1 if anything was changed or lost."""
    from latentbench.bench.present.listing import render
    from latentbench.bench.store.store import Store
    from latentbench.bench.store.verify import verify

    found = verify(Store(results))
    if found.problems and output is not Format.rich:
        emit(render([problem.row() for problem in found.problems], output.value))
    elif found.problems:
        for problem in found.problems:
            colour = "red" if problem.broken else "yellow"
            text = escaping.markup(problem)
            out.print(f"[{colour}]{problem.state}[/] {text}", highlight=False, soft_wrap=True)
    state = "intact" if found.ok else "DAMAGED"
    err.print(f"{found.runs} runs with {found.records:,} records: {state}", highlight=False)
    if not found.ok:
        raise typer.Exit(EXIT_FAILED)


class KeptArrays(StrEnum):
    """The arrays that a copy of a run keeps."""

    all = "all"
    examples = "examples"
    none = "none"


@results_.command("copy")
def copy_(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run: as for `table`.")],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="The results folder to copy into.")],
    arrays: Annotated[
        KeptArrays,
        typer.Option(
            help="Arrays for figures and comparisons per image: all, results per image, or none.",
            **choice(KeptArrays),
        ),
    ] = KeptArrays.none,
    results: Results = RESULTS,
) -> None:
    """Copy a run into another results folder, by default without its arrays, which are most of its size."""
    from latentbench.bench.store.reference import copy_run
    from latentbench.bench.store.store import Store

    path = copy_run(find(run, results), Store(to), arrays=arrays.value)
    say(out, path)
