"""Shows a comparison: the notable findings first, then the number of verdicts and the detectable effect."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from latentbench.bench.compare.verdicts import ONE_SEED, Comparison, Decided, Outcome, gravity
from latentbench.bench.text import escaping, markdown
from latentbench.data.errors import LatentbenchError
from latentbench.data.storage.files import write_atomically
from latentbench.data.text import numbers

if TYPE_CHECKING:
    import pandas as pd

COLOURS = {
    "regressed": "bold red",
    "changed": "yellow",
    "missing": "red",
    "inconclusive": "yellow",
    "new": "cyan",
    "incomparable": "magenta",
}
HEADER = ("model", "metric", "A", "B", "worse by", "threshold", "verdict")
LONGEST = 40
"""The number of findings that a table shows; the JSON has all."""


def render(comparison: Comparison, output: str) -> RenderableType:
    """Return the comparison in one of the formats of the command line."""
    return FORMATS[output](comparison)


def save(comparison: Comparison, path: Path) -> None:
    """Write the comparison to a file, in the format that its ending names."""
    if path.suffix not in ENDINGS:
        raise LatentbenchError(f"{path}: the ending must be one of {', '.join(ENDINGS)}")
    text = FORMATS[ENDINGS[path.suffix]](comparison)
    try:
        write_atomically(path, str(text).encode())
    except OSError as error:
        raise LatentbenchError(f"{path}: cannot be written: {error.strerror}") from None


def summary(comparison: Comparison) -> str:
    """Return one line: the number of findings by verdict, and how many fail."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in comparison.counts.items())
    if not comparison.compared:
        return "nothing comparable was measured in both runs" + (f": {counts}" if counts else "")
    if comparison.failures:
        return f"fails on {len(comparison.failures)} of {len(comparison.findings)}: {counts}"
    if comparison.same_run:
        return "A and B are one run: nothing was compared"
    return f"nothing fails: {counts}" + (", but B is unfinished" if comparison.unfinished else "")


def standing_out(comparison: Comparison) -> list[Outcome]:
    """Return the findings that are not just ok, and those that are better; most serious first."""
    shown = [finding for finding in comparison.findings if finding.verdict != "ok" or finding.is_better]
    return sorted(shown, key=gravity)


def advice(comparison: Comparison) -> list[str]:
    """Return the notes, the failed cases, and the remedies for what could not be decided."""
    lines = list(comparison.notes)
    lines += [f"failed: {case}" for case in comparison.failed]
    if any(finding.why in ONE_SEED for finding in comparison.findings):
        lines.append("one seed cannot tell a regression from noise; use `latentbench run SUITE --seeds 5`")
    needed = [f.further_seeds for f in comparison.findings if f.further_seeds is not None]
    if needed:
        lines.append(f"further seeds to decide the inconclusive metrics: {min(needed)} to {max(needed)}")
    if comparison.power:
        lines.append(comparison.power)
    return lines


def _as_rich(comparison: Comparison) -> RenderableType:
    parts: list[RenderableType] = [Text(f"A  {comparison.a}\nB  {comparison.b}", style="dim")]
    if shown := standing_out(comparison):
        table = Table(*HEADER, header_style="bold")
        for finding in shown[:LONGEST]:
            *cells, verdict = _cells(finding)
            style = COLOURS.get(finding.verdict, "green")
            table.add_row(*map(escaping.plain, cells), escaping.plain(verdict, style))
        parts.append(table)
        parts += [Text(line, style="dim") for line in _left_out(shown)]
    parts += [escaping.plain(line, "yellow") for line in advice(comparison)]
    parts.append(Text(summary(comparison), style="bold red" if comparison.failures else "bold"))
    return Group(*parts)


def _as_markdown(comparison: Comparison) -> str:
    shown = standing_out(comparison)
    bad = comparison.failures or comparison.failed or comparison.unfinished
    mark = "❌" if bad else "✅" if comparison.compared and not comparison.same_run else "⚪"
    lines = [
        f"### {mark} latentbench: {summary(comparison)}",
        "",
        f"A `{comparison.a}`, B `{comparison.b}`",
        "",
    ]
    if shown:
        cells = [list(map(_markdown, _cells(finding))) for finding in shown[:LONGEST]]
        lines += [markdown.table(HEADER, cells, align="llrrrrl"), "", *_left_out(shown)]
    lines += [f"- {_markdown(line)}" for line in advice(comparison)]
    return "\n".join(lines).rstrip() + "\n"


def _markdown(text: str) -> str:
    """Escape text for a cell of a Markdown table."""
    return markdown.text(escaping.printable(text))


def _left_out(shown: list[Outcome]) -> list[str]:
    return [f"… and {len(shown) - LONGEST} more; --format json has all"] if len(shown) > LONGEST else []


def _cells(finding: Outcome) -> list[str]:
    verdict: str = "better" if finding.verdict == "ok" and finding.is_better else finding.verdict
    verdict += f" ({finding.reason})"
    if finding.further_seeds:
        verdict += f"; {finding.further_seeds} more seeds would decide it"
    return [
        finding.model,
        finding.metric,
        _number(finding.a),
        _number(finding.b),
        *(_effect(finding) if isinstance(finding, Decided) else ("–", "–")),
        verdict,
    ]


