"""Writes the tables of docs/metric_audit.md: the verdicts of the published battery on our measures.

    python -m latentbench.bench.maintain.audit_page docs/metric_audit.md

Runs the battery in full, in one process per core: about an hour of processor time.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import joblib

from latentbench.analysis.audit.battery import CHECKS, BatterySize, run
from latentbench.analysis.audit.measures import FAMILIES
from latentbench.analysis.audit.verdicts import AuditCell, differences, tables
from latentbench.bench.present.listing import render
from latentbench.bench.text import markdown

BLOCK = "audit"


def page(cells: Sequence[AuditCell], effort: BatterySize) -> str:
    """The tables in Markdown, how they were measured, and what differs from the published verdicts."""
    shown = "\n".join(str(render(table, "md")) for table in tables(cells).values())
    fewer = [
        f"{family.repeats} for {', '.join(family.measures)}"
        for family in FAMILIES.values()
        if family.repeats is not None and family.repeats < effort.repeats
    ]
    made = f"{effort.size:,} points; mean of {effort.repeats} repeats"
    made += f" ({'; '.join(fewer)})" if fewer else ""
    made += "; about eleven points of each sweep." if effort.thinned else "."
    found = "\n".join(f"- {markdown.text(line)}" for line in differences(cells))
    return f"{shown}\n{made}\n\n{found}"


def main() -> None:
    """Rewrite the block in the file that is named."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m latentbench.bench.maintain.audit_page docs/metric_audit.md")
    path, effort = Path(sys.argv[1]), BatterySize()

    def watch(done: int) -> None:
        sys.stderr.write(f"\r{done} tasks")

    cells = run(list(CHECKS), list(FAMILIES), effort, jobs=joblib.cpu_count(), watch=watch)
    content = page(cells, effort)
    text = markdown.with_blocks(path.read_text(encoding="utf-8"), {BLOCK: content}, path.name)
    path.write_text(text, encoding="utf-8")
    sys.stdout.write(content + "\n")


if __name__ == "__main__":
    main()
