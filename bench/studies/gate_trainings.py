"""Measures how often a gate raises a false alarm on real trainings: seeds of one run against others of it.

    latentbench run bench/studies/gate_trainings.yaml --seeds 0-59 --results /tmp/gate --no-figures
    latentbench run bench/studies/gate_mnist.yaml --seeds 5-9 --results /tmp/gate --no-figures
    python -m latentbench.bench.studies.gate_trainings docs/ci.md /tmp/gate/runs/gate_trainings/*.jsonl \\
        /tmp/gate/runs/gate_mnist/*.jsonl results/reference/runs/mnist/*.jsonl --test-images 60

Runs on one data set count as one run, with the models that all of them have.
Both sides of each comparison have the same code, so every `regressed` is false. Pairs of disjoint sets of
seeds are drawn at random, and compared as `check` compares runs: paired, as if both sets were the same seeds
trained by different code, and unpaired, as different seeds. With `--test-images 60` the
first run is also judged by 60 of its test images, in the metrics that keep a value for each image.

Draws from few seeds overlap, so the interval, which takes gates as independent, is then too narrow.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from latentbench.analysis.statistics.intervals import wilson_interval
from latentbench.bench.compare.compare import compare
from latentbench.bench.compare.policy import Policy, shipped
from latentbench.bench.store.records.per_example import unpacked
from latentbench.bench.store.records.record import Record
from latentbench.bench.store.run import Run, read
from latentbench.bench.text import markdown
from latentbench.data.errors import LatentbenchError

COMMAND, BLOCK = "python -m latentbench.bench.studies.gate_trainings", "gate trainings"
SEEDS = (2, 3, 5)
"""Seeds on each side of a comparison."""
GATES: tuple[Literal["headline", "all"], ...] = ("headline", "all")


@dataclass(frozen=True)
class Alarms:
    """The comparisons of one kind that reported a regression, and its 95 % interval as a share."""

    data: str
    images: int
    """Test images behind the metrics."""
    available: int
    """Seeds that the sets were drawn from."""
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
    """Return the run with these seeds only, renumbered as in `called`."""
    names = dict(zip(seeds, called, strict=True))
    records = tuple(
        record.model_copy(update={"seed": names[record.seed], "case": f"{record.identity}-{record.seed}"})
        for record in run.last_records
        if record.seed in names and record.trained
    )
    return replace(run, records=records)


def joined(runs: Sequence[Run]) -> list[Run]:
    """Return one run per data set, with all seeds of the models that each run on it has."""
    by_data: dict[str, list[Run]] = {}
    for run in runs:
        data = next((record.data.name for record in run.records), "")
        by_data.setdefault(data, []).append(run)
    return [_one(same) for same in by_data.values()]


def _one(runs: Sequence[Run]) -> Run:
    shared = set.intersection(*({record.identity for record in run.records} for run in runs))
    records = tuple(record for run in runs for record in run.records if record.identity in shared)
    return replace(runs[0], records=records)


def with_images(run: Run, count: int, *, seed: int = 0) -> Run:
    """Return the run measured on `count` of its test images, with the metrics that keep a value per image."""

    def reduced(record: Record) -> Record:
        arrays = run.arrays(record)
        metrics = []
        for metric in record.metrics:
            kept = unpacked(arrays, metric)
            if kept is not None and kept.clusters is None and len(kept.values) >= count:
                chosen = np.random.default_rng(seed).choice(len(kept.values), count, replace=False)
                value = float(kept.values[chosen].mean())
                metrics.append(replace(metric, value=value, n=count, se=None, common_se=None, by_judge=()))
        data = record.data.model_copy(update={"test": count})
        return record.model_copy(update={"metrics": tuple(metrics), "data": data})

    return replace(run, records=tuple(map(reduced, run.last_records)))


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
    data = run.last_records[0].data
    return Alarms(
        data.name,
        data.test,
        len(available),
        str(policy.gate),
        count,
        paired,
        tests,
        gates,
        raised,
        *wilson_interval(raised, gates),
    )


def table(rates: Sequence[Alarms]) -> str:
    """Return the rates as Markdown."""
    intro = (
        "False alarms on real trainings, all of the same code. Each comparison draws two disjoint sets of "
        "seeds; the gate promises an alarm in at most 5 %. Sets from few seeds overlap, so that these "
        f"intervals are too narrow. `{COMMAND}`"
    )
    cells = [
        (
            f"{rate.data}, {rate.images:,}",
            f"{rate.available}",
            rate.gate,
            f"{rate.seeds} v {rate.seeds}",
            "paired" if rate.paired else "other seeds",
            f"{rate.tests}",
            f"{rate.raised / rate.gates:.1%}",
            f"{rate.low:.1%} to {rate.high:.1%}",
        )
        for rate in rates
    ]
    header = ["test images", "trained", "gate", "seeds", "compared", "tests", "alarms", "95 % interval"]
    return f"{intro}\n\n{markdown.table(header, cells, align='lrlllr')}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Rewrite the table in the file that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("runs", type=Path, nargs="+", help="the records of runs")
    parser.add_argument("--test-images", type=int, nargs="*", default=[], help="also judge the first run so")
    parser.add_argument("--gates", type=int, default=300, help="comparisons of each kind")
    given = parser.parse_args(arguments)
    runs = [read(path) for path in given.runs]
    fewer_images = [with_images(runs[0], count) for count in given.test_images]
    rates = []
    for run in (*fewer_images, *joined(runs)):
        for rate in study(run, given.gates):
            sys.stderr.write(f"{rate}\n")
            rates.append(rate)
    content = table(rates)
    text = markdown.with_blocks(given.file.read_text(encoding="utf-8"), {BLOCK: content}, given.file.name)
    given.file.write_text(text, encoding="utf-8")
    sys.stdout.write(content + "\n")


if __name__ == "__main__":
    main()
