"""Measures what an executor costs next to worker processes of this machine, for units of known length.

    python -m latentbench.bench.studies.executor_overhead ray --seconds 10 --units 8

Each unit sleeps, so the figure contains starting, sending and receiving but no computation, and other work
on the machine disturbs it little. Start-up is the time until every worker has done a short unit; the overhead
is what the wall time of the units then exceeds their length by. `ray` uses the cluster of $RAY_ADDRESS, else
it starts one here. The last line is the size of a shard's result for each of its images.
"""

from __future__ import annotations

import argparse
import math
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.subject import Subject
from latentbench.bench.executors.crew import Crew, stopped_at_the_end
from latentbench.bench.executors.local import LocalProcesses
from latentbench.bench.executors.protocol import Executor
from latentbench.bench.executors.settings import ExecutorSettings, parse
from latentbench.bench.executors.worker import Setup
from latentbench.bench.run.team import REMOTE
from latentbench.bench.text import markdown
from latentbench.data.images import ImageData, Split
from latentbench.models.family import find_family
from latentbench.models.protocols import Encoder
from latentbench.models.zoo import model_spec

IMAGES, SIDE = 256, 28


@dataclass(frozen=True)
class Cost:
    """The wall time of units on one executor."""

    executor: str
    start_up_seconds: float
    wall_seconds: float
    ideal_seconds: float

    @property
    def overhead(self) -> float:
        """The share by which the units took longer than they sleep."""
        return self.wall_seconds / self.ideal_seconds - 1


def rest(seconds: float, context: object) -> float:
    """Sleep, and return for how long."""
    del context
    time.sleep(seconds)
    return seconds


def measured(
    name: str, open_executor: Callable[[], Executor], workers: int, units: int, length: float
) -> Cost:
    """Return the cost of `units` units of `length` seconds on `workers` workers."""
    began = time.perf_counter()
    executor = open_executor()
    with stopped_at_the_end(executor):
        crew: Crew[float] = Crew(executor, key=str)
        # Unequal lengths give unequal keys.
        list(crew.map(rest, [1.0 + number * 1e-6 for number in range(workers)]))
        ready = time.perf_counter()
        list(crew.map(rest, [length + number * 1e-6 for number in range(units)]))
        done = time.perf_counter()
    return Cost(name, ready - began - 1.0, done - ready, math.ceil(units / workers) * length)


def bytes_of_a_pass() -> float:
    """Return the bytes per image of a shard's result: errors, rate, and the code of a VAE with 16 numbers."""
    images = torch.randint(0, 256, (IMAGES, 1, SIDE, SIDE), dtype=torch.uint8)
    data = ImageData("noise", Split(images[:8], None), Split(images, None), ())
    spec = model_spec(family="vae", latent_dim=16)
    model = find_family("vae").build(spec, (1, SIDE, SIDE)).eval()
    assert isinstance(model, Encoder)
    passed = Subject(model, DataContext(data), seed=0).pass_over()
    return len(pickle.dumps(passed)) / IMAGES


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("executor", choices=[*REMOTE])
    parser.add_argument("--seconds", type=float, default=10.0, help="The length of a unit.")
    parser.add_argument("--units", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cluster", default="local", help="For slurm: slurm or local.")
    asked = parser.parse_args()
    settings = parse(asked.executor, "executor")
    if asked.executor == "slurm":
        settings = ExecutorSettings(
            name="slurm", cluster=asked.cluster, jobs=asked.workers, memory_gb=1, minutes_per_case=1
        )
    setup = Setup.of(1, dict)
    costs = [
        measured(name, open_executor, asked.workers, asked.units, asked.seconds)
        for name, open_executor in (
            ("local", lambda: LocalProcesses(asked.workers, 1, dict)),
            (asked.executor, lambda: REMOTE[asked.executor](settings, setup, print)),
        )
    ]
    rows = [
        [cost.executor, f"{cost.start_up_seconds:.1f}", f"{cost.wall_seconds:.1f}", f"{cost.overhead:.1%}"]
        for cost in costs
    ]
    print(markdown.table(["executor", "start-up (s)", "wall (s)", "overhead"], rows))  # noqa: T201
    print(f"a shard's result takes {bytes_of_a_pass():,.0f} bytes per image")  # noqa: T201


if __name__ == "__main__":
    main()
