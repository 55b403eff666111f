"""The report: one HTML page with the tables and pictures of a run, which needs nothing but itself."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template

from latentbench.analysis.catalogue import ANALYSES
from latentbench.analysis.core.metric import MetricDefinition
from latentbench.analysis.figures.catalogue import FIGURES
from latentbench.bench.present import tables
from latentbench.bench.present.claims import findings
from latentbench.bench.present.figures import drawn
from latentbench.bench.present.tables import Row
from latentbench.bench.run import suite
from latentbench.bench.store.record import Record
from latentbench.bench.store.run import Run
from latentbench.bench.store.store import Store
from latentbench.data.errors import LatentbenchError

DIRECTIONS = {"higher": "higher is better", "lower": "lower is better", "neither": "describes, does not rank"}


def write_report(run: Run, store: Store) -> Path:
    """Write `reports/<suite>.html`; returns its path. LatentbenchError for a run without records."""
    rows = tables.rows(run.last_records)
    if not rows:
        raise LatentbenchError(f"{run.path}: no records in this run")
    return store.write(f"reports/{run.suite}.html", render(run, store, rows))


def render(run: Run, store: Store, rows: Sequence[Row]) -> str:
    """The page. Whatever comes from a run is escaped."""
    notes = Notes()
    return _template().render(
        title=tables.title(run.suite, rows),
        suite=run.suite,
        description=_description(run.suite),
        facts=_facts(run, store),
        problems=[problem for row in rows for problem in row.problems],
        warnings=run.warnings,
        models=[row.label for row in rows],
        headline=_lines(rows, tables.columns(rows, headline=True), notes),
        findings=findings(rows),
        sections=_sections(rows, notes),
        notes=notes.reasons,
        spread=any(len(row.records) > 1 for row in rows),
        pictures=_pictures(run, store),
        command=_command(run),
        commit=run.last_records[0].code.commit,
    )


def _template() -> Template:
    text = (resources.files("latentbench.bench.present") / "templates" / "report.html.j2").read_text(
        encoding="utf-8"
    )
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(text)


# Tables


@dataclass
class Notes:
    """Why numbers are missing: each reason once, numbered from 1."""

    reasons: list[str] = field(default_factory=list)

    def number(self, reason: str) -> int:
        """The number of a reason, a new one where it is new."""
        if reason not in self.reasons:
            self.reasons.append(reason)
        return self.reasons.index(reason) + 1


@dataclass(frozen=True)
class Shown:
    """A cell as the page shows it: `value` with `spread`, or a dash with the number of its reason."""

    value: str
    spread: str
    sort: float | None
    best: bool
    reason: str | None
    note: int | None


@dataclass(frozen=True)
class Line:
    """A metric and its cells, one a model."""

    metric: MetricDefinition
    heading: str
    direction: str
    cells: tuple[Shown, ...]


@dataclass(frozen=True)
class Section:
    """The metrics of one analysis."""

    name: str
    lines: tuple[Line, ...]


def _sections(rows: Sequence[Row], notes: Notes) -> list[Section]:
    """Every metric under the analysis that measures it."""
    columns = tables.columns(rows)
    sections = [
        Section(
            name, _lines(rows, [m for m in columns if m.name in {d.name for d in analysis.metrics}], notes)
        )
        for name, analysis in ANALYSES.items()
    ]
    return [section for section in sections if section.lines]


def _lines(rows: Sequence[Row], metrics: Sequence[MetricDefinition], notes: Notes) -> tuple[Line, ...]:
    return tuple(_line(rows, metric, notes) for metric in metrics)


def _line(rows: Sequence[Row], metric: MetricDefinition, notes: Notes) -> Line:
    best = _best(rows, metric)
    cells = tuple(_shown(row, metric, best, notes) for row in rows)
    return Line(metric, tables.heading(metric), DIRECTIONS[metric.better], cells)


def _shown(row: Row, metric: MetricDefinition, best: float | None, notes: Notes) -> Shown:
    cell = row.cells.get(metric.name)
    if cell is None or cell.value is None:
        reason = (cell.reason if cell else None) or "not measured"
        return Shown("–", "", None, False, reason, notes.number(reason))
    value, _, spread = tables.format_cell(cell, metric).partition(" ± ")
    return Shown(value, spread, cell.value, cell.value == best, None, None)


def _best(rows: Sequence[Row], metric: MetricDefinition) -> float | None:
    """The best value over all models; None where no end is better, or where there is nothing to beat."""
    cells = [row.cells.get(metric.name) for row in rows]
    values = [cell.value for cell in cells if cell is not None and cell.value is not None]
    if metric.better == "neither" or len(values) < 2:
        return None
    return max(values) if metric.better == "higher" else min(values)


# What was run


def _description(name: str) -> str:
    """A shipped suite's own words; a suite of the user's is known here by its name alone."""
    return suite.load(name).description if name in suite.names() else ""


def _facts(run: Run, store: Store) -> dict[str, str]:
    records = run.last_records
    first = records[0]
    seeds = sorted({record.seed for record in records})
    state = "" if run.finished else " (unfinished)"
    facts = {
        "Run": run.stem + state,
        "Data": f"{first.data.name}: {first.data.train:,} train and {first.data.test:,} test images",
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
    return f"{_duration(train)} training, {_duration(evaluate)} measuring"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 100 else f"{minutes / 60:.1f} h"


def _code(record: Record) -> str:
    code = record.code
    commit = f", commit {code.commit[:8]}" if code.commit else ""
    changed = ", with changes not committed" if code.dirty else ""
    return f"latentbench {code.version}{commit}{changed}, source {code.source}"


def _hardware(store: Store, name: str) -> dict[str, str]:
    """What the environment's file says of the machine; its name alone where the file is gone."""
    try:
        content = json.loads((store.root / "environments" / f"{name}.json").read_text(encoding="utf-8"))
        packages = ", ".join(f"{package} {version}" for package, version in content["packages"].items())
        machine = [f"{content['cpu']}, {content['cpu_cores']} cores", _gigabytes(content["memory_bytes"])]
        if content["gpu"]:
            machine.append(f"{content['gpu']} ({_gigabytes(content['gpu_memory_bytes'])})")
        software = f"{content['os']}, Python {content['python']}, {packages}"
    except (OSError, ValueError, KeyError, TypeError):
        return {"Environment": name}
    return {"Machine": "; ".join(machine), "Software": software, "Environment": name}


def _gigabytes(count: int) -> str:
    return f"{count / 2**30:.0f} GiB"


def _command(run: Run) -> str:
    name = run.suite if run.suite in suite.names() else f"{run.suite}.yaml"
    return f"latentbench run {name} --seeds {len({record.seed for record in run.records})}"


# Pictures


@dataclass(frozen=True)
class Embedded:
    """A picture within the page."""

    name: str
    title: str
    caption: str
    source: str


def _pictures(run: Run, store: Store) -> list[Embedded]:
    return [
        Embedded(name, FIGURES[name].title, FIGURES[name].caption, _data_url(path))
        for name, path in drawn(run, store).items()
    ]


def _data_url(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
