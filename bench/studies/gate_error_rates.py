"""Measures the error rates of the gates: false alarms, and planted regressions that are caught.

    python -m latentbench.bench.studies.gate_error_rates gate
        simulated runs, by the rules that `check` applies
    python -m latentbench.bench.studies.gate_error_rates throughput
        real processes on this machine: A/A, and a step 10 % slower

Each writes `study/<name>.json` and `.md` into the reference store. The first takes a minute or two and gives
the same numbers every time; the second takes an hour or so on a machine that should be idle.

Half of the simulated metrics are shares of test images: a model hits most images or misses them with any
seed, and each image that is `uncertain` by the toss of a coin. So values are multiples of one image, few
seeds often tie, and a model near 100 % hardly varies at all. That is where equal differences look certain.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil
from numpy.random import Generator
from numpy.typing import NDArray

from latentbench.analysis.statistics.intervals import wilson_interval
from latentbench.bench.compare.compare import ABSOLUTE_FLOOR
from latentbench.bench.compare.multiplicity import holm
from latentbench.bench.compare.policy import shipped
from latentbench.bench.compare.significance import ALPHA, p_of, paired_spread, welch_error
from latentbench.bench.store.store import Store
from latentbench.bench.text import markdown
from latentbench.bench.throughput_gate.gate import decide, time_blocks
from latentbench.bench.throughput_gate.processes import Arm

Row = TypeVar("Row")
Draw = Callable[[Generator, tuple[int, ...]], NDArray[np.float64]]
"""A function from a shape `[gates, models, metrics, seeds]` to noise, each value with mean 0 and variance
1."""

MODELS = 19
BASE, NOISE = 0.5, 0.01
"""A continuous metric's value, and the standard deviation over seeds of a pair's difference."""
TOLERANCE = 0.01
"""The largest relative tolerance of a metric other than timings."""
AT_ONCE = 100
"""The number of gates simulated in one array."""
COMMAND = "python -m latentbench.bench.studies.gate_error_rates"


def normal(draws: Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Draw independent normal values."""
    return draws.standard_normal(shape)


