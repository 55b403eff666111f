"""A claim is checked with every choice that could decide it: its verdict must not depend on one.

The choices are the training budget, the data set, the judge, the feature space of a Fréchet distance, and
whether codes are taken with their noise. A check needs measurements: other budgets and data sets are those
of the runs of the suites in `SUITES`. No check is needed of the scale of a code: no metric of a claim
depends on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Literal

from latentbench.analysis.core.ensemble import error_of_images
from latentbench.analysis.core.metric import Metric
from latentbench.analysis.definitions import definitions
from latentbench.bench.present.claims.effects import ClaimOutcome, Reading, Verdict, outcome
from latentbench.bench.present.claims.statements import (
    CLAIMS,
    OPTIONAL_CLAIMS,
    VARIANTS,
    Claim,
    without_space,
)
from latentbench.bench.present.rows import TableRow, rows
from latentbench.bench.store.records.record import Record
from latentbench.bench.store.run import read
from latentbench.bench.store.store import Store

SUITES = ("claims", "claims-fashion")
"""The suites that measure the claims' models with other choices."""
BUDGET, DATA, JUDGE = "training budget", "data set", "judge"


@dataclass(frozen=True, order=True)
class Setting:
    """The data and the number of epochs that models were trained with."""

    data: str
    epochs: int

    def differs_from(self, other: Setting) -> dict[str, str]:
        """Return the settings that differ, by choice: `{"training budget": "at 30 epochs"}`."""
        differences = {}
        if self.data != other.data:
            differences[DATA] = f"with {self.data}"
        if self.epochs != other.epochs:
            differences[BUDGET] = f"at {self.epochs} epochs"
        return differences


Tables = Mapping[Setting, Sequence[TableRow]]


@dataclass(frozen=True)
class ClaimCheck:
    """The outcome of a claim under other choices."""

    choices: tuple[str, ...]
    name: str
    """The choices in words: `at 30 epochs`."""
    outcome: ClaimOutcome


@dataclass(frozen=True)
class Finding:
    """The measured effect of a claim in a run, and the results of its checks."""

    claim: Claim
    outcome: ClaimOutcome
    checks: tuple[ClaimCheck, ...] = ()
    unchecked: tuple[str, ...] = ()
    """The choices that could decide the claim and that no measurements vary."""
    other_data: Mapping[str, ClaimOutcome] = field(default_factory=dict)
    """The outcome with other data, by their name."""

    @property
    def opposed(self) -> list[ClaimCheck]:
        """The checks with the opposite verdict."""
        opposite = {"supported": "not supported", "not supported": "supported"}.get(self.outcome.verdict)
        return [check for check in self.checks if check.outcome.verdict == opposite]

    @property
    def verdict(self) -> Verdict | Literal["depends"]:
        """The verdict of the run where it survives every check there is."""
        if self.outcome.verdict in ("not measured", "inconclusive"):
            return self.outcome.verdict
        if self.opposed:
            return "depends"
        unclear = any(check.outcome.verdict == "inconclusive" for check in self.checks)
        return "inconclusive" if unclear else self.outcome.verdict

    @property
    def headline(self) -> str:
        """The verdict in words: `depends on the data set`."""
        if self.verdict != "depends":
            return self.verdict
        choices = dict.fromkeys(choice for check in self.opposed for choice in check.choices)
        return f"depends on the {' and the '.join(choices)}"

    @property
    def reason(self) -> str:
        """The reasons for the verdict, and the checks that could not be made."""
        parts = [self.outcome.reason] if self.outcome.reason else []
        if self.verdict == "depends":
            parts.append(
                f"{self.outcome.verdict} here, {_listed(self.opposed)} {self.opposed[0].outcome.verdict}"
            )
        elif self.verdict != self.outcome.verdict:
            unclear = [check for check in self.checks if check.outcome.verdict == "inconclusive"]
            parts.append(f"{self.outcome.verdict} here, {_listed(unclear)} inconclusive")
        if self.unchecked and self.outcome.effect is not None:
            parts.append(f"not checked: {', '.join(self.unchecked)}")
        return "; ".join(parts)


def _listed(checks: Sequence[ClaimCheck]) -> str:
    return ", ".join(check.name for check in checks)


def findings(records: Sequence[Record], others: Sequence[Record] = ()) -> list[Finding]:
    """Return one finding for each claim, in order; none where the run measured none of the claims.

    Optional claims are left out where the run did not measure them. `others` are records with other choices,
    see `other_records`; the run's own further data sets are such choices too.
    """
    if not records:
        return []
    here = setting_of(records)
    table = rows([record for record in records if _setting(record) == here])
    own = {record.case: record for record in records if record.data.name != here.data}
    tables = _tables([*own.values(), *(record for record in others if record.case not in own)])
    found = [_finding(claim, here, table, tables) for claim in CLAIMS]
    optional = [_finding(claim, here, table, tables) for claim in OPTIONAL_CLAIMS]
    measured = [each for each in optional if each.outcome.effect is not None]
    return [*(found if any(each.outcome.effect is not None for each in found) else []), *measured]


