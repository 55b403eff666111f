"""Measures how much other work on the machine changes the published speeds.

    python -m latentbench.bench.studies.contention

Analysis `throughput` runs on a few models of the zoo with random weights: next to no other process, next to
one that keeps a core busy, and next to one busy process per core; in turn, for several rounds. Each speed is
compared with the fastest idle one of its model. A published speed must be within 15 % of it, or be marked.

Writes `study/contention.json` and `.md` into the reference store. The machine should be idle: work of others
counts as idle here.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from latentbench.analysis.catalogue import ANALYSES, METRICS
from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.metric import Metric
from latentbench.analysis.core.subject import Subject
from latentbench.bench.store.store import Store
from latentbench.bench.text import markdown
from latentbench.data.images import ImageData, Split
from latentbench.models.family import find_family
from latentbench.models.protocols import Encoder, ImageTextModel
from latentbench.models.spec import ModelSpec
from latentbench.models.training.recipe import Recipe
from latentbench.models.zoo import model_spec

COMMAND = "python -m latentbench.bench.studies.contention"
LIMIT = 0.15
IMAGE_SHAPE = (1, 28, 28)
MODELS = (
    {"family": "pca", "latent_dim": 16},
    {"family": "ae", "latent_dim": 16},
    {"family": "vae", "latent_dim": 16, "backbone": "conv"},
    {"family": "clip", "latent_dim": 8},
)
SPIN = "import os\nprint(flush=True)\nwhile os.getppid() == {}: pass"
"""A program that keeps one core busy, and ends with the process that started it."""


@dataclass(frozen=True)
class Speed:
    """One measured speed: its model and metric, the number of busy processes, and its mark."""

    model: str
    metric: str
    busy: int
    round: int
    value: float
    doubt: str | None
    reason: str | None


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keep `count` processes computing inside the block."""
    command = [sys.executable, "-c", SPIN.format(os.getpid())]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(count)]
    try:
        for process in running:
            assert process.stdout
            process.stdout.readline()  # it is computing from here on
        yield
    finally:
        for process in running:
            process.kill()
            process.communicate()


def measured(spec: ModelSpec) -> tuple[Metric, ...]:
    """Measure the throughput of a model with random weights, on images of noise."""
    noise = torch.randint(256, (256, *IMAGE_SHAPE), dtype=torch.uint8)
    data = ImageData("noise", Split(noise, None), Split(noise, None), ())
    model = find_family(spec.family).build(spec, IMAGE_SHAPE).eval()
    assert isinstance(model, Encoder | ImageTextModel)
    step = find_family(spec.family).build(spec, IMAGE_SHAPE).train_step(Recipe())
    subject = Subject(model, DataContext(data), seed=0, train_step=step)
    return ANALYSES["throughput"].measure(subject).metrics


def study(loads: Sequence[int], rounds: int) -> Iterator[Speed]:
    """Measure every model next to each number of busy processes, in turn."""
    specs = [model_spec(**settings) for settings in MODELS]
    for number in range(rounds):
        for spec in specs:
            for busy in loads:
                with busy_processes(busy):
                    metrics = measured(spec)
                for metric in metrics:
                    if metric.value is not None and METRICS[metric.name].better != "neither":
                        yield Speed(
                            spec.label, metric.name, busy, number, metric.value, metric.doubt, metric.reason
                        )


def slowdown(speed: Speed, speeds: Sequence[Speed]) -> float:
    """Return the time relative to the fastest idle measurement of the same quantity."""
    idle = [
        each.value
        for each in speeds
        if (each.model, each.metric, each.busy) == (speed.model, speed.metric, 0)
    ]
    if METRICS[speed.metric].better == "higher":
        return max(idle) / speed.value
    return speed.value / min(idle)


def table(speeds: Sequence[Speed]) -> str:
    """Return the slowdowns next to each number of busy processes, as Markdown."""
    intro = (
        f"Analysis `throughput` (one thread) next to busy processes, on {os.cpu_count()} cores, "
        f"{platform.system()} {platform.release()}. Times are relative to the fastest idle one of the same "
        f"quantity; `beyond` counts unmarked speeds that are off by more than {LIMIT:.0%}."
    )
    header = ["busy processes", "speeds", "marked"]
    header += ["unmarked: median", "unmarked: slowest", "beyond", "all: slowest"]
    cells = []
    for busy in dict.fromkeys(speed.busy for speed in speeds):
        loaded = [speed for speed in speeds if speed.busy == busy]
        times = sorted(slowdown(speed, speeds) for speed in loaded if speed.doubt is None)
        middle, slowest = (f"{times[len(times) // 2]:.2f}", f"{times[-1]:.2f}") if times else ("–", "–")
        beyond = sum(time > 1 + LIMIT for time in times)
        worst = max(slowdown(speed, speeds) for speed in loaded)
        counts = busy, len(loaded), len(loaded) - len(times)
        cells.append((*map(str, counts), middle, slowest, str(beyond), f"{worst:.2f}"))
    return f"{intro}\n\n{markdown.table(header, cells, align='r')}\n\n`{COMMAND}`\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study and write its results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results/reference"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, os.cpu_count() or 1])
    given = parser.parse_args(arguments)
    speeds = []
    for speed in study(sorted({0, *given.busy}), given.rounds):
        mark = f" ({speed.reason})" if speed.doubt else ""
        sys.stderr.write(f"{speed.model} {speed.metric}, {speed.busy} busy: {speed.value:.4g}{mark}\n")
        speeds.append(speed)
    store, content = Store(given.results), [asdict(speed) for speed in speeds]
    store.write("study/contention.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.write(f"{store.write('study/contention.md', table(speeds))}\n")


if __name__ == "__main__":
    main()
