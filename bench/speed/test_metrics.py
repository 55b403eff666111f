"""Set metrics against the package people use now, on the same features in the same process.

Run with `pytest bench/speed -k metrics -s`. Every case prints the ratio (rival's median over ours) beside
the values both reached, so that a fast wrong answer shows.
"""

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


def test_metrics_precision_recall_density_coverage(side_by_side, say):
    real, fake = features()
    as_arrays = real.double().numpy(), fake.double().numpy()

    def ours():
        return (*precision_recall(real, fake, k=5), *density_coverage(real, fake, k=5))

    def rival():
        values = prdc.compute_prdc(*as_arrays, nearest_k=5)
        return [values[name] for name in ("precision", "recall", "density", "coverage")]

    found = side_by_side(ours, rival, rounds=ROUNDS)
    assert np.asarray(found.value) == pytest.approx(found.rival_value, abs=1e-6)
    say(
        f"precision, recall, density, coverage of {COUNT:,} against {COUNT:,} points, D = {DIMENSIONS}",
        found,
        "prdc",
        f"the same {', '.join(f'{value:.4f}' for value in found.value)}",
    )