def other_records(store: Store) -> list[Record]:
    """Return the records of the latest run of every suite in `SUITES`, empty where there is none."""
    latest = [paths[-1] for suite in SUITES if (paths := store.paths(suite))]
    return [record for path in latest for record in read(path).last_records]


def setting_of(records: Sequence[Record]) -> Setting:
    """Return the setting of most records: a suite may give a few models their own recipe."""
    return Counter(map(_setting, records)).most_common(1)[0][0]


def _setting(record: Record) -> Setting:
    return Setting(record.data.name, record.recipe.epochs)


def _tables(records: Sequence[Record]) -> Tables:
    grouped: dict[Setting, list[Record]] = {}
    for record in records:
        grouped.setdefault(_setting(record), []).append(record)
    return {setting: rows(grouped[setting]) for setting in sorted(grouped)}


def _finding(claim: Claim, here: Setting, table: Sequence[TableRow], tables: Tables) -> Finding:
    main = outcome(claim, table)
    checks = [
        check
        for check in (*_of_settings(claim, here, tables), *_of_readings(claim, here, {here: table}, tables))
        if check.outcome.verdict != "not measured"
    ]
    checked = {choice for check in checks for choice in check.choices}
    other_data = {
        setting.data: outcome(claim, rows_there)
        for setting, rows_there in tables.items()
        if setting.data != here.data and setting.epochs == here.epochs
    }
    unchecked = tuple(choice for choice in _choices(claim) if choice not in checked)
    return Finding(claim, main, tuple(checks), unchecked, other_data)


@cache
def judged_metrics() -> frozenset[str]:
    """Return the metrics that a judge has a part in."""
    analyses = (definitions().analyses[name] for name in ("sampling", "flow", "equal_flops"))
    names = (metric.name for each in analyses for metric in each.metrics)
    judged = (name for name in names if without_space(name) == name)
    return frozenset({*judged, "recognisable", "recognisable_originals"})


def _choices(claim: Claim) -> list[str]:
    """Every choice that could decide a claim."""
    judged = [JUDGE] if any(term.metric in judged_metrics() for term in claim.terms) else []
    varied = [variant.choice for variant in VARIANTS if claim.read_by(variant)]
    return [BUDGET, DATA, *judged, *dict.fromkeys(varied)]


def _of_settings(claim: Claim, here: Setting, tables: Tables) -> Iterator[ClaimCheck]:
    """The claim with other data, and with other budgets."""
    for setting, table in tables.items():
        if differences := setting.differs_from(here):
            name = ", ".join(differences.values())
            yield ClaimCheck(tuple(differences), name, outcome(claim, table))


def _of_readings(claim: Claim, here: Setting, own: Tables, tables: Tables) -> Iterator[ClaimCheck]:
    """The claim as other metrics and single judges read it, in the run's own setting.

    Where the run did not measure a variant, a run of the suites with the same setting may have.
    """
    candidates = [*own.values(), *(table for setting, table in tables.items() if setting == here)]
    for variant in VARIANTS:
        if other := claim.read_by(variant):
            outcomes = [outcome(other, table) for table in candidates]
            measured = [each for each in outcomes if each.effect is not None]
            yield ClaimCheck((variant.choice,), variant.name, (measured or outcomes)[0])
    if JUDGE in _choices(claim):
        (table,) = own.values()
        for number in range(_judges(claim, table)):
            reading: Reading = partial(_by_judge, number=number)
            yield ClaimCheck((JUDGE,), f"by judge {number + 1}", outcome(claim, table, reading))


def _judges(claim: Claim, table: Sequence[TableRow]) -> int:
    """The number of judges that read the claim's metrics; 0 if only their mean is known."""
    wanted = {(term.model, term.metric) for term in claim.terms}
    found = [
        len(metric.by_judge)
        for row in table
        for record in row.records
        for metric in record.metrics
        if (row.label, metric.name) in wanted and metric.by_judge
    ]
    return min(found, default=0)


def _by_judge(metric: Metric, number: int) -> Metric:
    """One judge's value, with the error of the images alone; unjudged metrics stay."""
    if metric.value is None or not metric.by_judge:
        return metric
    se, common_se = (error_of_images(metric, error) for error in (metric.se, metric.common_se))
    return replace(metric, value=metric.by_judge[number], se=se, common_se=common_se, by_judge=())
