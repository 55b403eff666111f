"""`latentbench reproduce`: measure the rows of a published table, and say which of them are reproduced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from latentbench.bench.cli.commands.protocols import DeviceOption, FeatureOption, PickleOption
from latentbench.bench.cli.options import (
    EXIT_NOTHING,
    EXIT_REGRESSION,
    Format,
    FormatOption,
    emit,
    err,
    only_results_on_stdout,
    say,
)
from latentbench.data.errors import LatentbenchError

if TYPE_CHECKING:
    from latentbench.bench.reproduce.published import RowComparison, RowSet


def add_to(app: typer.Typer) -> None:
    """Make the command part of the command line."""
    app.command("reproduce")(reproduce)


def reproduce(
    rows: Annotated[
        str | None,
        typer.Argument(metavar="[ROWS]", help="A published table; without one, the tables are listed."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA", help="Your copy of the images, such as 'folder:val2017?size=256&split=all'."
        ),
    ] = None,
    row: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Measure only this row; repeatable.")
    ] = None,
    features: FeatureOption = None,
    allow_pickle: PickleOption = False,
    device: DeviceOption = "auto",
    output: FormatOption = Format.rich,
) -> None:
    """Measure the rows of a published table, and say whether each value agrees with the published one.

    A value is inside or outside the interval of the published one. Exit 3 if one is outside, 4 if none could
    be compared.
    """
    from latentbench.analysis.core.devices import find_device
    from latentbench.analysis.features.request import parse_all
    from latentbench.bench.cli.progress import reporting
    from latentbench.bench.present.listing import render
    from latentbench.bench.reproduce import tokenizers, zero_shot  # noqa: F401 - they register themselves
    from latentbench.bench.reproduce.published import ROW_SETS, RowRequest, compare_row
    from latentbench.data.loading import DATASETS
    from latentbench.data.registry import unknown
    from latentbench.data.request import parse as parse_data

    if rows is None:
        emit(render([_listed(name, make().rows) for name, make in ROW_SETS.items()], output.value))
        return
    chosen = ROW_SETS[rows]()
    names = [each.name for each in chosen.rows.rows]
    for name in row or ():
        if name not in names:
            raise unknown("row", name, names)
    if data is None:
        raise LatentbenchError(f"{rows}: add --data with your copy of {chosen.rows.data}")
    # A mistake in these concerns every row, so it is an error and no reason for an empty table.
    parse_data(data, list(DATASETS), "--data")
    parse_all(features or [])
    find_device(device)
    found = []
    for each in chosen.rows.rows:
        if row and each.name not in row:
            continue
        with only_results_on_stdout(), reporting(err, each.name) as reporter:
            request = RowRequest(data, tuple(features or ()), device, allow_pickle, reporter)
            found += compare_row(chosen, each, request)
    emit(render([_compared(each) for each in found], output.value))
    for reason in dict.fromkeys(f"{each.verdict}: {each.reason}" for each in found if each.reason):
        say(err, reason)
    verdicts = {each.verdict for each in found}
    if "outside" in verdicts:
        raise typer.Exit(EXIT_REGRESSION)
    if "inside" not in verdicts:
        raise typer.Exit(EXIT_NOTHING)


def _listed(name: str, rows: RowSet) -> dict[str, str]:
    return {
        "rows": name,
        "models": ", ".join(row.name for row in rows.rows),
        "data": rows.data,
        "protocol": rows.protocol,
        "source": rows.source,
    }


def _compared(each: RowComparison) -> dict[str, str]:
    measured, published = each.measured, each.published
    return {
        "row": each.row,
        "metric": each.metric,
        "published": f"{published.value:g}",
        "measured": "–" if measured.value is None else f"{measured.value:.5g}",
        "n": "–" if measured.n is None else f"{measured.n:,}",
        "allowed difference": "–" if each.allowed is None else f"{each.allowed:.2g}",
        "verdict": each.verdict,
    }
