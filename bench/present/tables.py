"""Tables: always regenerated from records, columns always in the order in which metrics are defined."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from latentbench.analysis.catalogue import METRICS
from latentbench.analysis.core.metric import MetricDefinition
from latentbench.analysis.statistics.intervals import mean_interval
from latentbench.bench.store.record import Record
from latentbench.models.zoo import FAMILIES

PADDING = 3
ARROWS = {"higher": "↑", "lower": "↓", "neither": ""}


@dataclass(frozen=True)
class Cell:
    """A metric of one model over its seeds.

    `half_width` is half of the 95 % interval: Student's t over seeds where there are several, 1.96
    standard errors of the one measurement where there is one.
    """

    value: float | None
    half_width: float | None
    n_seeds: int
    reason: str | None = None


@dataclass(frozen=True)
class Row:
    """One model: a cell for each metric."""

    label: str
    records: tuple[Record, ...]
    cells: dict[str, Cell]

    @property
    def problems(self) -> list[str]:
        """What went wrong, a line for each case that is not ok."""
        return [
            f"{self.label}, seed {record.seed}: {record.status} ({record.reason})"
            for record in self.records
            if record.status != "ok"
        ]


def rows(records: Sequence[Record]) -> list[Row]:
    """One row a model: by family, backbone, width and beta, whatever order the cases were finished in.

    Models that differ in nothing their label shows are told apart by a number.
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(_group(record), []).append(record)
    table = sorted((_row(group) for group in groups.values()), key=_position)
    shown: Counter[str] = Counter()
    for index, row in enumerate(table):
        shown[row.label] += 1
        if shown[row.label] > 1:
            table[index] = replace(row, label=f"{row.label} ({shown[row.label]})")
    return table


def _position(row: Row) -> tuple[int, str, int, float]:
    model = row.records[0].model
    known = list(FAMILIES)
    family = known.index(model.family) if model.family in known else len(known)
    return family, str(model.settings.get("backbone") or ""), model.latent_dim, model.number("beta") or 0.0


def _group(record: Record) -> str:
    point = "" if record.point is None else record.point.model_dump_json()
    return record.model.model_dump_json() + record.recipe.model_dump_json() + record.data.fingerprint + point


def _row(records: list[Record]) -> Row:
    records = sorted(records, key=lambda record: record.seed)
    names = [name for name in METRICS if any(record.metric(name) for record in records)]
    return Row(records[0].label, tuple(records), {name: _cell(records, name) for name in names})


def _cell(records: list[Record], name: str) -> Cell:
    metrics = [metric for record in records if (metric := record.metric(name))]
    version = max(metric.version for metric in metrics)
    metrics = [metric for metric in metrics if metric.version == version]
    values = [metric.value for metric in metrics if metric.value is not None]
    if not values:
        return Cell(None, None, 0, metrics[0].reason)
    if len(values) == 1:
        se = next(metric.se for metric in metrics if metric.value is not None)
        return Cell(values[0], None if se is None else 1.96 * se, 1)
    low, high = mean_interval(values)
    return Cell(math.fsum(values) / len(values), (high - low) / 2, len(values))


def columns(table: Sequence[Row], *, headline: bool = False) -> list[MetricDefinition]:
    """The metrics of a table in their fixed order; the headline ones alone if asked."""
    names = {name for row in table for name in row.cells}
    definitions = [definition for name, definition in METRICS.items() if name in names]
    return [definition for definition in definitions if definition.headline or not headline]


def format_cell(cell: Cell | None, definition: MetricDefinition) -> str:
    """`0.123 ± 0.004`, or a dash where there is no number."""
    if cell is None or cell.value is None:
        return "–"
    value = format_number(cell.value, definition.decimals)
    if cell.half_width is None:
        return value
    return f"{value} ± {format_number(cell.half_width, definition.decimals)}"


def format_number(value: float, decimals: int) -> str:
    """In full, with so many decimals; of a large number three digits that count."""
    return f"{value:,.{decimals}f}" if abs(value) < 1e5 else f"{float(f'{value:.3g}'):,.0f}"


def title(suite: str, table: Sequence[Row]) -> str:
    """What the table shows: suite, data, number of images and seeds."""
    record = table[0].records[0]
    seeds = max(len(row.records) for row in table)
    return (
        f"{suite}: {record.data.name}, {record.data.train:,} train and {record.data.test:,} test images, "
        f"{seeds} seed{'s' if seeds > 1 else ''}"
    )


def footnote(table: Sequence[Row]) -> str:
    """How to read the numbers, and what they were measured by."""
    record = table[0].records[0]
    commit = f"commit {record.code.commit[:8]}" if record.code.commit else f"source {record.code.source}"
    spread = "± is the 95 % interval over seeds" if any(len(row.records) > 1 for row in table) else "one seed"
    return (
        f"{spread}; – is null, with its reason in --format json; all metrics and intervals in --format csv\n"
        f"latentbench {record.code.version}, {commit}, environment {record.environment}"
    )


def heading(definition: MetricDefinition) -> str:
    """The short heading with an arrow towards the better end."""
    return f"{definition.heading or definition.name} {ARROWS[definition.better]}".strip()


