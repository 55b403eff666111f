"""How a comparison is shown: what stands out first, then how much there was and what could be seen."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from latentbench.bench.compare.verdicts import Comparison, Finding, gravity
from latentbench.data.errors import LatentbenchError
from latentbench.data.files import write_atomically

COLOURS = {
    "regressed": "bold red",
    "changed": "yellow",
    "missing": "red",
    "inconclusive": "yellow",
    "new": "cyan",
    "incomparable": "magenta",
}
HEADER = ("model", "metric", "A", "B", "worse by", "matters from", "verdict")
LONGEST = 40
"""Findings shown in a table; the JSON has all."""


def render(comparison: Comparison, output: str) -> RenderableType:
    """The comparison in one of the formats of the command line."""
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
    """One line: how many metrics met which verdict, and what fails."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in comparison.counts.items())
    if not comparison.compared:
        return "nothing comparable was measured in both runs" + (f": {counts}" if counts else "")
    if comparison.failures:
        return f"fails on {len(comparison.failures)} of {len(comparison.findings)}: {counts}"
    return f"nothing fails: {counts}"


def standing_out(comparison: Comparison) -> list[Finding]:
    """What is not simply ok, and what is better; the gravest first."""
    shown = [finding for finding in comparison.findings if finding.verdict != "ok" or finding.is_better]
    return sorted(shown, key=gravity)


def advice(comparison: Comparison) -> list[str]:
    """What to do about what could not be decided."""
    lines = list(comparison.notes)
    lines += [f"failed: {case}" for case in comparison.failed]
    if any(finding.reason.startswith("one seed") for finding in comparison.findings):
        lines.append("one seed tells no luck from loss; `latentbench run SUITE --seeds 5` does")
    needed = [f.further_seeds for f in comparison.findings if f.further_seeds is not None]
    if needed:
        lines.append(f"further seeds that would settle what is inconclusive: {min(needed)} to {max(needed)}")
    if comparison.power:
        lines.append(comparison.power)
    return lines


def _as_rich(comparison: Comparison) -> RenderableType:
    parts: list[RenderableType] = [Text(f"A  {comparison.a}\nB  {comparison.b}", style="dim")]
    if shown := standing_out(comparison):
        table = Table(*HEADER, header_style="bold")
        for finding in shown[:LONGEST]:
            *cells, verdict = _cells(finding)
            table.add_row(*cells, Text(verdict, style=COLOURS.get(finding.verdict, "green")))
        parts.append(table)
        parts += [Text(line, style="dim") for line in _left_out(shown)]
    parts += [Text(line, style="yellow") for line in advice(comparison)]
    parts.append(Text(summary(comparison), style="bold red" if comparison.failures else "bold"))
    return Group(*parts)


def _as_markdown(comparison: Comparison) -> str:
    shown = standing_out(comparison)
    mark = "❌" if comparison.failures or comparison.failed else "✅" if comparison.compared else "⚪"
    lines = [
        f"### {mark} latentbench: {summary(comparison)}",
        "",
        f"A `{comparison.a}`, B `{comparison.b}`",
        "",
    ]
    if shown:
        lines += ["| " + " | ".join(HEADER) + " |", "| --- | --- |" + " ---: |" * 4 + " --- |"]
        lines += ["| " + " | ".join(_cells(finding)) + " |" for finding in shown[:LONGEST]]
        lines += ["", *_left_out(shown)]
    lines += [f"- {line}" for line in advice(comparison)]
    return "\n".join(lines).rstrip() + "\n"


def _left_out(shown: list[Finding]) -> list[str]:
    return [f"… and {len(shown) - LONGEST} more; --format json has all"] if len(shown) > LONGEST else []


def _cells(finding: Finding) -> list[str]:
    verdict: str = "better" if finding.verdict == "ok" and finding.is_better else finding.verdict
    if finding.reason:
        verdict += f" ({finding.reason})"
    if finding.further_seeds:
        verdict += f"; {finding.further_seeds} further seeds would settle it"
    return [
        finding.model,
        finding.metric,
        _number(finding.a),
        _number(finding.b),
        _harm(finding),
        _amount(finding.smallest_effect, finding) if finding.better != "neither" else "–",
        verdict,
    ]


def _harm(finding: Finding) -> str:
    """By how much B is worse, with its interval; of a metric without a better end, by how much it differs."""
    if finding.harm is None:
        return "–" if finding.change is None else f"{finding.change:+.1%} (differs)"
    text = _amount(finding.harm, finding, signed=True)
    if finding.evidence is None:
        return text
    low, high = (
        _amount(bound, finding, signed=True) for bound in (finding.evidence.low, finding.evidence.high)
    )
    return f"{text} [{low}, {high}]"


def _amount(value: float | None, finding: Finding, *, signed: bool = False) -> str:
    """As a share of the baseline; in the metric's unit where that is 0."""
    if value is None:
        return "–"
    sign = "+" if signed else ""
    return f"{value / abs(finding.a):{sign}.1%}" if finding.a else f"{value:{sign}.3g}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.5g}"


def as_frame(comparison: Comparison) -> pd.DataFrame:
    """One row a finding."""
    return pd.DataFrame([_flat(finding) for finding in comparison.findings])


def _flat(finding: Finding) -> dict[str, object]:
    evidence = finding.evidence
    return {
        "model": finding.model,
        "metric": finding.metric,
        "seeds": len(finding.seeds),
        "a": finding.a,
        "b": finding.b,
        "harm": finding.harm,
        "harm_low": evidence.low if evidence else None,
        "harm_high": evidence.high if evidence else None,
        "smallest_effect": finding.smallest_effect,
        "p": evidence.p if evidence else None,
        "p_adjusted": finding.p_adjusted,
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
        "failed": comparison.failed,
        "findings": [
            {
                **asdict(finding),
                "harm": finding.harm,
                "fails": finding.fails(comparison.policy.fail_on),
                "further_seeds": finding.further_seeds,
                "detectable": finding.detectable,
            }
            for finding in comparison.findings
        ],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _as_junit(comparison: Comparison) -> str:
    """JUnit's XML: a finding is a test, which fails where the policy does and is skipped if not compared."""
    counts = {"failures": 0, "errors": len(comparison.failed), "skipped": 0}
    suite = ElementTree.Element("testsuite", name=f"latentbench {comparison.a}")
    for finding in comparison.findings:
        case = ElementTree.SubElement(suite, "testcase", classname=finding.model, name=finding.metric)
        text = ", ".join(
            f"{name} {cell}"
            for name, cell in zip(HEADER[2:], _cells(finding)[2:], strict=True)
            if cell != "–"
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
        case = ElementTree.SubElement(suite, "testcase", classname="run", name=failed.partition(":")[0])
        ElementTree.SubElement(case, "error", message=failed)
    suite.set("tests", str(len(suite)))
    for name, count in counts.items():
        suite.set(name, str(count))
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


FORMATS: dict[str, Callable[[Comparison], RenderableType]] = {
    "rich": _as_rich,
    "csv": lambda comparison: as_frame(comparison).to_csv(index=False),
    "md": _as_markdown,
    "json": _as_json,
    "junit": _as_junit,
}
ENDINGS = {".md": "md", ".json": "json", ".csv": "csv", ".xml": "junit"}
