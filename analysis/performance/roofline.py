"""The measured peaks of a device: a large matrix product or convolution, and a large copy.

No model is faster than the limit that they define (Williams, Waterman & Patterson 2009,
doi:10.1145/1498765.1498785): the lesser of the peak and intensity × bandwidth. The peak is what torch
reaches on this device with the threads that it has, not what a data sheet says. Matrix products and
convolutions come from different libraries, and either may be faster by a fifth.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from latentbench.analysis.performance.number_formats import DTYPES, in_precision, lacking
from latentbench.analysis.performance.point import Precision
from latentbench.analysis.performance.timing import Effort, timed

EFFORT = Effort(warm_up=2, repetitions=5, seconds=1.0, budget_seconds=4.0)
MATMUL_SIDE = {"cpu": 2048, "cuda": 8192}
CONVOLUTION = {"cpu": (8, 512, 16), "cuda": (64, 512, 64)}
"""Images, channels, and pixels per side."""
COPIED_BYTES = {"cpu": 2**28, "cuda": 2**30}
"""Many times the size of a cache."""


@dataclass(frozen=True)
class Peaks:
    """Floating-point operations per second by precision, for those the device has, and bytes per second."""

    flops_per_second: dict[Precision, float]
    bytes_per_second: float

    def attainable(self, intensity: float, precision: Precision) -> float:
        """Return the highest operations per second of a call that does `intensity` operations per byte.

        >>> Peaks({"fp32": 100.0}, 10.0).attainable(2.0, "fp32")
        20.0
        """
        return min(self.flops_per_second[precision], intensity * self.bytes_per_second)


def measure_peaks(device: torch.device, precisions: Iterable[Precision]) -> Peaks:
    """Measure a device's bandwidth and its peak in each precision; the best of several repetitions."""
    had = [precision for precision in precisions if lacking(precision, device) is None]
    return Peaks(
        {
            precision: max(
                matmul_flops_per_second(device, precision), convolution_flops_per_second(device, precision)
            )
            for precision in had
        },
        copy_bytes_per_second(device),
    )


def matmul_flops_per_second(device: torch.device, precision: Precision) -> float:
    """Measure operations per second of a square matrix product, 2 n³ each."""
    side = MATMUL_SIDE[device.type]
    a, b = (torch.randn(side, side, device=device).to(DTYPES[precision]) for _ in range(2))
    product = torch.empty_like(a)
    with in_precision(precision):
        timing = timed(lambda: torch.mm(a, b, out=product), device, EFFORT)
    return 2 * side**3 / min(timing.samples)


def convolution_flops_per_second(device: torch.device, precision: Precision) -> float:
    """Measure operations per second of a 3×3 convolution, 2 · 9 for each pixel and pair of channels."""
    images, channels, side = CONVOLUTION[device.type]
    shapes = (images, channels, side, side), (channels, channels, 3, 3)
    x, weight = (
        torch.randn(shape, device=device).to(DTYPES[precision]).contiguous(memory_format=torch.channels_last)
        for shape in shapes
    )
    with in_precision(precision), torch.inference_mode():
        timing = timed(lambda: F.conv2d(x, weight, padding=1), device, EFFORT)
    return 2 * images * (3 * channels * side) ** 2 / min(timing.samples)


def copy_bytes_per_second(device: torch.device) -> float:
    """Measure bytes read and written per second by a copy from memory to memory."""
    source = torch.ones(COPIED_BYTES[device.type] // 4, device=device)
    target = torch.empty_like(source)
    timing = timed(lambda: target.copy_(source), device, EFFORT)
    return 2 * source.nbytes / min(timing.samples)
