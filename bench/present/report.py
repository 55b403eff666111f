"""The report: one self-contained HTML page with the tables and figures of a run."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template

from latentbench.analysis.core.metric import MetricDefinition
from latentbench.analysis.definitions import definitions
from latentbench.analysis.figures.catalogue import FIGURES
from latentbench.analysis.predictors import ENOUGH, predictors
from latentbench.analysis.statistics.estimates import Repeated
from latentbench.bench.present import tables
from latentbench.bench.present.claims.checks import findings, other_records
from latentbench.bench.present.figures import drawn, gaps
from latentbench.bench.present.rows import Cell, TableRow, columns, decisive_values, leaders, repeated, rows
from latentbench.bench.store.records.data_sets import label_on
from latentbench.bench.store.records.record import Record
from latentbench.bench.store.run import Run
from latentbench.bench.store.store import Store
from latentbench.bench.text import escaping, shipped
from latentbench.data.errors import LatentbenchError
from latentbench.data.text import numbers

DIRECTIONS = {"higher": "higher is better", "lower": "lower is better", "neither": "describes, does not rank"}


def write_report(run: Run, store: Store) -> Path:
    """Write `reports/<suite>.html`; return its path. Raises LatentbenchError for a run without records."""
    table = rows(run.last_records)
    if not table:
        raise LatentbenchError(f"{run.path}: no records in this run")
    return store.write_bytes(f"reports/{run.suite}.html", render(run, store, table))


def render(run: Run, store: Store, table: Sequence[TableRow]) -> bytes:
    """Return the page in UTF-8. All text that comes from a run is escaped."""
    notes = Notes()
    headline = columns(table, headline=True)
    # A correlation over several data sets would be one of data sets.
    first = [row for row in table if row.data == table[0].data]
    pieces = _template().generate(
        title=tables.title(run.suite, table),
        suite=run.suite,
        description=shipped.description(run.suite),
        facts=_facts(run, store, table),
        problems=[problem for row in table for problem in row.problems],
        warnings=[*run.warnings, *gaps(run)],
        models=[tables.model_name(row) for row in table],
        data_of=[row.data for row in table] if table[0].data else [],
        headline=_lines(table, headline, notes),
        findings=findings(run.last_records, other_records(store)),
        predictors=predictors(decisive_values(first)),
        few_models=ENOUGH if len(first) < ENOUGH else None,
        sections=_sections(table, notes),
        how_to_read=tables.how_to_read(table, columns(table)),
        notes=notes.reasons,
        several_seeds=repeated(table) == "seeds",
        figures=_figures(run, store),
        command=_command(run),
        commit=run.last_records[0].code.commit,
    )
    page = bytearray()
    for piece in pieces:  # a page of thousands of models has half a million
        page += piece.encode()
    return bytes(page)


def _template() -> Template:
    text = (resources.files("latentbench.bench.present") / "templates" / "report.html.j2").read_text(
        encoding="utf-8"
    )
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["printable"] = escaping.printable
    return environment.from_string(text)


# Tables


@dataclass
class Notes:
    """Reasons of missing numbers: each reason once, numbered from 1."""

    numbers: dict[str, int] = field(default_factory=dict)

    @property
    def reasons(self) -> list[str]:
        """The reasons in the order of their numbers."""
        return list(self.numbers)

    def number(self, reason: str) -> int:
        """Return the number of a reason, a new one if it is new."""
        return self.numbers.setdefault(reason, len(self.numbers) + 1)


@dataclass(frozen=True, slots=True)
class Shown:
    """A cell of the page: a value with its error, or a dash with the number of its reason."""

    value: str
    error: str
    share: str
    """The number of seeds with a value, if some have none."""
    sort: float | None
    best: bool
    reason: str | None
    note: int | None


@dataclass(frozen=True)
class ReportLine:
    """A metric and its cells, one for each model."""

    metric: MetricDefinition
    heading: str
    direction: str
    cells: tuple[Shown, ...]


@dataclass(frozen=True)
class Section:
    """The metrics of one analysis."""

    name: str
    lines: tuple[ReportLine, ...]


def _sections(table: Sequence[TableRow], notes: Notes) -> list[Section]:
    """Group every metric under the analysis that measures it."""
    shown = columns(table)
    sections = []
    for name, analysis in definitions().analyses.items():
        names = {definition.name for definition in analysis.metrics}
        sections.append(Section(name, _lines(table, [each for each in shown if each.name in names], notes)))
    return [section for section in sections if section.lines]


def _lines(
    table: Sequence[TableRow], metrics: Sequence[MetricDefinition], notes: Notes
) -> tuple[ReportLine, ...]:
    return tuple(_line(table, metric, notes) for metric in metrics)


def _line(table: Sequence[TableRow], metric: MetricDefinition, notes: Notes) -> ReportLine:
    leader, kind = leaders(table, metric), repeated(table)
    cells = tuple(_shown(row.cells.get(metric.name), metric, kind, leader[row.data], notes) for row in table)
    return ReportLine(metric, tables.heading(metric), DIRECTIONS[metric.better], cells)


def _shown(
    cell: Cell | None, metric: MetricDefinition, kind: Repeated, leader: float | None, notes: Notes
) -> Shown:
    value, error, share = tables.cell_texts(cell, metric, kind)
    if cell is None or cell.value is None:
        reason = (cell.reason if cell else None) or "not measured"
        return Shown(value, "", "", None, False, reason, notes.number(reason))
    note = notes.number(cell.reason) if (share or cell.doubt) and cell.reason else None
    leads = cell.decisive is not None and cell.decisive == leader
    return Shown(value, error, share, cell.value, leads, cell.reason, note)


# What was run


def _facts(run: Run, store: Store, table: Sequence[TableRow]) -> dict[str, str]:
    records = run.last_records
    first = records[0]
    seeds = sorted({record.seed for record in records})
    state = "" if run.finished else " (unfinished)"
    facts = {
        "Run": run.stem + state,
        "Data": "; ".join(tables.data_sets(table)),
        "Cases": f"{len(records)}, seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}",
        "When": _when(records),
        "Time": _time(records),
        "Code": _code(first),
    }
    for name in sorted({record.environment for record in records}):
        facts |= _hardware(store, name)
    return facts


def _when(records: Sequence[Record]) -> str:
    return f"{min(record.started for record in records)[:16].replace('T', ' ')} UTC"


def _time(records: Sequence[Record]) -> str:
    train = math.fsum(record.seconds.train or 0 for record in records)
    evaluate = math.fsum(record.seconds.evaluate or 0 for record in records)
    return f"{numbers.duration(train)} training, {numbers.duration(evaluate)} measuring"


def _code(record: Record) -> str:
    code = record.code
    commit = f", commit {code.commit[:8]}" if code.commit else ""
    changed = ", with uncommitted changes" if code.dirty else ""
    return f"latentbench {code.version}{commit}{changed}, source {code.source}"


def _hardware(store: Store, name: str) -> dict[str, str]:
    """Return the machine from the environment's file; only its name if the file is missing."""
    try:
        content = json.loads((store.root / "environments" / f"{name}.json").read_text(encoding="utf-8"))
        packages = ", ".join(f"{package} {version}" for package, version in content["packages"].items())
        machine = [
            f"{content['cpu']}, {content['cpu_cores']} cores",
            numbers.gibibytes(content["memory_bytes"]),
        ]
        if content["gpu"]:
            machine.append(f"{content['gpu']} ({numbers.gibibytes(content['gpu_memory_bytes'])})")
        software = f"{content['os']}, Python {content['python']}, {packages}"
    except (OSError, ValueError, KeyError, TypeError):
        return {"Environment": name}
    return {"Machine": "; ".join(machine), "Software": software, "Environment": name}


def _command(run: Run) -> str:
    name = run.suite if run.suite in shipped.names("suites") else f"{run.suite}.yaml"
    return f"latentbench run {name} --seeds {len({record.seed for record in run.records})}"


# Figures


@dataclass(frozen=True)
class EmbeddedFigure:
    """A figure within the page."""

    name: str
    title: str
    caption: str
    source: str


def _figures(run: Run, store: Store) -> list[EmbeddedFigure]:
    return [
        EmbeddedFigure(
            f"{each.figure}-{number}" if each.data else each.figure,
            label_on(FIGURES[each.figure].title, each.data),
            FIGURES[each.figure].caption,
            _data_url(each.path),
        )
        for number, each in enumerate(drawn(run, store))
    ]


def _data_url(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
