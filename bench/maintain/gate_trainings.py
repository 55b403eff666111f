"""Measures how often a gate raises a false alarm on real trainings: seeds of one run against others of it.

    latentbench run bench/maintain/gate_trainings.yaml --seeds 0-59 --results /tmp/gate --no-figures
    python -m latentbench.bench.maintain.gate_trainings /tmp/gate/runs/gate_trainings/*.jsonl

Both sides of each comparison have the same code, so every `regressed` is false. Pairs of disjoint sets of
seeds are drawn at random, and compared as `check` compares runs: paired, as if the second set were the first
one's seeds trained by other code, and unpaired, as the other seeds that they are. Writes
`study/gate_trainings.json` and `.md` into the store of `--results`.

Draws from few seeds overlap, so the interval, which takes gates as independent, is then too narrow.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from latentbench.analysis.statistics.intervals import wilson_interval
from latentbench.bench.compare.compare import compare
from latentbench.bench.compare.policy import Policy, shipped
from latentbench.bench.store.run import Run, read
from latentbench.bench.store.store import Store
from latentbench.bench.text import markdown
from latentbench.data.errors import LatentbenchError

COMMAND = "python -m latentbench.bench.maintain.gate_trainings"
SEEDS = (2, 3, 5)
"""Seeds on each side of a comparison."""
GATES: tuple[Literal["headline", "all"], ...] = ("headline", "all")


@dataclass(frozen=True)
class Alarms:
    """The comparisons of one kind that reported a regression, and its 95 % interval as a share."""

    gate: str
    seeds: int
    paired: bool
    tests: int
    """Metrics of models that the last comparison tested."""
    gates: int
    raised: int
    low: float
    high: float


def complete_seeds(run: Run) -> list[int]:
    """Return the seeds at which every model of the run that takes a seed has a result."""
    models: dict[str, set[int]] = {}
    for record in run.last_records:
        if record.trained:
            models.setdefault(record.identity, set())
            if record.status == "ok":
                models[record.identity].add(record.seed)
    return sorted(set.intersection(*models.values())) if models else []


def with_seeds(run: Run, seeds: Sequence[int], called: Sequence[int]) -> Run:
    """Return the run of these seeds alone, each under the number that it is `called`."""
    names = dict(zip(seeds, called, strict=True))
    records = tuple(
        record.model_copy(update={"seed": names[record.seed], "case": f"{record.identity}-{record.seed}"})
        for record in run.last_records
        if record.seed in names and record.trained
    )
    return replace(run, records=records)


def study(run: Run, gates: int, *, seed: int = 0) -> Iterator[Alarms]:
    """Compare random pairs of disjoint seed sets, for each gate, number of seeds and way of comparing.

    Raises LatentbenchError for a run with fewer than four seeds.
    """
    available = complete_seeds(run)
    if len(available) < 2 * SEEDS[0]:
        raise LatentbenchError(
            f"{run.path.name}: {len(available)} seeds have every model; at least {2 * SEEDS[0]} are needed"
        )
    for gate in GATES:
        policy = shipped().model_copy(update={"gate": gate})
        for count in (count for count in SEEDS if 2 * count <= len(available)):
            for paired in (True, False):
                draws = np.random.default_rng([seed, count, paired])
                yield _alarms(run, policy, available, count, gates, draws, paired=paired)


def _alarms(
    run: Run,
    policy: Policy,
    available: Sequence[int],
    count: int,
    gates: int,
    draws: np.random.Generator,
    *,
    paired: bool,
) -> Alarms:
    raised = tests = 0
    for _ in range(gates):
        chosen = draws.choice(available, 2 * count, replace=False).tolist()
        first, second = chosen[:count], chosen[count:]
        a, b = with_seeds(run, first, first), with_seeds(run, second, first if paired else second)
        comparison = compare(a, b, policy, metrics=policy.gated, correction="Holm")
        raised += any(found.verdict == "regressed" for found in comparison.findings)
        tests = max((found.tests for found in comparison.decided), default=0)
    return Alarms(str(policy.gate), count, paired, tests, gates, raised, *wilson_interval(raised, gates))


def table(rates: Sequence[Alarms], run: Run) -> str:
    """Return the rates as Markdown."""
    record = run.last_records[0]
    models = len({record.identity for record in run.last_records if record.trained})
    intro = (
        f"Real trainings, all of the same code: {models} models, {len(complete_seeds(run))} seeds, "
        f"{record.data.name} with {record.data.test:,} test images. Each comparison draws two disjoint sets "
        "of seeds; the gate promises an alarm in at most 5 %."
    )
    cells = [
        (
            rate.gate,
            f"{rate.seeds} v {rate.seeds}",
            "paired" if rate.paired else "other seeds",
            f"{rate.tests}",
            f"{rate.gates:,}",
            f"{rate.raised / rate.gates:.1%}",
            f"{rate.low:.1%} to {rate.high:.1%}",
        )
        for rate in rates
    ]
    header = ["gate", "seeds", "compared", "tests", "comparisons", "alarms", "95 % interval"]
    return f"{intro}\n\n{markdown.table(header, cells, align='lllr')}\n\n`{COMMAND}`\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study and write its results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path, help="the records of a run with many seeds")
    parser.add_argument("--results", type=Path, default=Path("results/reference"))
    parser.add_argument("--gates", type=int, default=300, help="comparisons of each kind")
    given = parser.parse_args(arguments)
    run = read(given.run)
    rates = []
    for rate in study(run, given.gates):
        sys.stderr.write(f"{rate}\n")
        rates.append(rate)
    store = Store(given.results)
    content = json.dumps([asdict(rate) for rate in rates], indent=2) + "\n"
    store.write("study/gate_trainings.json", content)
    sys.stdout.write(f"{store.write('study/gate_trainings.md', table(rates, run))}\n")


if __name__ == "__main__":
    main()
