"""Compares the speed of two revisions: processes of both take turns on one machine; paired ratios decide.

The replicate is a process, not an iteration: differences between two processes never show within one.
A block is A A′ B B A′ A, where A and A′ are both the baseline and B is head, so that a steady drift cancels.
The six processes of a block run side by side and get short turns in that order, one at a time, so that
drift acts over seconds and not minutes. Each block gives two logarithmic ratios, B to the baseline's four
processes, and A′ to A, each the median over the rounds of turns; the second one is the difference between
two runs of the same code on this machine. Both get an interval over the blocks.

A regression counts only if its interval excludes 0 and it exceeds both 3 % and the A/A noise floor, the
farther end of the A/A interval. An improvement has to exceed the same threshold.

A command prints a JSON object of seconds by name. One that then waits for a line on its standard input, and
prints another object for each line, gets further turns; one that ends has one turn.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np

from latentbench.bench.compare.multiplicity import holm
from latentbench.bench.compare.policy import Policy, Verdict
from latentbench.bench.compare.significance import Evidence, paired_t
from latentbench.bench.compare.verdicts import Comparison, Decided, Why
from latentbench.bench.throughput_gate.processes import Arm, Sample, TimedProcess
from latentbench.bench.throughput_gate.worktrees import arms

ORDER = ("A", "A′", "B", "B", "A′", "A")
SMALLEST_SLOWDOWN = 0.03
BLOCKS = 5
TURNS = 12
"""The highest number of turns of a process."""
DISTURBED = 0.25
"""The number of cores used by other work above which the comparison mentions it."""


@dataclass(frozen=True)
class Blocks:
    """All samples of a session: for each block, both samples of each arm."""

    samples: tuple[dict[str, list[Sample]], ...]

    @property
    def _every(self) -> list[Sample]:
        return [sample for block in self.samples for arm in block.values() for sample in arm]

    @property
    def quantities(self) -> list[str]:
        """The names that were timed at every turn of every process."""
        turns = [turn for sample in self._every for turn in sample.turns]
        return [name for name in turns[0] if all(name in turn for turn in turns)]

    def logs(self, arm: str, quantity: str) -> np.ndarray:
        """Return the mean logarithm of an arm's two processes over common turns, `[blocks, turns]`."""
        turns = min(len(sample.turns) for sample in self._every)
        return np.array(
            [
                [
                    statistics.fmean(math.log(sample.turns[turn][quantity]) for sample in block[arm])
                    for turn in range(turns)
                ]
                for block in self.samples
            ]
        )

    @property
    def disturbed(self) -> tuple[int, int]:
        """Count the processes that other work disturbed, and all processes."""
        return sum(sample.others > DISTURBED for sample in self._every), len(self._every)


@dataclass(frozen=True)
class Slowdown:
    """One quantity: head compared with the baseline, and the baseline with itself, as logarithmic ratios."""

    quantity: str
    seconds: float
    """The baseline's time."""
    effect: Evidence
    noise: Evidence

    @property
    def floor(self) -> float:
        """The A/A noise floor: the farther end of the A/A interval."""
        return max(abs(self.noise.low), abs(self.noise.high))

    @property
    def smallest(self) -> float:
        """The smallest regression that counts here."""
        return max(math.log1p(SMALLEST_SLOWDOWN), self.floor)


def time_blocks(
    arms: dict[str, Arm], blocks: int, *, progress: Callable[[int, int], None] | None = None
) -> Blocks:
    """Time every block; `progress` receives the number of finished turns, and of all turns.

    Raises LatentbenchError if a command fails, prints no seconds, or exceeds its time limit.
    """
    samples = []
    for block in range(blocks):
        done = block * len(ORDER) * TURNS

        def so_far(turns: int, done: int = done) -> None:
            if progress:
                progress(done + turns, blocks * len(ORDER) * TURNS)

        samples.append(_block(arms, so_far))
    return Blocks(tuple(samples))


def _block(arms: dict[str, Arm], progress: Callable[[int], None]) -> dict[str, list[Sample]]:
    with ExitStack() as stack:
        # A process takes its first turn, and warms up, before the next one starts.
        processes: list[TimedProcess] = []
        for name in ORDER:
            processes.append(stack.enter_context(TimedProcess(arms[name])))
            processes[-1].take_turn(processes)
            progress(len(processes))
        for turn in range(1, TURNS):
            took_turns = [process.take_turn(processes) for process in processes]
            if not all(took_turns):
                break
            progress((turn + 1) * len(processes))
        progress(TURNS * len(processes))
        taken: dict[str, list[Sample]] = {name: [] for name in ORDER}
        for name, process in zip(ORDER, processes, strict=True):
            taken[name].append(process.sample())
        return taken


def slowdowns(blocks: Blocks, *, alpha: float) -> list[Slowdown]:
    """Compute the regression and the noise of each quantity over the blocks."""
    found = []
    for quantity in blocks.quantities:
        a, again, b = (blocks.logs(name, quantity) for name in ("A", "A′", "B"))
        baseline = (a + again) / 2
        found.append(
            Slowdown(
                quantity,
                math.exp(float(baseline.mean())),
                paired_t(np.median(b - baseline, axis=1), alpha=alpha, sample="blocks"),
                paired_t(np.median(again - a, axis=1), alpha=alpha, sample="blocks"),
            )
        )
    return found


def decide(blocks: Blocks, policy: Policy, *, a: str, b: str) -> Comparison:
    """Decide every quantity, corrected for their number."""
    found = slowdowns(blocks, alpha=policy.alpha)
    adjusted = holm([slowdown.effect.p for slowdown in found])
    findings = [
        _finding(slowdown, float(p), policy.alpha, len(found))
        for slowdown, p in zip(found, adjusted, strict=True)
    ]
    notes = [
        f"{each.quantity}: the same code differed from itself by up to {math.expm1(each.floor):.1%} here"
        for each in found
    ]
    disturbed, count = blocks.disturbed
    if disturbed:
        notes.append(f"{disturbed} of {count} processes shared the machine with other work")
    return Comparison(a, b, tuple(findings), policy, "Holm", tuple(notes))


def _finding(slowdown: Slowdown, p: float, alpha: float, tests: int) -> Decided:
    """Return the outcome of a quantity, with its change in seconds."""

    def seconds(logarithm: float) -> float:
        return math.expm1(logarithm) * slowdown.seconds

    evidence = replace(
        slowdown.effect,
        regression=seconds(slowdown.effect.regression),
        low=seconds(slowdown.effect.low),
        high=seconds(slowdown.effect.high),
        spread=slowdown.effect.spread * slowdown.seconds,
    )
    return Decided(
        model="throughput",
        metric=slowdown.quantity,
        verdict=_verdict(slowdown, p, alpha),
        why=Why.TESTED,
        a=slowdown.seconds,
        b=slowdown.seconds + evidence.regression,
        better="lower",
        smallest_effect=seconds(slowdown.smallest),
        evidence=evidence,
        in_family=True,
        p_adjusted=p,
        alpha=alpha,
        tests=tests,
    )


def _verdict(slowdown: Slowdown, p: float, alpha: float) -> Verdict:
    if p <= alpha and slowdown.effect.low > 0 and slowdown.effect.regression > slowdown.smallest:
        return "regressed"
    return "ok" if slowdown.effect.high < slowdown.smallest else "inconclusive"


def gate(
    against: str,
    policy: Policy,
    *,
    command: str | None = None,
    blocks: int = BLOCKS,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Time the working tree against a revision, and decide."""
    with arms(against, command) as both:
        return decide(time_blocks(both, blocks, progress=progress), policy, a=against, b="the working tree")
