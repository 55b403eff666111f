"""Peaks are the work of a call over the seconds of the fastest one."""

import pytest
import torch

from latentbench.analysis.performance import roofline
from latentbench.analysis.performance.point import PRECISIONS
from latentbench.analysis.performance.timing import Timing

CPU = torch.device("cpu")


@pytest.fixture
def small(monkeypatch):
    """Small products, convolutions and copies, each timed at 0.5 s and 1 s after a real call."""

    def timed(call, device, effort):
        call()
        return Timing((1.0, 0.5))

    monkeypatch.setattr(roofline, "timed", timed)
    monkeypatch.setitem(roofline.MATMUL_SIDE, "cpu", 8)
    monkeypatch.setitem(roofline.CONVOLUTION, "cpu", (2, 4, 5))
    monkeypatch.setitem(roofline.COPIED_BYTES, "cpu", 400)


def test_rates_are_work_over_the_fastest_call(small):
    assert roofline.matmul_flops_per_second(CPU, "fp32") == 2 * 8**3 / 0.5
    # Two images of 5 × 5 pixels, 4 × 4 pairs of channels, 3 × 3 weights, two operations each.
    assert roofline.convolution_flops_per_second(CPU, "fp32") == 2 * 25 * 16 * 9 * 2 / 0.5
    assert roofline.copy_bytes_per_second(CPU) == 2 * 400 / 0.5


def test_peak_is_the_faster_of_product_and_convolution(small):
    peaks = roofline.measure_peaks(CPU, PRECISIONS)
    assert peaks.flops_per_second["fp32"] == 2 * 25 * 16 * 9 * 2 / 0.5
    assert "tf32" not in peaks.flops_per_second
    assert peaks.attainable(1e9, "fp32") == peaks.flops_per_second["fp32"]
    assert peaks.attainable(0.5, "fp32") == 0.5 * peaks.bytes_per_second