def heavy_tailed(draws: Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Draw from Student's t of 3 degrees of freedom: some seeds fail."""
    return draws.standard_t(3, shape) / math.sqrt(3)


def dependent(draws: Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Draw metrics of a model that rise and fall together: correlation 0.8."""
    own, common = draws.standard_normal(shape), draws.standard_normal((*shape[:2], 1, shape[3]))
    return math.sqrt(0.2) * own + math.sqrt(0.8) * common


@dataclass(frozen=True)
class Scenario:
    """A gate that is simulated many times; `loss` is planted, in SD of a pair's difference."""

    what: str
    seeds: int
    models: int = MODELS
    metrics: int = 6
    """The number of continuous metrics of a model."""
    shares: int = 0
    """The number of metrics of a model that are shares of test images."""
    images: int = 10_000
    uncertain: float = 0.1
    """The share of images that a training hits or misses by chance."""
    noise: Draw = normal
    loss: float = 0.0
    planted_in: int = 0
    """The number of models with the regression, in their first metric; 0 for an A/A comparison."""
    other_seeds: bool = False
    seeds_of_b: int | None = None
    smallest_effect: float = 1e-9
    """The default is so small that every significant regression counts. A larger one lowers false alarms."""


def _discrete() -> Iterator[Scenario]:
    """Return A/A gates with shares of few and of many test images, few seeds, every size and saturation."""
    for gate, models, metrics, shares in (("small", 6, 0, 3), ("headline", 19, 4, 4), ("all", 19, 35, 35)):
        for images in (60, 100, 300, 1_000, 10_000):
            for seeds in (2, 3, 5):
                for uncertain in (0.1, 0.01):
                    what = f"A/A, gate {gate}, {images:,} test images, {uncertain:.0%} uncertain"
                    yield Scenario(what, seeds, models, metrics, shares, images, uncertain)
    for seeds in (2, 3, 5):
        what = "A/A, gate headline, 60 test images, 10% uncertain, other seeds in B"
        yield Scenario(what, seeds, 19, 4, 4, 60, other_seeds=True)


SCENARIOS = (
    Scenario("A/A, shared seeds", 5),
    Scenario("A/A, shared seeds", 3),
    Scenario("A/A, shared seeds", 8),
    Scenario("A/A, heavy tails", 5, noise=heavy_tailed),
    Scenario("A/A, dependent metrics", 5, noise=dependent),
    Scenario("A/A, as many other seeds in B", 5, other_seeds=True),
    Scenario("A/A, one of the seeds in B", 5, seeds_of_b=1),
    Scenario("A/A, with the smallest effect of one SD", 5, smallest_effect=NOISE),
    Scenario("1 SD lost, a gate of one metric and model", 8, models=1, metrics=1, loss=1.0, planted_in=1),
    Scenario("1 SD lost, a gate of six metrics of one model", 8, models=1, loss=1.0, planted_in=1),
    Scenario("1 SD lost by one of 19 models, six metrics each", 8, loss=1.0, planted_in=1),
    Scenario("1 SD lost by all of 19 models, six metrics each", 8, loss=1.0, planted_in=MODELS),
    Scenario("2.5 SD lost by one of 19 models, six metrics each", 8, loss=2.5, planted_in=1),
    Scenario("1.5 SD lost, a gate of one metric and model", 5, models=1, metrics=1, loss=1.5, planted_in=1),
    Scenario("2.5 SD lost, a gate of one metric and model", 3, models=1, metrics=1, loss=2.5, planted_in=1),
    *_discrete(),
)


@dataclass(frozen=True)
class Rate:
    """The share of a scenario's gates that raised an alarm: a false one, or the planted regression."""

    what: str
    seeds: int
    tests: int
    gates: int
    raised: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """The rate."""
        return self.raised / self.gates


def simulate(scenario: Scenario, gates: int, *, seed: int) -> Rate:
    """Simulate a scenario's gate many times; the same seed gives the same rate."""
    draws = np.random.default_rng([seed, SCENARIOS.index(scenario)])
    raised = 0
    for start in range(0, gates, AT_ONCE):
        a, b = draw_runs(scenario, min(AT_ONCE, gates - start), draws)
        alarms = regressed(scenario, a, b)
        if scenario.planted_in:
            alarms = alarms[:, : scenario.planted_in, :1]
        raised += int(alarms.any(axis=(1, 2)).sum())
    low, high = wilson_interval(raised, gates)
    tests = scenario.models * (scenario.metrics + scenario.shares)
    return Rate(scenario.what, scenario.seeds, tests, gates, raised, low, high)


def draw_runs(
    scenario: Scenario, gates: int, draws: Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw both runs of many gates, `[gates, models, metrics, seeds]`; higher is worse, shares come last."""
    a, b = (
        np.concatenate([_continuous(scenario, gates, draws), _shares(scenario, gates, draws)], axis=2)
        for _ in range(2)
    )
    b[:, : scenario.planted_in, 0] += NOISE * scenario.loss
    return a, b[..., : scenario.seeds_of_b]


def _continuous(scenario: Scenario, gates: int, draws: Generator) -> NDArray[np.float64]:
    # Two equal halves of the noise, so that a pair's difference has the standard deviation NOISE.
    shape = (gates, scenario.models, scenario.metrics, scenario.seeds)
    return BASE + NOISE / math.sqrt(2) * scenario.noise(draws, shape)


def _shares(scenario: Scenario, gates: int, draws: Generator) -> NDArray[np.float64]:
    """Draw shares of images that are missed: as many as a model always misses, and some by chance."""
    chancy = max(1, round(scenario.images * scenario.uncertain))
    always = np.linspace(0.0, 0.5, scenario.models * max(1, scenario.shares)).reshape(scenario.models, -1)
    misses = np.round(always[:, : scenario.shares] * (scenario.images - chancy))[None, :, :, None]
    shape = (gates, scenario.models, scenario.shares, scenario.seeds)
    return np.asarray((misses + draws.binomial(chancy, 0.5, shape)) / scenario.images)


def regressed(scenario: Scenario, a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Decide which metrics of `[gates, models, metrics, seeds]` regressed, by the rules of `compare`."""
    step = np.zeros(a.shape[2])
    step[scenario.metrics :] = 1 / scenario.images
    common = b.shape[-1]
    regressions = b - a[..., :common]
    close = (np.abs(regressions) <= TOLERANCE * np.abs(a[..., :common]) + ABSOLUTE_FLOOR).all(axis=-1)
    equal = (regressions == 0).all(axis=-1)
    if scenario.other_seeds:
        close = equal = np.zeros(close.shape, dtype=bool)
    if scenario.other_seeds or common == 1:
        error, freedom = welch_error(a, b, step=step)
        regression = b.mean(axis=-1) - a.mean(axis=-1)
    else:
        error, regression = paired_spread(regressions, step) / math.sqrt(common), regressions.mean(axis=-1)
        freedom = np.full(error.shape, common - 1.0)
    p = np.where(equal, np.nan, np.where(close, 1.0, p_of(regression, error, freedom)))
    adjusted = holm(p.reshape(len(p), -1)).reshape(p.shape)
    return np.asarray((adjusted <= ALPHA) & (regression >= scenario.smallest_effect))


def gate_table(rates: Sequence[Rate]) -> str:
    """Return the rates as Markdown."""
    intro = (
        "Simulated gates, by the rules that `check` applies: Holm at 5 % over the gate's tests, one-sided. "
        "A loss is in standard deviations (SD) of the difference of a pair of runs."
    )
    cells = [
        (r.what, f"{r.seeds}", f"{r.tests}", f"{r.gates:,}", f"{r.share:.1%}", f"{r.low:.1%} to {r.high:.1%}")
        for r in rates
    ]
    header = ["scenario", "seeds", "tests", "gates", "raised", "95 % interval"]
    return f"{intro}\n\n{markdown.table(header, cells, align='lr')}\n\n`{COMMAND} gate`\n"


@dataclass(frozen=True)
class Session:
    """One throughput gate: the verdict and change of each quantity, and notes on the machine."""

    kind: str
    verdicts: dict[str, str]
    changes: dict[str, float | None]
    notes: tuple[str, ...]


def throughput_study(sessions: int, blocks: int, slower: float) -> Iterator[Session]:
    """Run A/A sessions and as many with a slower train step, in turn, so that both see the same machine."""
    command = (sys.executable, "-m", "latentbench.bench.throughput_gate.timed_workload")
    usual = Arm("usual", Path.cwd(), command)
    slowed = replace(usual, name="slowed", command=(*command, "--slower", str(slower)))
    for _ in range(sessions):
        for kind, head in (("A/A", usual), (f"train step {slower:.0%} slower", slowed)):
            timed = time_blocks({"A": usual, "A′": usual, "B": head}, blocks)
            comparison = decide(timed, shipped(), a="usual", b=head.name)
            yield Session(
                kind,
                {each.metric: each.verdict for each in comparison.decided},
                {each.metric: each.change for each in comparison.decided},
                comparison.notes,
            )


def throughput_table(sessions: Sequence[Session], blocks: int) -> str:
    """Return how often each quantity was called regressed, as Markdown."""
    machine = f"{psutil.cpu_count()} cores, {platform.system()} {platform.release()}"
    cells = []
    for kind in dict.fromkeys(session.kind for session in sessions):
        of_kind = [session for session in sessions if session.kind == kind]
        for quantity in of_kind[0].verdicts:
            raised = sum(session.verdicts[quantity] == "regressed" for session in of_kind)
            changes = [session.changes[quantity] or 0.0 for session in of_kind]
            cells.append((kind, quantity, f"{raised} of {len(of_kind)}", f"{np.mean(changes):+.1%}"))
    intro = f"Real processes in turn, {blocks} blocks of 6 a session, on {machine}."
    table = markdown.table(["sessions", "quantity", "regressed", "mean change"], cells, align="llr")
    return f"{intro}\n\n{table}\n\n`{COMMAND} throughput`\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a study and write its results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("study", choices=["gate", "throughput"])
    parser.add_argument("--results", type=Path, default=Path("results/reference"))
    parser.add_argument("--gates", type=int, default=1000, help="simulated gates of each scenario")
    parser.add_argument("--sessions", type=int, default=10, help="sessions of each kind, A/A and slower")
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--slower", type=float, default=0.1, help="the planted slow-down of the train step")
    given = parser.parse_args(arguments)
    store = Store(given.results)
    if given.study == "gate":
        study = (simulate(scenario, given.gates, seed=0) for scenario in SCENARIOS)
        rates = list(_said(study, lambda rate: f"{rate.what}: {rate.share:.1%}"))
        content, table = [asdict(rate) for rate in rates], gate_table(rates)
    else:
        timed = throughput_study(given.sessions, given.blocks, given.slower)
        sessions = list(_said(timed, lambda session: f"{session.kind}: {session.verdicts}"))
        content, table = [asdict(session) for session in sessions], throughput_table(sessions, given.blocks)
    store.write(f"study/{given.study}.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.write(f"{store.write(f'study/{given.study}.md', table)}\n")


def _said(rows: Iterator[Row], line: Callable[[Row], str]) -> Iterator[Row]:
    for row in rows:
        sys.stderr.write(line(row) + "\n")
        yield row


if __name__ == "__main__":
    main()
