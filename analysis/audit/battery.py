"""Runs the battery: draws every sweep, measures it, and judges the mean curves.

Checks, sizes, tolerances and the rule that joins verdicts are those of Räisä, van Breugel & van der Schaar,
ICML 2025 (arXiv:2505.22450): 1,000 points, standardised by the real points' means and deviations, 10 repeats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import joblib
import numpy as np
import torch

from latentbench.analysis.audit.check import SIZE, Array, CheckRequirement, ParameterSweep, SanityCheck
from latentbench.analysis.audit.criteria import Curve, Verdict, together
from latentbench.analysis.audit.gaussians import GAUSSIANS
from latentbench.analysis.audit.measures import FAMILIES, MeasureFamily, Measuring
from latentbench.analysis.audit.mixtures import MIXTURES
from latentbench.analysis.audit.uniforms import UNIFORMS
from latentbench.analysis.audit.verdicts import AuditCell
from latentbench.analysis.performance.cores import threads
from latentbench.models.seeds import derive

CHECKS: dict[str, SanityCheck] = {check.name: check for check in (*GAUSSIANS, *MIXTURES, *UNIFORMS)}
REPEATS = 10
RESAMPLES = 100

Key = tuple[str, str, str]
"""A check, a setting and a measure."""


@dataclass(frozen=True)
class BatterySize:
    """The number of real points and repeats that are drawn; sweeps may be thinned."""

    size: int = SIZE
    repeats: int = REPEATS
    thinned: bool = False

    def points(self, sweep: ParameterSweep) -> tuple[float, ...]:
        """The points of a sweep."""
        return sweep.thinned() if self.thinned else sweep.x


QUICK = BatterySize(repeats=1, thinned=True)


def standardised(real: Array, fake: Array) -> tuple[torch.Tensor, torch.Tensor]:
    """Both with the real points' means and deviations taken out; constant coordinates are only centred."""
    deviation = real.std(0)
    scale = np.where(deviation > 0, deviation, 1)
    return torch.from_numpy((real - real.mean(0)) / scale), torch.from_numpy((fake - real.mean(0)) / scale)


def measure_sweep(
    check: str, sweep: ParameterSweep, repeat: int, families: Sequence[MeasureFamily], effort: BatterySize
) -> dict[Key, list[float]]:
    """The values of one repeat of a sweep, by measure, in the order of its points; NaN where refused."""
    rng = np.random.default_rng(derive(repeat, "audit", check, sweep.setting))
    pairs = sweep.draw(rng, effort.size)
    values: dict[Key, list[float]] = {}
    prepared: list[Measuring] = []
    known: Array | None = None
    for x in effort.points(sweep):
        real, fake = pairs(x)
        scaled, samples = standardised(real, fake)
        if real is not known:
            known, prepared = real, [family.prepare(scaled) for family in families]
        for family, measuring in zip(families, prepared, strict=True):
            for measure, value in family.values(measuring, samples).items():
                values.setdefault((check, sweep.setting, measure), []).append(value)
    return values


@dataclass(frozen=True)
class Task:
    """One repeat of one sweep, and the families that take part in it."""

    check: str
    sweep: ParameterSweep
    repeat: int
    families: tuple[str, ...]

    def run(self, effort: BatterySize) -> dict[Key, list[float]]:
        """Measure it, on one thread, since tasks run at the same time."""
        chosen = [FAMILIES[name] for name in self.families]
        with threads(1):
            return measure_sweep(self.check, self.sweep, self.repeat, chosen, effort)


def tasks(checks: Sequence[str], families: Sequence[str], effort: BatterySize) -> list[Task]:
    """All tasks of an audit, those of one repeat together."""
    found = []
    for repeat in range(effort.repeats):
        taking_part = tuple(name for name in families if repeat < (FAMILIES[name].repeats or effort.repeats))
        for check in checks if taking_part else ():
            found += [Task(check, sweep, repeat, taking_part) for sweep in CHECKS[check].sweeps]
    return found


def run(
    checks: Sequence[str],
    families: Sequence[str],
    effort: BatterySize,
    *,
    jobs: int = 1,
    watch: Callable[[int], None] = lambda _: None,
) -> list[AuditCell]:
    """Run checks on families of measures, all by name. `watch` is told after every task how many are done."""
    todo = tasks(checks, families, effort)
    results = joblib.Parallel(n_jobs=jobs, return_as="generator")(
        joblib.delayed(task.run)(effort) for task in todo
    )
    values: dict[Key, list[list[float]]] = {}
    for done, found in enumerate(results, start=1):
        for key, value in found.items():
            values.setdefault(key, []).append(value)
        watch(done)
    arrays = {key: np.array(repeats) for key, repeats in values.items()}
    return [cell for name in checks for cell in judge(CHECKS[name], families, arrays, effort)]


def judge(
    check: SanityCheck, families: Sequence[str], values: Mapping[Key, Array], effort: BatterySize
) -> Iterator[AuditCell]:
    """The verdicts of one check on every measure, from values `[repeats, points]`."""
    judged = [
        (desideratum, measure, kind)
        for desideratum in check.desiderata
        for family in families
        for measure, kinds in FAMILIES[family].measures.items()
        for kind in kinds
    ]
    for desideratum, measure, kind in judged:
        asked = [
            (requirement, sweep, np.array(effort.points(sweep)), values[check.name, sweep.setting, measure])
            for sweep in check.sweeps
            for requirement in check.requirements
            if requirement.desideratum == desideratum and requirement.applies(kind, sweep.setting)
        ]
        found = [_verdict(requirement, Curve(x, y.mean(0))) for requirement, _, x, y in asked]
        verdict = together(found)
        failed = tuple(
            f"{requirement.name} ({sweep.setting})" if sweep.setting else requirement.name
            for (requirement, sweep, _, _), each in zip(asked, found, strict=True)
            if each == "fail"
        )
        support = _support(verdict, [(requirement, x, y) for requirement, _, x, y in asked])
        yield AuditCell(check.name, check.title, desideratum, kind, measure, verdict, failed, support)


def _verdict(requirement: CheckRequirement, curve: Curve) -> Verdict:
    return requirement.rule(curve) if np.isfinite(curve.y).all() else "unmeasured"


def _support(verdict: Verdict, asked: Sequence[tuple[CheckRequirement, Array, Array]]) -> float | None:
    """The share of bootstrap resamples of the repeats that give the same verdict; None of one repeat."""
    repeats = min(len(y) for _, _, y in asked)
    if repeats < 2:
        return None
    rng = np.random.default_rng(derive(0, "audit", "bootstrap"))
    resamples = rng.integers(repeats, size=(RESAMPLES, repeats))
    same = [
        together(_verdict(requirement, Curve(x, y[chosen].mean(0))) for requirement, x, y in asked) == verdict
        for chosen in resamples
    ]
    return float(np.mean(same))
