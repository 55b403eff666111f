"""Measures how the memory of measuring a model grows with the number of test images.

    python -m latentbench.bench.studies.memory

A small convolutional VAE with random weights is measured on random images of 128 pixels, which are a memory-
mapped file, with as many train images as test images. Each number of test images has a separate process,
whose memory is sampled while it measures: the memory that it has for itself, without files that it maps. What
it has before the first analysis is subtracted. The limit is a growth of 20 kB per test image.

Writes `study/memory.json` and `.md` into the reference store.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from latentbench.analysis.catalogue import ANALYSES
from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.features.judge import Judge, JudgeNetwork
from latentbench.bench.store.store import Store
from latentbench.bench.text import markdown
from latentbench.data.images import ImageData, Split
from latentbench.models.family import find_family
from latentbench.models.protocols import Autoencoder
from latentbench.models.zoo import model_spec

COMMAND = "python -m latentbench.bench.studies.memory"
LIMIT = 20_000
"""Bytes by which the peak may grow per test image."""
SIDE, CLASSES, JUDGES = 128, 10, 3
MODELS: dict[str, dict[str, Any]] = {
    "vector": {"latent_dim": 16},
    "grid": {"latent_dim": 4, "code": "grid"},
}
INTERVAL = 0.005


@dataclass(frozen=True)
class Peak:
    """The peak memory of measuring a model on some images, beyond what the process had before."""

    model: str
    images: int
    before_bytes: int
    peak_bytes: int
    seconds: float


def own_memory() -> int:
    """Return the bytes that this process has for itself, without files that it maps."""
    memory = psutil.Process().memory_info()
    return int(memory.rss - memory.shared)


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Yield a list whose only element is the highest `own_memory` while the block runs."""
    found, done = [own_memory()], threading.Event()

    def watch() -> None:
        while not done.wait(INTERVAL):
            found[0] = max(found[0], own_memory())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        done.set()
        watcher.join()


def mapped_images(path: Path, count: int, side: int) -> torch.Tensor:
    """Write random images of coarse blocks, uint8 `[N, 3, side, side]`, and map the file."""
    images = np.memmap(path, np.uint8, "w+", shape=(count, 3, side, side))
    draws = np.random.default_rng(0)
    for row in range(count):
        images[row] = draws.integers(0, 256, (3, 8, 8), np.uint8).repeat(side // 8, 1).repeat(side // 8, 2)
    images.flush()
    return torch.from_numpy(np.memmap(path, np.uint8, "c", shape=images.shape))


def measured(model: str, count: int, names: Sequence[str], *, side: int = SIDE) -> Peak:
    """Measure a model on `count` test images, in this process."""
    torch.manual_seed(0)
    spec = model_spec(family="vae", backbone="conv", hidden=8, **MODELS[model])
    network = JudgeNetwork(3, CLASSES).eval().requires_grad_(False)
    with tempfile.TemporaryDirectory() as folder:
        train, test = (
            Split(mapped_images(Path(folder) / role, images, side), torch.arange(images) % CLASSES)
            for role, images in (("train", count), ("test", count))
        )
        data = ImageData("random", train, test, tuple(f"class {index}" for index in range(CLASSES)))
        context = DataContext(data, (Judge(network, "random", 1.0, data.fingerprint),) * JUDGES)
        vae = find_family("vae").build(spec, data.image_shape).eval()
        assert isinstance(vae, Autoencoder)
        subject = Subject(vae, context, seed=0)
        before, began = own_memory(), time.perf_counter()
        with peak_memory() as peak:
            for name in names:
                ANALYSES[name].measure(subject)
        return Peak(model, count, before, peak[0] - before, time.perf_counter() - began)


def study(counts: Sequence[int], models: Sequence[str], names: Sequence[str]) -> Iterator[Peak]:
    """Measure every model on every number of images, each in a separate process."""
    for model in models:
        for count in counts:
            command = [sys.executable, "-m", COMMAND.split()[-1], "--one", model, str(count)]
            command += ["--analyses", *names]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            yield Peak(**json.loads(done.stdout.splitlines()[-1]))


def growth(peaks: Sequence[Peak]) -> float | None:
    """Return the bytes per image between the fewest and the most images; None for one number of images.

    >>> growth([Peak("grid", 1000, 0, 5_000_000, 1.0), Peak("grid", 3000, 0, 9_000_000, 1.0)])
    2000.0
    """
    few, many = (chosen(peaks, key=lambda peak: peak.images) for chosen in (min, max))
    if few.images == many.images:
        return None
    return (many.peak_bytes - few.peak_bytes) / (many.images - few.images)


def table(peaks: Sequence[Peak]) -> str:
    """Return the study as Markdown: one row for each model and number of images."""
    intro = (
        f"Peak memory of the default analyses on images of {SIDE} px, beyond what the process had before. "
        f"Growth is per image, from the fewest to the most images; the limit is {LIMIT / 1000:.0f} kB."
    )
    rows = []
    for model in dict.fromkeys(peak.model for peak in peaks):
        own = [peak for peak in peaks if peak.model == model]
        slope = growth(own)
        for peak in own:
            last = "" if slope is None or peak is not own[-1] else f"{slope / 1000:.1f} kB"
            rows.append([model, f"{peak.images:,}", f"{peak.peak_bytes / 1e6:,.0f} MB", last])
    header = ["code", "test images", "peak", "growth per image"]
    return f"{intro}\n\n{markdown.table(header, rows, align='lr')}\n\n`{COMMAND}`\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study and write its results."""
    default = [name for name, each in ANALYSES.items() if not (each.opt_in or each.exclusive)]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results/reference"))
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 4000, 16_000])
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--analyses", nargs="+", choices=list(ANALYSES), default=default)
    parser.add_argument("--one", nargs=2, metavar=("MODEL", "COUNT"), help="measure once, in this process")
    given = parser.parse_args(arguments)
    if given.one:
        peak = measured(given.one[0], int(given.one[1]), given.analyses)
        sys.stdout.write(f"{json.dumps(asdict(peak))}\n")
        return
    peaks = []
    for peak in study(given.counts, given.models, given.analyses):
        sys.stderr.write(f"{peak.model}, {peak.images:,} images: {peak.peak_bytes / 1e6:,.0f} MB\n")
        peaks.append(peak)
    store = Store(given.results)
    store.write("study/memory.json", json.dumps([asdict(peak) for peak in peaks], indent=2) + "\n")
    sys.stdout.write(f"{store.write('study/memory.md', table(peaks))}\n")


if __name__ == "__main__":
    main()
