"""How a comparison is printed: what differs first, then a count of every verdict."""

from __future__ import annotations

from collections import Counter

from rich.console import Group
from rich.table import Table
from rich.text import Text

from latentbench.bench.compare import Comparison, Difference, as_frame, as_json

COLOURS = {"better": "green", "worse": "red", "missing": "red", "changed": "yellow", "new": "cyan"}
HEADER = ("model", "seed", "metric", "A", "B", "change", "verdict")


def render(comparison: Comparison, output: str) -> Group | str:
    """The comparison in one of the formats of the command line."""
    if output == "json":
        return as_json(comparison)
    if output == "csv":
        return as_frame(comparison.differences).to_csv(index=False)
    if output == "md":
        return _markdown(comparison)
    parts: list[Table | Text] = [Text(f"A  {comparison.a}\nB  {comparison.b}", style="dim")]
    if different := _different(comparison):
        table = Table(*HEADER, header_style="bold")
        for difference in different:
            *cells, verdict = _cells(difference)
            table.add_row(*cells, Text(verdict, style=COLOURS.get(difference.verdict, "")))
        parts.append(table)
    parts += [Text(note, style="yellow") for note in comparison.notes]
    parts.append(Text(summary(comparison), style="bold"))
    return Group(*parts)


def summary(comparison: Comparison) -> str:
    """One line: how many metrics met which verdict."""
    if not comparison.compared:
        return "nothing comparable was measured in both runs"
    counts = Counter(difference.verdict for difference in comparison.differences)
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())


def _different(comparison: Comparison) -> list[Difference]:
    return [difference for difference in comparison.differences if difference.verdict != "same"]


def _cells(difference: Difference) -> list[str]:
    return [
        difference.model,
        str(difference.seed),
        difference.metric,
        _number(difference.a),
        _number(difference.b),
        "–" if difference.relative is None else f"{difference.relative:+.1%}",
        f"{difference.verdict} ({difference.reason})" if difference.reason else difference.verdict,
    ]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.5g}"


def _markdown(comparison: Comparison) -> str:
    lines = ["| " + " | ".join(HEADER) + " |", "| " + " | ".join("---" for _ in HEADER) + " |"]
    lines += ["| " + " | ".join(_cells(difference)) + " |" for difference in _different(comparison)]
    return "\n".join([*lines, "", *(f"- {note}" for note in comparison.notes), summary(comparison)]) + "\n"
