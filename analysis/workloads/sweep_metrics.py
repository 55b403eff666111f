"""The metrics of a sweep's rows, in the order of the tables."""

from __future__ import annotations

from latentbench.analysis.core.metric import Better, MetricDefinition, define
from latentbench.analysis.performance.throughput import PARAMETERS


def _define(
    name: str,
    unit: str,
    better: Better,
    title: str,
    heading: str,
    *,
    decimals: int = 3,
    tolerance: float = 0.25,
    headline: bool = False,
    version: int = 1,
) -> MetricDefinition:
    return define(
        name,
        unit=unit,
        better=better,
        title=title,
        version=version,
        heading=heading,
        decimals=decimals,
        tolerance=tolerance,
        headline=headline,
    )


RATE = _define(
    "examples_per_second",
    "examples/s",
    "higher",
    "Images or captions per second in batches of the row's size: batch over the median latency.",
    "examples/s",
    decimals=1,
    headline=True,
)
LATENCY = _define(
    "latency_seconds",
    "s",
    "lower",
    "Seconds from the start of a call on a batch to the end of its work, median.",
    "latency",
    decimals=6,
    headline=True,
)
LATENCY_P95 = _define(
    "latency_p95_seconds", "s", "lower", "Seconds within which 95 % of the calls end.", "p95", decimals=6
)
LATENCY_P99 = _define(
    "latency_p99_seconds", "s", "lower", "Seconds within which 99 % of the calls end.", "p99", decimals=6
)
PEAK_MEMORY = _define(
    "call_memory_bytes",
    "bytes",
    "lower",
    "Peak device memory of one call, beyond the model and its input.",
    "memory",
    decimals=0,
)
FLOPS = _define(
    "flops_per_example",
    "FLOP",
    "lower",
    "Floating-point operations per example, counted; a multiplication with an addition is two.",
    "FLOP",
    decimals=0,
    tolerance=0.0,
)
MOVED = _define(
    "moved_bytes",
    "bytes",
    "lower",
    "Bytes that the operators of a call read and write, counted for each operator as if there were no cache.",
    "moved",
    decimals=0,
    tolerance=0.0,
)
HELD = _define(
    "held_bytes",
    "bytes",
    "lower",
    "Bytes of the tensors that are alive at once in a call, beyond the model and its input, counted.",
    "held",
    decimals=0,
    tolerance=0.0,
)
FLOPS_RATE = _define(
    "flops_per_second", "FLOP/s", "higher", "Floating-point operations per second.", "FLOP/s", decimals=0
)
SHARE_OF_PEAK = _define(
    "share_of_peak",
    "fraction",
    "higher",
    "Floating-point operations per second, relative to the measured peak of the device.",
    "of peak",
    headline=True,
    version=2,
)
BYTES_RATE = _define(
    "bytes_per_second", "bytes/s", "higher", "Bytes moved per second, as counted.", "bytes/s", decimals=0
)
SHARE_OF_BANDWIDTH = _define(
    "share_of_bandwidth",
    "fraction",
    "higher",
    "Bytes moved per second, relative to a large copy on the device; above 1 where data stay in a cache.",
    "of bandwidth",
)
PEAK_FLOPS = _define(
    "peak_flops_per_second",
    "FLOP/s",
    "neither",
    "Measured peak of the device: a large matrix product or convolution in the row's precision.",
    "peak",
    decimals=0,
    version=2,
)
BANDWIDTH = _define(
    "bandwidth_bytes_per_second",
    "bytes/s",
    "neither",
    "Measured bandwidth of the device: bytes that a large copy reads and writes per second.",
    "bandwidth",
    decimals=0,
)
INPUT_RATIO = _define(
    "input_ratio",
    "ratio",
    "neither",
    "Compression ratio: the number of values in an image over that in its code.",
    "smaller by",
    decimals=1,
    tolerance=0.0,
)
SWEEP_METRICS = (
    RATE,
    LATENCY,
    LATENCY_P95,
    LATENCY_P99,
    PARAMETERS,
    PEAK_MEMORY,
    FLOPS,
    MOVED,
    HELD,
    FLOPS_RATE,
    SHARE_OF_PEAK,
    BYTES_RATE,
    SHARE_OF_BANDWIDTH,
    PEAK_FLOPS,
    BANDWIDTH,
    INPUT_RATIO,
)
