"""Tables: always regenerated from records, columns always in the order in which metrics are defined."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from latentbench.analysis.core.metric import Doubt, MetricDefinition
from latentbench.analysis.definitions import definition_of
from latentbench.analysis.features.request import measures, variant
from latentbench.analysis.statistics.estimates import Repeated
from latentbench.bench.present.rows import Cell, TableRow, columns, repeated, without_values
from latentbench.bench.text import escaping, markdown
from latentbench.data.text import numbers

if TYPE_CHECKING:
    import pandas as pd

WEAK_JUDGE = 0.8
"""Accuracy of a judge below which it is called weak."""
DOUBT_MARKS: dict[Doubt, str] = {"contended": "†", "collapsed": "‡"}
DOUBTS: dict[Doubt, str] = {
    "contended": "other work disturbed the timing",
    "collapsed": "the samples have collapsed, which this metric does not see",
}
STILL_FALLING = "§"
"""Marks a model whose loss was still falling when its training ended."""
ELSEWHERE = "¶"
"""Marks results that another program measured."""
ARROWS = {"higher": "↑", "lower": "↓", "neither": ""}
OVER_SEEDS = "± is half of the 95 % interval over seeds, and over test images where their error is known"
OF_ONE_SEED = (
    "one seed: ± is 1.96 standard errors over the test images and says nothing about other seeds; "
    "no ± where that is not known"
)


def cell_texts(cell: Cell | None, definition: MetricDefinition, kind: Repeated) -> tuple[str, str, str]:
    """Return value, error, and the number of seeds with a value if some have none.

    An error of another kind than the table's is left out: readers would take it for one over seeds.
    """
    if cell is None or cell.estimate is None:
        return numbers.MISSING, "", ""
    found = cell.estimate
    error = found.half_width if found.repeated == kind else None
    value, shown = numbers.value_and_error(found.value, error, definition.decimals)
    return value, shown, cell.share


def format_cell(cell: Cell | None, definition: MetricDefinition, kind: Repeated) -> str:
    """Format `0.1230 ± 0.0040 (2/3 seeds)`, or a dash if there is no number."""
    value, error, share = cell_texts(cell, definition, kind)
    doubt = f" {DOUBT_MARKS[cell.doubt]}" if cell is not None and cell.doubt else ""
    return value + (f" ± {error}" if error else "") + (f" ({share})" if share else "") + doubt


def title(suite: str, table: Sequence[TableRow]) -> str:
    """Return the title of a table: suite, data, number of images and seeds."""
    found = data_sets(table)
    seeds = max(len(row.records) for row in table)
    return (
        f"{suite}: {found[0] if len(found) == 1 else f'{len(found)} data sets'}, "
        f"{seeds} seed{'s' if seeds > 1 else ''}"
    )


def data_sets(table: Sequence[TableRow]) -> list[str]:
    """Return each data set of a table with its numbers of images."""
    first = {row.data: row.records[0].data for row in reversed(table)}
    return [
        f"{name or data.name}, {data.train:,} train and {data.test:,} test images"
        if data.test
        else f"{name or data.name}, images not stated"
        for name, data in reversed(first.items())
    ]


def how_to_read(table: Sequence[TableRow], shown: Sequence[MetricDefinition]) -> str:
    """Explain ± in a table, and a number of seeds after a value if there is one."""
    text = OVER_SEEDS if repeated(table) == "seeds" else OF_ONE_SEED
    cells = [row.cells.get(definition.name) for row in table for definition in shown]
    if any(cell is not None and cell.share for cell in cells):
        text += "; (2/3 seeds): only two of three seeds have a value"
    seen = {cell.doubt for cell in cells if cell is not None}
    for doubt in (doubt for doubt in DOUBTS if doubt in seen):
        text += f"; {DOUBT_MARKS[doubt]}: {DOUBTS[doubt]}"
    if any(row.still_falling for row in table):
        text += f"; {STILL_FALLING}: the loss was still falling when the training ended"
    for program in dict.fromkeys(row.measured_by for row in table if row.measured_by):
        text += f"; {ELSEWHERE}: measured by {program}, not by latentbench"
    return text + _protocols(table) + _judges(table)


def _protocols(table: Sequence[TableRow]) -> str:
    """Name the evaluation protocols with the beginnings of their hashes."""
    every = dict.fromkeys(each for row in table for record in row.records for each in record.features)
    found = [
        f"{variant(each.name)} ({(each.weights or '')[:8]})"
        for each in every
        if measures(each.name) == "protocol"
    ]
    return f"; protocol{'s' * (len(found) > 1)}: {', '.join(found)}" if found else ""


def _judges(table: Sequence[TableRow]) -> str:
    """The judges' accuracy on the original test images: no image made by a model can be judged better."""
    found = dict.fromkeys(judge for row in table for record in row.records for judge in record.judges)
    if not found:
        return ""
    known = ", ".join(f"{judge.accuracy:.1%} ({judge.hash[:8]})" for judge in found)
    weak = min(judge.accuracy for judge in found) < WEAK_JUDGE
    return (
        f"; share of the original test images that the judges recognise: {known}"
        + (f", which is little (below {WEAK_JUDGE:.0%}): what they say of other images is uncertain" * weak)
        + ("; ± includes the spread of the judges" if len(found) > 1 else "")
    )


def model_name(row: TableRow) -> str:
    """A model's label, with a mark where its loss was still falling at the end, or if it was imported."""
    marks = f" {STILL_FALLING}" * row.still_falling + f" {ELSEWHERE}" * bool(row.measured_by)
    return escaping.printable(row.label) + marks


