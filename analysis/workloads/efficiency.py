"""A timed call compared with the peak of its device: operations and bytes per second, and their shares."""

from __future__ import annotations

from dataclasses import dataclass

from latentbench.analysis.core.metric import Metric, MetricDefinition
from latentbench.analysis.performance.point import SweepPoint
from latentbench.analysis.performance.roofline import Peaks
from latentbench.analysis.workloads.flops import Count
from latentbench.analysis.workloads.sweep_metrics import (
    BANDWIDTH,
    BYTES_RATE,
    FLOPS,
    FLOPS_RATE,
    HELD,
    MOVED,
    PEAK_FLOPS,
    SHARE_OF_BANDWIDTH,
    SHARE_OF_PEAK,
)

AUTOCAST = "autocast chooses the format of every operator; counted in float32 only"


@dataclass(frozen=True)
class Efficiency:
    """One quantity of a call: its amount, its rate, and the share of the device's peak rate."""

    amount: Metric
    rate: Metric
    share: Metric

    @classmethod
    def missing(
        cls, amount: MetricDefinition, rate: MetricDefinition, share: MetricDefinition, reason: str
    ) -> Efficiency:
        """Return all three as null, for one reason."""
        return cls(amount.missing(reason), rate.missing(reason), share.missing(reason))


@dataclass(frozen=True)
class ComparedWithPeak:
    """A call's operations and bytes next to the peak and the bandwidth of the device."""

    operations: Efficiency
    bytes_moved: Efficiency
    held: Metric
    peak: Metric
    bandwidth: Metric

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Return all metrics; the caller orders them by name."""
        pairs = (self.operations, self.bytes_moved)
        efficiencies = [metric for each in pairs for metric in (each.amount, each.rate, each.share)]
        return (*efficiencies, self.held, self.peak, self.bandwidth)


def compared_with_peak(
    seconds: float, point: SweepPoint, peaks: Peaks, counted: Count | str
) -> ComparedWithPeak:
    """Compare a call of `seconds` with the device; text in place of a count is the reason for null."""
    peak, bandwidth = peaks.flops_per_second[point.precision], peaks.bytes_per_second
    operations = Efficiency.missing(FLOPS, FLOPS_RATE, SHARE_OF_PEAK, str(counted))
    if isinstance(counted, Count):
        rate = counted.flops / seconds
        operations = Efficiency(
            FLOPS.measured(counted.flops / point.batch),
            FLOPS_RATE.measured(rate),
            SHARE_OF_PEAK.measured(rate / peak),
        )
    of_bytes = AUTOCAST if point.operation == "train_step" and point.precision == "bf16" else counted
    bytes_moved = Efficiency.missing(MOVED, BYTES_RATE, SHARE_OF_BANDWIDTH, str(of_bytes))
    held = HELD.missing(str(of_bytes))
    if isinstance(of_bytes, Count):
        rate = of_bytes.moved_bytes / seconds
        bytes_moved = Efficiency(
            MOVED.measured(of_bytes.moved_bytes),
            BYTES_RATE.measured(rate),
            SHARE_OF_BANDWIDTH.measured(rate / bandwidth),
        )
        held = HELD.measured(of_bytes.held_bytes)
    return ComparedWithPeak(
        operations, bytes_moved, held, PEAK_FLOPS.measured(peak), BANDWIDTH.measured(bandwidth)
    )