def _effect(finding: Decided) -> tuple[str, str]:
    """Return the amount by which B is worse, with its interval, and the threshold.

    For a metric without a preferred direction, it is the difference, without a threshold.
    """
    if finding.regression is None:
        return "–" if finding.change is None else f"{finding.change:+.1%} (differs)", "–"
    text, threshold = (
        _amount(finding.regression, finding, signed=True),
        _amount(finding.smallest_effect, finding),
    )
    if finding.evidence is None:
        return text, threshold
    low, high = (
        _amount(bound, finding, signed=True) for bound in (finding.evidence.low, finding.evidence.high)
    )
    return f"{text} [{low}, {high}]", threshold


def _amount(value: float, finding: Decided, *, signed: bool = False) -> str:
    """Return a value as a share of the baseline; in the metric's unit if that is 0."""
    sign = "+" if signed else ""
    return f"{value / abs(finding.a):{sign}.1%}" if finding.a else f"{value:{sign}.3g}"


def _number(value: float | None) -> str:
    return numbers.MISSING if value is None else numbers.significant(value, 5)


def as_frame(comparison: Comparison) -> pd.DataFrame:
    """Return one row per finding."""
    import pandas as pd  # slow to import

    return pd.DataFrame([_flat(finding) for finding in comparison.findings])


def _flat(finding: Outcome) -> dict[str, object]:
    decided = finding if isinstance(finding, Decided) else None
    evidence = decided.evidence if decided else None
    return {
        "model": finding.model,
        "metric": finding.metric,
        "seeds": len(decided.seeds) if decided else 0,
        "a": finding.a,
        "b": finding.b,
        "regression": decided.regression if decided else None,
        "regression_low": evidence.low if evidence else None,
        "regression_high": evidence.high if evidence else None,
        "smallest_effect": decided.smallest_effect if decided else None,
        "p": evidence.p if evidence else None,
        "p_adjusted": decided.p_adjusted if decided else None,
        "verdict": finding.verdict,
        "reason": finding.reason,
    }


def _as_json(comparison: Comparison) -> str:
    content = {
        "a": comparison.a,
        "b": comparison.b,
        "summary": summary(comparison),
        "counts": comparison.counts,
        "correction": comparison.correction,
        "policy": comparison.policy.model_dump(),
        "power": comparison.power,
        "notes": comparison.notes,
        "failed": [asdict(case) for case in comparison.failed],
        "same_run": comparison.same_run,
        "unfinished": comparison.unfinished,
        "findings": [
            {
                **asdict(finding),
                "why": finding.why.name.lower(),
                "reason": finding.reason,
                "fails": finding.fails(comparison.policy.fail_on),
                "further_seeds": finding.further_seeds,
                "regression": finding.regression if isinstance(finding, Decided) else None,
                "detectable": finding.detectable if isinstance(finding, Decided) else None,
            }
            for finding in comparison.findings
        ],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _as_junit(comparison: Comparison) -> str:
    """Return JUnit XML: a finding is a test that fails by the policy, and is skipped if not compared."""
    counts = {"failures": 0, "errors": len(comparison.failed) + comparison.unfinished, "skipped": 0}
    suite = ElementTree.Element("testsuite", name=f"latentbench {comparison.a}")
    for finding in comparison.findings:
        case = ElementTree.SubElement(
            suite, "testcase", classname=escaping.printable(finding.model), name=finding.metric
        )
        text = escaping.printable(
            ", ".join(
                f"{name} {cell}"
                for name, cell in zip(HEADER[2:], _cells(finding)[2:], strict=True)
                if cell != "–"
            )
        )
        if finding.fails(comparison.policy.fail_on):
            counts["failures"] += 1
            ElementTree.SubElement(case, "failure", type=finding.verdict, message=text)
        elif finding.verdict in ("new", "incomparable", "missing"):
            counts["skipped"] += 1
            ElementTree.SubElement(case, "skipped", message=text)
        else:
            ElementTree.SubElement(case, "system-out").text = text
    for failed in comparison.failed:
        case = ElementTree.SubElement(
            suite, "testcase", classname="run", name=escaping.printable(failed.name)
        )
        ElementTree.SubElement(case, "error", type=failed.status, message=escaping.printable(str(failed)))
    if comparison.unfinished:
        case = ElementTree.SubElement(suite, "testcase", classname="run", name="finished")
        ElementTree.SubElement(case, "error", type="unfinished", message="the run was interrupted")
    suite.set("tests", str(len(suite)))
    for name, count in counts.items():
        suite.set(name, str(count))
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


FORMATS: dict[str, Callable[[Comparison], RenderableType]] = {
    "rich": _as_rich,
    "csv": lambda comparison: escaping.csv(as_frame(comparison)),
    "md": _as_markdown,
    "json": _as_json,
    "junit": _as_junit,
}
ENDINGS = {".md": "md", ".json": "json", ".csv": "csv", ".xml": "junit"}