def as_rich(table: Sequence[Row], *, title: str, width: int) -> Group:
    """The headline table for a terminal of `width` characters; the best value of each column stands out.

    What does not fit side by side goes into a further table below.
    """
    shown = columns(table, headline=True)
    labels = max(len(row.label) for row in table)
    parts: list[RenderableType] = [Text(title, style="bold")]
    parts += [_part(table, some) for some in _fitting(shown, table, width - labels - PADDING)]
    return Group(*parts)


def _fitting(
    shown: Sequence[MetricDefinition], table: Sequence[Row], width: int
) -> list[list[MetricDefinition]]:
    """The columns, parted so that each part fits the width; a part has at least one."""
    parts: list[list[MetricDefinition]] = []
    left = 0
    for definition in shown:
        cells = [_short(row.cells.get(definition.name), definition) for row in table]
        words = heading(definition).split()
        needed = max(len(text) for text in (*cells, *words)) + PADDING
        if not parts or needed > left:
            parts.append([])
            left = width
        parts[-1].append(definition)
        left -= needed
    return parts


def _part(table: Sequence[Row], shown: Sequence[MetricDefinition]) -> RichTable:
    rich = RichTable(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    rich.add_column("model", no_wrap=True, vertical="bottom")
    for definition in shown:
        words = heading(definition).replace(" ", "\n")
        rich.add_column(words, justify="right", no_wrap=True, vertical="bottom")
    best = {definition.name: _best(table, definition) for definition in shown}
    for row in table:
        rich.add_row(row.label, *(_text(row, definition, best[definition.name]) for definition in shown))
    return rich


def _text(row: Row, definition: MetricDefinition, best: float | None) -> Text:
    cell = row.cells.get(definition.name)
    is_best = cell is not None and cell.value is not None and cell.value == best
    return Text(_short(cell, definition), style="bold green" if is_best else "")


def _short(cell: Cell | None, definition: MetricDefinition) -> str:
    """On a terminal the interval is shown where it comes from seeds; the CSV always has it."""
    if cell is not None and cell.n_seeds <= 1:
        cell = Cell(cell.value, None, cell.n_seeds, cell.reason)
    return format_cell(cell, definition)


def _best(table: Sequence[Row], definition: MetricDefinition) -> float | None:
    values = [
        cell.value
        for row in table
        if (cell := row.cells.get(definition.name)) is not None and cell.value is not None
    ]
    if not values or definition.better == "neither":
        return None
    return max(values) if definition.better == "higher" else min(values)


def as_frame(table: Sequence[Row]) -> pd.DataFrame:
    """Every metric, a row a model: value, half-width of the 95 % interval, and the reason of a null."""
    return pd.DataFrame([_flat(row, columns(table)) for row in table])


def _flat(row: Row, definitions: Sequence[MetricDefinition]) -> dict[str, object]:
    model = row.records[0].model
    flat: dict[str, object] = {
        "model": row.label,
        "family": model.family,
        "backbone": model.settings.get("backbone"),
        "latent_dim": model.latent_dim,
        "beta": model.number("beta"),
        "data": row.records[0].data.name,
        "seeds": len(row.records),
        "status": " ".join(sorted({record.status for record in row.records})),
    }
    for definition in definitions:
        cell = row.cells.get(definition.name)
        flat[definition.name] = cell.value if cell else None
        flat[f"{definition.name}_ci95"] = cell.half_width if cell else None
    return flat


def as_csv(table: Sequence[Row]) -> str:
    """Comma-separated, every metric with its interval; empty where there is no number."""
    return as_frame(table).to_csv(index=False)


def as_json(table: Sequence[Row]) -> str:
    """A list of models with every cell, reasons included."""
    content = [
        {
            "model": row.label,
            "spec": row.records[0].model.model_dump(exclude_none=True),
            "problems": row.problems,
            "metrics": {
                name: {
                    "value": cell.value,
                    "ci95": cell.half_width,
                    "seeds": cell.n_seeds,
                    "reason": cell.reason,
                    "unit": METRICS[name].unit,
                    "better": METRICS[name].better,
                }
                for name, cell in row.cells.items()
            },
        }
        for row in table
    ]
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def as_markdown(table: Sequence[Row], *, headline: bool = False) -> str:
    """A table for a README or a pull request, with a legend below it."""
    shown = columns(table, headline=headline)
    lines = [
        "| model | " + " | ".join(heading(definition) for definition in shown) + " |",
        "| --- |" + " ---: |" * len(shown),
    ]
    for row in table:
        cells = [format_cell(row.cells.get(definition.name), definition) for definition in shown]
        lines.append("| " + " | ".join([row.label, *cells]) + " |")
    return "\n".join(lines) + "\n\n" + "\n".join(legend(shown)) + "\n"


def legend(definitions: Sequence[MetricDefinition]) -> list[str]:
    """One line a metric: heading, name and unit, what it is."""
    return [
        f"- **{definition.heading or definition.name}** "
        f"(`{definition.name}`{', ' * bool(definition.unit)}{definition.unit}): {definition.title}"
        for definition in definitions
    ]
