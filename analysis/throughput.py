"""How fast a model is: images per second in batches, the wait for a single image, and its size.

Every quantity is warmed up, then repeated for at least 0.15 s, and given as the median: a
repetition that another process interrupts does not move it. The standard error is that of the median
over the repetitions of this one run. It knows nothing of what differs between runs (clock speed,
temperature, neighbours on the machine), so two runs of one model may differ by much more; the metrics
carry a wide tolerance for that reason, and are comparable on one machine only.

The images are on the model's device already: no transfer and no decoding of files is timed.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from latentbench.analysis.measurement import Measurement, analysis
from latentbench.analysis.metric import Better, Metric, MetricDefinition, define
from latentbench.analysis.subject import NO_DECODER, Subject, to_float
from latentbench.models.protocols import Autoencoder

BATCH = 256
WARM_UP = 2
LEAST_REPETITIONS = 7
LEAST_SECONDS = 0.15


@dataclass(frozen=True)
class Timing:
    """Median seconds of one call, the median's standard error, and the repetitions behind it."""

    seconds: float
    se: float | None
    repetitions: int


def timed(call: Callable[[], object], device: torch.device) -> Timing:
    """Time `call`: two warm-up calls, then at least 7 repetitions and 0.15 s.

    On CUDA the time is that between two events around the call, waited for every time; elsewhere that
    of the host's monotonic clock.
    """
    once = _event_clock if device.type == "cuda" else _host_clock
    for _ in range(WARM_UP):
        once(call)
    seconds: list[float] = []
    while len(seconds) < LEAST_REPETITIONS or sum(seconds) < LEAST_SECONDS:
        seconds.append(once(call))
    return Timing(statistics.median(seconds), median_se(seconds), len(seconds))


def median_se(values: list[float]) -> float | None:
    """Standard error of a median without a distribution assumed; None below five values.

    Half the distance between the order statistics √n / 2 ranks below and above the middle: the number
    of values below the true median is binomial with that standard deviation. Ranks between two values
    are interpolated.

    >>> median_se([float(value) for value in range(1, 17)])
    2.0
    """
    count = len(values)
    if count < 5:
        return None
    middle, reach = (count - 1) / 2, math.sqrt(count) / 2
    low, high = np.interp([middle - reach, middle + reach], range(count), sorted(values))
    return float(high - low) / 2


def held_values(model: nn.Module) -> int:
    """Numbers that a model holds: its parameters and persistent buffers, such as a PCA's axes."""
    return sum(tensor.numel() for tensor in model.state_dict().values())


def peak_memory(call: Callable[[], object], device: torch.device) -> int:
    """Bytes that `call` needed on a CUDA device at its peak, beyond what was allocated before it."""
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    call()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _host_clock(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _event_clock(call: Callable[[], object]) -> float:
    started, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    started.record()
    call()
    ended.record()
    ended.synchronize()
    return float(started.elapsed_time(ended)) / 1000


def _define(
    name: str, unit: str, better: Better, title: str, heading: str, *, decimals: int, headline: bool = False
) -> MetricDefinition:
    definition = MetricDefinition(
        name, unit, better, title, heading=heading, decimals=decimals, headline=headline, tolerance=0.25
    )
    return define(definition)


ENCODE = _define(
    "encode_images_per_second",
    "images/s",
    "higher",
    "Images encoded per second in batches of 256, median.",
    "encode/s",
    decimals=0,
    headline=True,
)
DECODE = _define(
    "decode_images_per_second",
    "images/s",
    "higher",
    "Images decoded per second in batches of 256, median.",
    "decode/s",
    decimals=0,
)
TRAIN_STEP = _define(
    "train_step_images_per_second",
    "images/s",
    "higher",
    "Images trained on per second in steps of 256, forward, backward and update, median.",
    "train/s",
    decimals=0,
)
LATENCY = _define(
    "encode_latency_seconds",
    "s",
    "lower",
    "Seconds to encode a single image, median.",
    "latency",
    decimals=6,
)
PARAMETERS = define(
    MetricDefinition(
        "parameters",
        unit="count",
        better="neither",
        title="Numbers that the model holds: parameters and persistent buffers.",
        heading="parameters",
        tolerance=0.0,
        decimals=0,
    )
)
PEAK_MEMORY = _define(
    "peak_memory_bytes",
    "bytes",
    "lower",
    "Peak device memory of encoding, decoding and one train step of 256 images, beyond the model's own.",
    "memory",
    decimals=0,
)


@analysis("throughput", [ENCODE, DECODE, TRAIN_STEP, LATENCY, PARAMETERS, PEAK_MEMORY], exclusive=True)
def throughput(subject: Subject) -> Measurement:
    """Rates, latency, size and memory of the subject's model on its context's device."""
    device = subject.context.device
    images = _images(subject).to(device)
    batch = to_float(images)
    encode, decode, step = _encoder(subject), _decoder(subject, batch), _stepper(subject, images)
    calls = [call for call in (lambda: encode(batch), decode, step) if call is not None]
    return Measurement(
        (
            _rate(ENCODE, lambda: encode(batch), device, ""),
            _rate(DECODE, decode, device, NO_DECODER),
            _rate(TRAIN_STEP, step, device, "no train step"),
            _latency(timed(lambda: encode(batch[:1]), device)),
            _parameters(subject),
            _memory(calls, device),
        )
    )


def _images(subject: Subject) -> Tensor:
    """The first 256 test images, uint8; fewer are repeated."""
    images = subject.data.test.images
    return images[torch.arange(BATCH) % len(images)]


def _encoder(subject: Subject) -> Callable[[Tensor], object]:
    model = subject.model
    encode = model.encode if isinstance(model, Autoencoder) else model.encode_image
    return torch.inference_mode()(encode)


def _decoder(subject: Subject, batch: Tensor) -> Callable[[], object] | None:
    model = subject.model
    if not isinstance(model, Autoencoder):
        return None
    with torch.inference_mode():
        codes = model.encode(batch).mean
    decode = torch.inference_mode()(model.decode)
    return lambda: decode(codes)


def _stepper(subject: Subject, images: Tensor) -> Callable[[], object] | None:
    step = subject.train_step
    return None if step is None else lambda: step(images)


def _rate(
    metric: MetricDefinition, call: Callable[[], object] | None, device: torch.device, reason: str
) -> Metric:
    """Images per second; its relative error is that of the seconds."""
    if call is None:
        return metric.missing(reason)
    timing = timed(call, device)
    rate = BATCH / timing.seconds
    se = None if timing.se is None else rate * timing.se / timing.seconds
    return metric.measured(rate, se=se, n=timing.repetitions)


def _latency(timing: Timing) -> Metric:
    return LATENCY.measured(timing.seconds, se=timing.se, n=timing.repetitions)


def _parameters(subject: Subject) -> Metric:
    if not isinstance(subject.model, nn.Module):
        return PARAMETERS.missing(f"{type(subject.model).__name__} is not a torch module")
    return PARAMETERS.measured(held_values(subject.model))


def _memory(calls: list[Callable[[], object]], device: torch.device) -> Metric:
    if device.type != "cuda":
        return PEAK_MEMORY.missing(f"a {device.type} process's peak memory is not its model's alone")
    return PEAK_MEMORY.measured(max(peak_memory(call, device) for call in calls), n=1)
