"""The contents of `latentbench list`: suites, models, data sets and metrics, from their registries."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from rich.table import Table

from latentbench.bench.text import escaping, markdown, shipped
from latentbench.data.text import numbers

Rows = list[dict[str, str]]


def suites() -> Rows:
    """List the shipped suites."""
    from latentbench.bench.run import suite
    from latentbench.bench.sweep import spec

    loaded = [suite.load(name) for name in shipped.names("suites")]
    sweeps = [spec.load(name) for name in shipped.names("sweeps")]
    return [
        {
            "suite": s.name,
            "data": ", ".join(map(str, s.data)),
            "models": str(len(s.entries)),
            "seeds": str(len(s.seeds)),
            "description": s.description,
        }
        for s in loaded
    ] + [
        {
            "suite": s.name,
            "data": "noise",
            "models": str(len(s.specs)),
            "seeds": "–",
            "description": f"{s.description} Presets: {', '.join(s.presets)}.",
        }
        for s in sweeps
    ]


def models() -> Rows:
    """List the families, with the settings that each one takes."""
    from latentbench.models.family import load_installed_families
    from latentbench.models.zoo import FAMILIES

    load_installed_families()
    return [
        {
            "family": name,
            "settings": ", ".join(
                field.alias or name for name, field in family.Spec.model_fields.items() if name != "family"
            ),
            "description": (family.__doc__ or "").strip().splitlines()[0],
            "paper": family.paper,
        }
        for name, family in FAMILIES.items()
    ]


def data() -> Rows:
    """List the data sets that are known by name."""
    from latentbench.analysis.definitions import definitions

    return [{"data": name, "description": text} for name, text in definitions().datasets.items()]


def metrics() -> Rows:
    """List every metric, in the order of the tables; `opt-in` if a suite has to name its analysis."""
    from latentbench.analysis.definitions import definitions

    known = definitions()
    groups = [
        (f"{name} (opt-in)" if analysis.opt_in else name, analysis.metrics)
        for name, analysis in known.analyses.items()
    ]
    of_analyses = {metric for _, metrics in groups for metric in metrics}
    of_sweeps = tuple(metric for metric in known.metrics.values() if metric not in of_analyses)
    return [
        {
            "metric": metric.name,
            "analysis": group,
            "version": str(metric.version),
            "unit": metric.unit,
            "better": metric.better,
            "description": metric.title,
        }
        for group, metrics in [*groups, ("rows of a sweep", of_sweeps)]
        for metric in metrics
    ]


LISTINGS: dict[str, Callable[[], Rows]] = {
    "suites": suites,
    "models": models,
    "data": data,
    "metrics": metrics,
}


def render(rows: Sequence[Mapping[str, object]], output: str) -> Table | str:
    """Return the rows in one of the formats of the command line."""
    if output == "json":
        return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
    if output == "csv":
        import pandas as pd  # slow to import

        return escaping.csv(pd.DataFrame(rows))
    header = list(rows[0])
    cells = [[_text(value) for value in row.values()] for row in rows]
    if output == "md":
        escaped = [[markdown.text(escaping.printable(text)) for text in row] for row in cells]
        return markdown.table(header, escaped) + "\n"
    table = Table(header_style="bold")
    for name in header:
        table.add_column(name, no_wrap=name == header[0])
    for row in cells:
        table.add_row(*map(escaping.plain, row))
    return table


def _text(value: object) -> str:
    """Return a value as text for a reader."""
    if value is None:
        return numbers.MISSING
    return numbers.significant(value, 6) if isinstance(value, float) else str(value)
