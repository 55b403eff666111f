"""The error rates of the gates, by simulation: how often a false alarm, how often a planted loss is caught.

    python -m latentbench.bench.maintain.gate_error_rates gate
        made-up runs, through the comparison that `check` makes
    python -m latentbench.bench.maintain.gate_error_rates throughput
        real processes on this machine: A/A, and a step 10 % slower

Each writes `results/reference/study/<name>.json` and `.md`. The first takes a few minutes and gives the same
numbers every time; the second is a measurement that takes about an hour on an otherwise idle machine.
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

from latentbench.analysis.catalogue import METRICS
from latentbench.analysis.statistics.intervals import wilson_interval
from latentbench.bench.compare.compare import compare
from latentbench.bench.compare.policy import Effect, Policy, SmallestEffects, shipped
from latentbench.bench.store.environment import Code
from latentbench.bench.store.record import DataReference, Record, Seconds
from latentbench.bench.store.run import Run
from latentbench.bench.store.store import Store
from latentbench.bench.throughput_gate.gate import Arm, decide, time_blocks
from latentbench.models.training.recipe import Recipe
from latentbench.models.zoo import model_spec

Row = TypeVar("Row")
Draw = Callable[[Generator, tuple[int, ...]], NDArray[np.float64]]
"""Noise of a shape `[models, metrics, seeds]`, each value with mean 0 and variance 1."""

GATED = ("mse", "recognisable", "frechet_prior", "frechet_moment", "precision_moment", "dead_zone_moment")
MODELS = 19
BASE, NOISE = 0.5, 0.01
"""Every metric's value, and the standard deviation over seeds of a pair's difference."""

COMMAND = "python -m latentbench.bench.maintain.gate_error_rates"


def normal(draws: Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Independent and normal."""
    return draws.standard_normal(shape)


