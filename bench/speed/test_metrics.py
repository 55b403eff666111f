"""Set metrics against the package people use now, on the same features in the same process.

Run with `pytest bench/speed -k metrics -s`. Every case prints the ratio (rival's median over ours) beside
the values both reached, so that a fast wrong answer shows.
"""

import statistics
import time

import numpy as np
import pytest
import torch

from latentbench.analysis.fidelity import density_coverage, precision_recall

prdc = pytest.importorskip("prdc", reason="the rival prdc is not installed")

COUNT, DIMENSIONS = 10_000, 64
ROUNDS = 3


def features():
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(COUNT, DIMENSIONS, generator=generator)
    fake = 0.9 * torch.randn(COUNT, DIMENSIONS, generator=generator) + 0.05
    return real, fake


def test_metrics_precision_recall_density_coverage(benchmark, capsys):
    real, fake = features()

    def ours():
        return (*precision_recall(real, fake, k=5), *density_coverage(real, fake, k=5))

    values = benchmark.pedantic(ours, rounds=ROUNDS, warmup_rounds=1)
    rival_seconds, rival = [], {}
    for _ in range(ROUNDS):
        started = time.perf_counter()
        rival = prdc.compute_prdc(real.double().numpy(), fake.double().numpy(), nearest_k=5)
        rival_seconds.append(time.perf_counter() - started)
    expected = [rival[name] for name in ("precision", "recall", "density", "coverage")]
    assert np.asarray(values) == pytest.approx(expected, abs=1e-6)
    seconds = benchmark.stats.stats.median
    ratio = statistics.median(rival_seconds) / seconds
    with capsys.disabled():
        print(
            f"\nprecision, recall, density, coverage, {COUNT:,} x {COUNT:,} x {DIMENSIONS}: "
            f"{seconds:.2f} s against prdc's {statistics.median(rival_seconds):.2f} s, ratio {ratio:.1f}; "
            f"values {', '.join(f'{value:.4f}' for value in values)} in both"
        )
