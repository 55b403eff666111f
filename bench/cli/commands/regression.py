"""`latentbench compare` and `latentbench check`: two runs side by side, and the gate for CI."""

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
    Results,
    choice,
    emit,
    err,
    find,
    find_two,
    with_warnings,
)
from latentbench.data.errors import LatentbenchError

if TYPE_CHECKING:
    from latentbench.bench.compare.verdicts import Comparison


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
