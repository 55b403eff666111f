"""The study of memory measures what a process holds, and its growth is by images."""

import torch

from latentbench.bench.studies.memory import (
    Peak,
    growth,
    measured,
    own_memory,
    peak_memory,
    table,
)


def test_growth_is_per_image():
    peaks = [Peak("grid", count, 0, 50_000_000 + 7_000 * count, 1.0) for count in (4000, 1000, 16_000)]
    assert growth(peaks) == 7000
    assert growth(peaks[:1]) is None
    assert "7.0 kB" in table(peaks)


def test_the_peak_counts_what_is_freed_again():
    before = own_memory()
    with peak_memory() as peak:
        taken = torch.ones(20_000_000)
        taken.sum().item()
        torch.arange(5_000_000).sum().item()
        del taken
    assert 80e6 < peak[0] - before < 160e6


def test_a_grid_is_measured_on_few_images():
    peak = measured("grid", 30, ["reconstruction", "code"], side=32)
    assert (peak.model, peak.images) == ("grid", 30)
    assert 0 < peak.peak_bytes < 1e9
