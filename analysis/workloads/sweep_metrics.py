"""The metrics of a sweep's rows, in the order of the tables."""

from __future__ import annotations

from latentbench.analysis.core.metric import define_cost, define_speed
from latentbench.analysis.performance.throughput import PARAMETERS

RATE = define_speed(
    "examples_per_second",
    unit="examples/s",
    better="higher",
    title="Images or captions per second in batches of the row's size: batch over the median latency.",
    heading="examples/s",
    decimals=1,
    headline=True,
)
LATENCY = define_speed(
    "latency_seconds",
    unit="s",
    better="lower",
    title="Seconds from the start of a call on a batch to the end of its work, median.",
    heading="latency",
    decimals=6,
    headline=True,
)
LATENCY_P95 = define_speed(
    "latency_p95_seconds",
    unit="s",
    better="lower",
    title="Seconds within which 95 % of the calls end.",
    heading="p95",
    decimals=6,
)
LATENCY_P99 = define_speed(
    "latency_p99_seconds",
    unit="s",
    better="lower",
    title="Seconds within which 99 % of the calls end.",
    heading="p99",
    decimals=6,
)
PEAK_MEMORY = define_cost(
    "call_memory_bytes",
    unit="bytes",
    better="lower",
    title="Peak device memory of one call, beyond the model and its input.",
    heading="memory",
    decimals=0,
)
FLOPS = define_cost(
    "flops_per_example",
    unit="FLOP",
    better="lower",
    title="Floating-point operations per example, counted; a multiplication with an addition is two.",
    heading="FLOP",
    decimals=0,
    tolerance=0.0,
)
MOVED = define_cost(
    "moved_bytes",
    unit="bytes",
    better="lower",
    title=(
        "Bytes that the operators of a call read and write, counted for each operator as if there "
        "were no cache."
    ),
    heading="moved",
    decimals=0,
    tolerance=0.0,
)
HELD = define_cost(
    "held_bytes",
    unit="bytes",
    better="lower",
    title="Bytes of the tensors that are alive at once in a call, beyond the model and its input, counted.",
    heading="held",
    decimals=0,
    tolerance=0.0,
)
FLOPS_RATE = define_speed(
    "flops_per_second",
    unit="FLOP/s",
    better="higher",
    title="Floating-point operations per second.",
    heading="FLOP/s",
    decimals=0,
)
SHARE_OF_PEAK = define_speed(
    "share_of_peak",
    unit="fraction",
    better="higher",
    title="Floating-point operations per second, relative to the measured peak of the device.",
    heading="of peak",
    headline=True,
    version=2,
)
BYTES_RATE = define_speed(
    "bytes_per_second",
    unit="bytes/s",
    better="higher",
    title="Bytes moved per second, as counted.",
    heading="bytes/s",
    decimals=0,
)
SHARE_OF_BANDWIDTH = define_speed(
    "share_of_bandwidth",
    unit="fraction",
    better="higher",
    title=(
        "Bytes moved per second, relative to a large copy on the device; above 1 where data stay in a cache."
    ),
    heading="of bandwidth",
)
PEAK_FLOPS = define_speed(
    "peak_flops_per_second",
    unit="FLOP/s",
    better="neither",
    title="Measured peak of the device: a large matrix product or convolution in the row's precision.",
    heading="peak",
    decimals=0,
    version=2,
)
BANDWIDTH = define_speed(
    "bandwidth_bytes_per_second",
    unit="bytes/s",
    better="neither",
    title="Measured bandwidth of the device: bytes that a large copy reads and writes per second.",
    heading="bandwidth",
    decimals=0,
)
INPUT_RATIO = define_cost(
    "input_ratio",
    unit="ratio",
    better="neither",
    title="Compression ratio: the number of values in an image over that in its code.",
    heading="smaller by",
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
