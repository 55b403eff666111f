"""The table of a run for a terminal: columns that do not fit go into a further table below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from latentbench.analysis.core.metric import MetricDefinition
from latentbench.analysis.statistics.estimates import Repeated
from latentbench.bench.present.rows import Cell, TableRow, columns, leaders, repeated, without_values
from latentbench.bench.present.tables import format_cell, heading, model_name
from latentbench.bench.text import escaping

PADDING = 3
INDENT = "  "
"""Comes before a model's name below the name of a data set."""
LONGEST_BLOCK_NAME = 40
"""The longest name of a data set in a terminal's table; all names are in the footnote."""
LONGEST_TABLE = 500
"""The number of models that a terminal shows."""


def as_rich(table: Sequence[TableRow], *, title: str, width: int) -> Group:
    """Build the headline table for a terminal of `width` characters, with the best values highlighted.

    Columns that do not fit go into a further table below, and those without any value into the footnote. Of a
    long table, the first rows are shown.
    Several data sets are one block of rows each, with the best values of each.
    """
    kind, shown = repeated(table), table[:LONGEST_TABLE]
    labels = max(map(len, _first_column(shown)))
    empty = without_values(table)
    headline = [
        _TableColumn(definition, shown, leaders(table, definition), kind)
        for definition in columns(table, headline=True)
        if definition not in empty
    ]
    parts: list[RenderableType] = [escaping.plain(title, "bold")]
    parts += [_part(shown, some) for some in _fitting(headline, width - labels - PADDING)]
    if len(shown) < len(table):
        left_out = f"{len(table) - len(shown):,} more models; --format csv has all"
        parts.append(escaping.plain(left_out, "yellow"))
    return Group(*parts)


class _TableColumn:
    """A column of a terminal's table: its heading as words, and its texts."""

    def __init__(
        self,
        definition: MetricDefinition,
        table: Sequence[TableRow],
        best: Mapping[str, float | None],
        kind: Repeated,
    ) -> None:
        self.words = heading(definition).split()
        cells = [row.cells.get(definition.name) for row in table]
        texts = [format_cell(cell, definition, kind) for cell in cells]
        self.width = max(len(text) for text in (*texts, *self.words)) + PADDING
        self.texts = [
            Text(text, style="bold green" if _leads(cell, best[row.data]) else "")
            for row, cell, text in zip(table, cells, texts, strict=True)
        ]


def _fitting(every: Sequence[_TableColumn], width: int) -> list[list[_TableColumn]]:
    """Group the columns so that each group fits the width; a group has at least one column."""
    parts: list[list[_TableColumn]] = []
    left = 0
    for column in every:
        if not parts or column.width > left:
            parts.append([])
            left = width
        parts[-1].append(column)
        left -= column.width
    return parts


def _part(table: Sequence[TableRow], shown: Sequence[_TableColumn]) -> RichTable:
    rich = RichTable(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    rich.add_column("model", no_wrap=True, vertical="bottom")
    for column in shown:
        rich.add_column(Text("\n".join(column.words)), justify="right", no_wrap=True, vertical="bottom")
    data = ""
    for row, *texts in zip(table, *(column.texts for column in shown), strict=True):
        if row.data != data:
            data = row.data
            rich.add_row(escaping.plain(_block_name(data), "bold"))
        rich.add_row(escaping.plain(_in_block(row)), *texts)
    return rich


def _first_column(table: Sequence[TableRow]) -> list[str]:
    """Return all texts of the first column: the models, and the data sets if there are several."""
    return [*map(_in_block, table), *map(_block_name, {row.data for row in table})]


def _in_block(row: TableRow) -> str:
    return f"{INDENT if row.data else ''}{model_name(row)}"


def _block_name(data: str) -> str:
    return escaping.shortened(escaping.printable(data), LONGEST_BLOCK_NAME)


def _leads(cell: Cell | None, best: float | None) -> bool:
    return cell is not None and cell.decisive is not None and cell.decisive == best
