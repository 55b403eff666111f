"""The verdicts of an audit as data: one cell for each, the published ones, and the rows of tables.

The published verdicts are those of Räisä, van Breugel & van der Schaar, ICML 2025 (arXiv:2505.22450), from
the tables that their repository's notebook `plotting/print_pass_fail_tables.ipynb` shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from latentbench.analysis.audit.check import Desideratum, Kind
from latentbench.analysis.audit.criteria import Verdict

MEASURES = ("precision", "density", "recall", "coverage")
LETTERS: dict[str, Verdict] = {"T": "pass", "F": "fail", "H": "high"}

PUBLISHED: dict[str, dict[Desideratum, str]] = {
    "gaussian-mean-difference": {"bounds": "FTFT", "purpose": "TTTT"},
    "gaussian-mean-difference-with-outlier": {"bounds": "FFFT", "purpose": "FTFT"},
    "gaussian-std-difference": {"bounds": "FFFF", "purpose": "TTHF"},
    "gaussian-mixture-simultaneous-mode-dropping": {"bounds": "FTFT", "purpose": "TFFT"},
    "gaussian-mixture-sequential-mode-dropping": {"bounds": "FTFT", "purpose": "TTTT"},
    "gaussian-mixture-mode-dropping-invention": {"bounds": "TTTF", "purpose": "TTTF"},
    "uniform-hypersphere-surface": {"bounds": "FFFF", "purpose": "FFFF"},
    "uniform-hypercube-varying-size": {"data size": "FFFF", "purpose": "FFFF"},
    "uniform-hypercube-varying-syn-size": {"hyperparameters": "TTFF", "purpose": "FFFF"},
    "sphere-torus": {"bounds": "TTTF", "purpose": "TTFF"},
    "one-vs-two-modes": {"bounds": "FTFT", "purpose": "TTFF"},
    "gaussian-scaling-one-dimension": {"bounds": "FTTT", "invariance": "FTFT"},
    "gaussian-mean-difference-with-pareto": {"bounds": "FTTT", "purpose": "TTTT"},
    "gaussian-high-dim-one-disjoint-dim": {"bounds": "FFFF", "purpose": "FFFF"},
    "discrete-numerical-vs-continuous-numerical": {"bounds": "FFFF", "purpose": "FFFF"},
}
"""A letter for each of `MEASURES`: T for pass, F for fail, H for high."""

SIGNS: dict[Verdict, str] = {"pass": "✓", "fail": "✗", "low": "low", "high": "high", "unmeasured": "–"}


@dataclass(frozen=True)
class AuditCell:
    """The verdict of one check and desideratum on one measure, read as one kind, and what it failed."""

    check: str
    title: str
    desideratum: Desideratum
    kind: Kind
    measure: str
    verdict: Verdict
    failed: tuple[str, ...]
    support: float | None
    """The share of resamples of the repeats that give the same verdict; None of one repeat."""

    @property
    def published(self) -> Verdict | None:
        """The published verdict; None for a measure that was not published."""
        if self.measure not in MEASURES:
            return None
        return LETTERS[PUBLISHED[self.check][self.desideratum][MEASURES.index(self.measure)]]

    @property
    def differs(self) -> bool:
        """True if there is a published verdict and it is another one."""
        return self.published not in (None, self.verdict)


def rows(cells: Sequence[AuditCell]) -> list[dict[str, object]]:
    """One row for each cell."""
    return [
        {
            "check": cell.check,
            "desideratum": cell.desideratum,
            "kind": cell.kind,
            "measure": cell.measure,
            "verdict": cell.verdict,
            "published": cell.published,
            "support": cell.support,
            "failed": "; ".join(cell.failed),
        }
        for cell in cells
    ]


def tables(cells: Sequence[AuditCell]) -> dict[Kind, list[dict[str, object]]]:
    """Return a row per check and desideratum of each kind, a column per measure, and the number passed."""
    found: dict[Kind, list[dict[str, object]]] = {}
    kinds: tuple[Kind, ...] = ("fidelity", "diversity")
    for kind in kinds:
        chosen = [cell for cell in cells if cell.kind == kind]
        lines: dict[tuple[str, str], dict[str, object]] = {}
        for cell in chosen:
            line = lines.setdefault(
                (cell.check, cell.desideratum), {kind: cell.title, "asks": cell.desideratum}
            )
            line[cell.measure] = SIGNS[cell.verdict]
        if chosen:
            found[kind] = [*lines.values(), {kind: "passed", "asks": f"of {len(lines)}", **_passed(chosen)}]
    return found


def _passed(cells: Sequence[AuditCell]) -> dict[str, int]:
    passed = dict.fromkeys((cell.measure for cell in cells), 0)
    for cell in cells:
        passed[cell.measure] += cell.verdict in ("pass", "low", "high")
    return passed


def differences(cells: Sequence[AuditCell]) -> list[str]:
    """One line on how many published verdicts came out, and one for each that did not."""
    compared = [cell for cell in cells if cell.published is not None]
    if not compared:
        return []
    same = sum(not cell.differs for cell in compared)
    return [f"{same} of {len(compared)} published verdicts came out."] + [
        _difference(cell) for cell in compared if cell.differs
    ]


def _difference(cell: AuditCell) -> str:
    text = f"{cell.measure}, {cell.title}, {cell.desideratum}: {cell.verdict}, published {cell.published}"
    if cell.failed:
        text += f"; fails: {', '.join(cell.failed)}"
    if cell.support is not None:
        text += f"; {cell.support:.0%} of resampled repeats agree with ours"
    return text