def heavy_tailed(draws: Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Student's t of 3 degrees of freedom: now and then a seed goes wrong."""
    return draws.standard_t(3, shape) / math.sqrt(3)


def dependent(draws: Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The metrics of a model rise and fall together: correlation 0.8."""
    own, common = draws.standard_normal(shape), draws.standard_normal((shape[0], 1, shape[2]))
    return math.sqrt(0.2) * own + math.sqrt(0.8) * common


@dataclass(frozen=True)
class Scenario:
    """A gate that is simulated often; `loss` is planted, in standard deviations of a pair's difference."""

    what: str
    seeds: int
    models: int = MODELS
    metrics: int = len(GATED)
    noise: Draw = normal
    loss: float = 0.0
    planted_in: int = 0
    """How many models have the loss, in their first metric; 0 for an A/A comparison."""
    other_seeds: bool = False
    seeds_of_b: int | None = None
    smallest_effect: float = 1e-9
    """By default none to speak of: whatever is certain counts. With one there are fewer false alarms."""


SCENARIOS = (
    Scenario("A/A, 5 shared seeds", 5),
    Scenario("A/A, 3 shared seeds", 3),
    Scenario("A/A, 8 shared seeds", 8),
    Scenario("A/A, heavy tails", 5, noise=heavy_tailed),
    Scenario("A/A, dependent metrics", 5, noise=dependent),
    Scenario("A/A, 5 seeds against 5 others", 5, other_seeds=True),
    Scenario("A/A, 5 seeds against 1 of them", 5, seeds_of_b=1),
    Scenario("A/A, with the smallest effect of one standard deviation", 5, smallest_effect=NOISE),
    Scenario("1 SD lost, a gate of one metric and model", 8, models=1, metrics=1, loss=1.0, planted_in=1),
    Scenario("1 SD lost, a gate of six metrics of one model", 8, models=1, loss=1.0, planted_in=1),
    Scenario("1 SD lost by one of 19 models, six metrics each", 8, loss=1.0, planted_in=1),
    Scenario("1 SD lost by all of 19 models, six metrics each", 8, loss=1.0, planted_in=MODELS),
    Scenario("2.5 SD lost by one of 19 models, six metrics each", 8, loss=2.5, planted_in=1),
    Scenario("1.5 SD lost, a gate of one metric and model", 5, models=1, metrics=1, loss=1.5, planted_in=1),
    Scenario("2.5 SD lost, a gate of one metric and model", 3, models=1, metrics=1, loss=2.5, planted_in=1),
)


@dataclass(frozen=True)
class Rate:
    """In how many gates of a scenario something regressed: a false alarm, or the planted loss named."""

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
    """Run a scenario's gate so many times; the same seed gives the same rate."""
    draws, policy = np.random.default_rng([seed, SCENARIOS.index(scenario)]), _policy(scenario)
    raised = sum(_raises(scenario, policy, draws) for _ in range(gates))
    low, high = wilson_interval(raised, gates)
    return Rate(scenario.what, scenario.seeds, scenario.models * scenario.metrics, gates, raised, low, high)


def _policy(scenario: Scenario) -> Policy:
    effects = SmallestEffects(default=Effect(absolute=scenario.smallest_effect))
    return shipped().model_copy(update={"smallest_effect": effects})


def _raises(scenario: Scenario, policy: Policy, draws: Generator) -> bool:
    """Whether the gate of two made-up runs raises: any regression, or one of the planted ones."""
    shape = (scenario.models, scenario.metrics, scenario.seeds)
    # Two equal halves of the noise, so that a pair's difference has the standard deviation NOISE.
    a, b = (BASE + NOISE / math.sqrt(2) * _harmful(scenario.noise(draws, shape)) for _ in range(2))
    b[: scenario.planted_in, 0] += NOISE * scenario.loss * _direction(GATED[0])
    b = b[:, :, : scenario.seeds_of_b]
    first = scenario.seeds if scenario.other_seeds else 0
    comparison = compare(_run(a, 0), _run(b, first), policy, metrics=frozenset(GATED), correction="Holm")
    regressed = {(found.model, found.metric) for found in comparison.findings if found.verdict == "regressed"}
    if not scenario.planted_in:
        return bool(regressed)
    planted = {(f"ae-{index + 1}", GATED[0]) for index in range(scenario.planted_in)}
    return bool(regressed & planted)


def _harmful(noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Noise turned so that dependent metrics get worse together."""
    return np.asarray(noise * np.array([_direction(name) for name in GATED[: noise.shape[1]]])[:, None])


def _direction(name: str) -> int:
    return -1 if METRICS[name].better == "higher" else 1


def _run(values: NDArray[np.float64], first_seed: int) -> Run:
    """A run with these values `[models, metrics, seeds]`."""
    records = []
    for index, of_model in enumerate(values):
        spec = model_spec(family="ae", latent_dim=index + 1)
        for offset, of_seed in enumerate(of_model.T.tolist()):
            metrics = [
                METRICS[name].measured(value, n=10_000) for name, value in zip(GATED, of_seed, strict=False)
            ]
            seed = first_seed + offset
            records.append(
                TEMPLATE.model_copy(
                    update={"model": spec, "case": f"{index}-{seed}", "seed": seed, "metrics": tuple(metrics)}
                )
            )
    return Run(Path("runs/study/made-up.jsonl"), tuple(records))


TEMPLATE = Record(
    suite="study",
    run="made-up",
    case="",
    model=model_spec(family="ae", latent_dim=1),
    data=DataReference(name="none", fingerprint="", train=1, test=10_000),
    recipe=Recipe(),
    seed=0,
    analyses=(),
    status="ok",
    metrics=(),
    environment="none",
    code=Code(version="", commit=None, dirty=None, source=""),
    started="",
    seconds=Seconds(train=None, evaluate=None),
)


def gate_study(gates: int, *, seed: int = 0) -> Iterator[Rate]:
    """Every scenario."""
    for scenario in SCENARIOS:
        yield simulate(scenario, gates, seed=seed)


def gate_table(rates: Sequence[Rate]) -> str:
    """The rates as Markdown."""
    lines = [
        "Simulated gates, through the comparison that `check` makes: Holm at 5 % over the gate's tests, "
        "one-sided. A loss is in standard deviations (SD) of the difference of a pair of runs.",
        "",
        "| scenario | seeds | tests | gates | raised | 95 % interval |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {r.what} | {r.seeds} | {r.tests} | {r.gates:,} | {r.share:.1%} | {r.low:.1%} to {r.high:.1%} |"
        for r in rates
    ]
    return "\n".join([*lines, "", f"`{COMMAND} gate`"]) + "\n"


# On this machine


@dataclass(frozen=True)
class Session:
    """One throughput gate: what was found of each quantity, and what the machine did meanwhile."""

    kind: str
    verdicts: dict[str, str]
    changes: dict[str, float | None]
    notes: tuple[str, ...]


def throughput_study(sessions: int, blocks: int, slower: float) -> Iterator[Session]:
    """A/A sessions, and as many with the train step slowed down; in turn, so that both see one machine."""
    command = (sys.executable, "-m", "latentbench.bench.throughput_gate.timed_workload")
    usual = Arm("usual", Path.cwd(), command)
    slowed = replace(usual, name="slowed", command=(*command, "--slower", str(slower)))
    for _ in range(sessions):
        for kind, head in (("A/A", usual), (f"train step {slower:.0%} slower", slowed)):
            timed = time_blocks({"A": usual, "A′": usual, "B": head}, blocks)
            comparison = decide(timed, shipped(), a="usual", b=head.name)
            yield Session(
                kind,
                {finding.metric: finding.verdict for finding in comparison.findings},
                {finding.metric: finding.change for finding in comparison.findings},
                comparison.notes,
            )


def throughput_table(sessions: Sequence[Session], blocks: int) -> str:
    """How often what was called regressed, as Markdown."""
    machine = f"{psutil.cpu_count()} cores, {platform.system()} {platform.release()}"
    lines = [
        f"Real processes in turn, {blocks} blocks of 6 a session, on {machine}.",
        "",
        "| sessions | quantity | regressed | mean change |",
        "| --- | --- | ---: | ---: |",
    ]
    for kind in dict.fromkeys(session.kind for session in sessions):
        of_kind = [session for session in sessions if session.kind == kind]
        for quantity in of_kind[0].verdicts:
            raised = sum(session.verdicts[quantity] == "regressed" for session in of_kind)
            changes = [session.changes[quantity] or 0.0 for session in of_kind]
            lines.append(f"| {kind} | {quantity} | {raised} of {len(of_kind)} | {np.mean(changes):+.1%} |")
    return "\n".join([*lines, "", f"`{COMMAND} throughput`"]) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a study and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("study", choices=["gate", "throughput"])
    parser.add_argument("--results", type=Path, default=Path("results/reference"))
    parser.add_argument("--gates", type=int, default=1000, help="simulated gates of each scenario")
    parser.add_argument("--sessions", type=int, default=10, help="of each kind, A/A and slower")
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--slower", type=float, default=0.1, help="the planted slow-down of the train step")
    given = parser.parse_args(arguments)
    store = Store(given.results)
    if given.study == "gate":
        rates = list(_said(gate_study(given.gates), lambda rate: f"{rate.what}: {rate.share:.1%}"))
        content, table = [asdict(rate) for rate in rates], gate_table(rates)
    else:
        study = throughput_study(given.sessions, given.blocks, given.slower)
        sessions = list(_said(study, lambda session: f"{session.kind}: {session.verdicts}"))
        content, table = [asdict(session) for session in sessions], throughput_table(sessions, given.blocks)
    store.write(f"study/{given.study}.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.write(f"{store.write(f'study/{given.study}.md', table)}\n")


def _said(rows: Iterator[Row], line: Callable[[Row], str]) -> Iterator[Row]:
    for row in rows:
        sys.stderr.write(line(row) + "\n")
        yield row


if __name__ == "__main__":
    main()
