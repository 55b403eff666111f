"""`latentbench baseline` and `latentbench results`: names of runs, and checks and copies of them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from latentbench.bench.cli.options import (
    EXIT_FAILED,
    RESULTS,
    Format,
    FormatOption,
    Results,
    choice,
    emit,
    err,
    find,
    out,
    say,
)
from latentbench.bench.text import escaping

baseline = typer.Typer(help="Named runs that others are compared with.", no_args_is_help=True)
results_ = typer.Typer(help="Check the results folder, and copy runs between folders.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(baseline, name="baseline")
    app.add_typer(results_, name="results")


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