def footnote(table: Sequence[TableRow]) -> str:
    """Return the legend of the numbers, and the code and machine that measured them."""
    record = table[0].records[0]
    found = data_sets(table)
    data = f"data: {'; '.join(found)}\n" if len(found) > 1 else ""
    commit = f"commit {record.code.commit[:8]}" if record.code.commit else f"source {record.code.source}"
    by = "imported" if record.measured_by else f"latentbench {record.code.version}"
    return (
        f"{data}{how_to_read(table, columns(table, headline=True))}; {numbers.MISSING}: no value, the reason "
        f"is in --format json; all metrics are in --format csv\n"
        f"{_no_values(table)}{by}, {commit}, {_environments(table)}"
    )


def _no_values(table: Sequence[TableRow]) -> str:
    """Name the headline metrics that no model has a value of, with the reason if there is only one."""
    lines = ""
    for definition in without_values(table):
        cells = (row.cells.get(definition.name) for row in table)
        reasons = list(dict.fromkeys(cell.reason for cell in cells if cell is not None))
        why = f" ({reasons[0]})" if len(reasons) == 1 and reasons[0] else ""
        lines += f"no value for any model: {definition.heading or definition.name}{why}\n"
    return lines


def _environments(table: Sequence[TableRow]) -> str:
    """Return the environment of the records; with several, their times do not compare."""
    counts = Counter(record.environment for row in table for record in row.records)
    if len(counts) == 1:
        return f"environment {min(counts)}"
    listed = ", ".join(f"{name} ({count})" for name, count in counts.most_common())
    return f"different environments, whose times do not compare (cases): {listed}"


def heading(definition: MetricDefinition) -> str:
    """Return the short heading with an arrow towards the better end."""
    return f"{definition.heading or definition.name} {ARROWS[definition.better]}".strip()


def as_frame(table: Sequence[TableRow]) -> pd.DataFrame:
    """Return every metric, one row for each model: value, half of the 95 % interval, and seeds with a value.

    `interval_over` says whether intervals are over seeds, or over the examples of one seed; so does a
    number of seeds of 1 for a single metric.
    """
    import pandas as pd  # slow to import

    shown = columns(table)
    settings = list(dict.fromkeys(name for row in table for name in row.records[0].model.labelled_settings()))

    frame = pd.DataFrame([_flat(row, shown, settings) for row in table])
    if any(row.records[0].model.code_shape for row in table):
        frame.insert(3, "code_shape", [row.records[0].model.size for row in table])
    return frame


def _flat(row: TableRow, shown: Sequence[MetricDefinition], settings: Sequence[str]) -> dict[str, object]:
    model = row.records[0].model
    flat: dict[str, object] = {
        "model": row.label,
        "family": model.family,
        "latent_dim": model.latent_dim,
        **{name: model.settings.get(name) for name in settings},
        "data": row.data or row.records[0].data.name,
        "seeds": len(row.records),
        "interval_over": repeated([row]),
        "status": " ".join(sorted({record.status for record in row.records})),
        "still_falling": row.still_falling,
    }
    for definition in shown:
        cell = row.cells.get(definition.name)
        flat[definition.name] = cell.value if cell else None
        flat[f"{definition.name}_ci95"] = cell.half_width if cell else None
        flat[f"{definition.name}_seeds"] = cell.measured if cell else 0
    return flat


def as_csv(table: Sequence[TableRow]) -> str:
    """Return comma-separated values, every metric with its interval; empty if there is no number."""
    return escaping.csv(as_frame(table))


def as_json(table: Sequence[TableRow]) -> str:
    """Return a list of models with every cell, reasons included."""
    content = [
        {
            "model": row.label,
            "data": row.data or row.records[0].data.name,
            "spec": row.records[0].model.model_dump(exclude_none=True),
            "problems": row.problems,
            "still_falling": row.still_falling,
            "metrics": {
                name: {
                    "value": cell.value,
                    "ci95": cell.half_width,
                    "ci95_common": cell.estimate.common if cell.estimate else None,
                    "interval_over": cell.estimate.repeated if cell.estimate else None,
                    "n": cell.estimate.n if cell.estimate else None,
                    "seeds": cell.measured,
                    "reason": cell.reason,
                    "doubt": cell.doubt,
                    "unit": definition_of(name).unit,
                    "better": definition_of(name).better,
                }
                for name, cell in row.cells.items()
            },
        }
        for row in table
    ]
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def as_markdown(table: Sequence[TableRow], *, headline: bool = False) -> str:
    """Return a table for a README or a pull request, with an explanation and a legend below."""
    shown, kind = columns(table, headline=headline), repeated(table)
    named = any(row.data for row in table)
    cells = [
        [
            *([markdown.text(escaping.printable(row.data))] * named),
            markdown.text(model_name(row)),
            *(format_cell(row.cells.get(definition.name), definition, kind) for definition in shown),
        ]
        for row in table
    ]
    heads = [*(["data"] * named), "model", *map(heading, shown)]
    lines = markdown.table(heads, cells, align="llr" if named else "lr")
    return "\n\n".join([lines, f"{how_to_read(table, shown)}.", "\n".join(legend(shown))]) + "\n"


def legend(definitions: Sequence[MetricDefinition]) -> list[str]:
    """Return one line for each metric: heading, name and unit, and its meaning."""
    return [
        f"- **{definition.heading or definition.name}** "
        f"(`{definition.name}`{', ' * bool(definition.unit)}{definition.unit}): {definition.title}"
        for definition in definitions
    ]
