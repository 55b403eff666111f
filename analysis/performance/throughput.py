"""The speed of a model with one thread: images per second, latency of a single image, and size.

Every quantity comes from the 10th percentile of the call times: other work only ever makes a call slower,
and with one thread that quantile stays the same while another process computes. With as many threads as
cores it does not, since every call then waits for the thread that lost its core; on a machine that is not
idle such numbers were wrong by a factor of 60. A timing that was contended is repeated up to three times,
later; a number that is still contended carries `doubt`, and neither ranks nor recommends a model.

Two runs of one model may differ by much more than the standard error; the metrics carry a wide tolerance
for that reason, and are comparable on one machine only.

Freed memory is reused from the first call on, as in a process that has worked for a while: until glibc does
that by itself, large tensors cost up to twice the time.

The images are on the model's device already: no transfer and no decoding of files is timed. A sweep
(`latentbench time`) measures the same with all cores, by batch size, precision and layout.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latentbench.analysis.core.data_context import to_float
from latentbench.analysis.core.metric import Metric, MetricDefinition, define, define_cost, define_speed
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import NO_DECODER, Subject
from latentbench.analysis.performance.cores import threads
from latentbench.analysis.performance.memory import peak_memory
from latentbench.analysis.performance.timing import Effort, Timing, timed_when_quiet
from latentbench.models.protocols import Autoencoder, Encoder, ImageCodec

BATCH = 256
MOST_VALUES = 4_000_000
"""Values of a batch at most: of images of more than 72 x 72 pixels in colour it has fewer than 256, since its
train step would take gigabytes."""
RATE = Effort(warm_up=2, repetitions=7, seconds=0.15, budget_seconds=10.0)
SINGLE = Effort(warm_up=2, repetitions=7, seconds=0.075, budget_seconds=10.0)
"""A single image is quick: this many seconds are hundreds of calls."""


def held_values(model: nn.Module) -> int:
    """Count the values that a model holds: parameters and persistent buffers, such as a PCA's axes."""
    return sum(tensor.numel() for tensor in model.state_dict().values())


ENCODE = define_speed(
    "encode_images_per_second",
    unit="images/s",
    better="higher",
    title=(
        "Images encoded per second with one thread: 256 over the 10th percentile of the times of a "
        "batch of 256."
    ),
    heading="encode/s",
    decimals=0,
    headline=True,
    version=3,
)
DECODE = define_speed(
    "decode_images_per_second",
    unit="images/s",
    better="higher",
    title=(
        "Images decoded per second with one thread: 256 over the 10th percentile of the times of a "
        "batch of 256."
    ),
    heading="decode/s",
    decimals=0,
    version=3,
)
TRAIN_STEP = define_speed(
    "train_step_images_per_second",
    unit="images/s",
    better="higher",
    title="Images trained on per second with one thread: 256 over the 10th percentile of the times of a step "
    "(forward, backward and update) on 256 images.",
    heading="train/s",
    decimals=0,
    version=3,
)
LATENCY = define_speed(
    "encode_latency_seconds",
    unit="s",
    better="lower",
    title="Seconds to encode a single image with one thread, 10th percentile of call times.",
    heading="latency",
    decimals=6,
    version=2,
)
DECODE_LATENCY = define_speed(
    "decode_latency_seconds",
    unit="s",
    better="lower",
    title="Seconds to decode a single code with one thread, 10th percentile of call times.",
    heading="decode latency",
    decimals=6,
    version=2,
)
PARAMETERS = define(
    "parameters",
    unit="count",
    better="neither",
    title="Number of values that the model holds: parameters and persistent buffers.",
    heading="parameters",
    tolerance=0.0,
    decimals=0,
)
PEAK_MEMORY = define_cost(
    "peak_memory_bytes",
    unit="bytes",
    better="lower",
    title=(
        "Peak device memory of encoding, decoding and one train step of 256 images, beyond the model's own."
    ),
    heading="memory",
    decimals=0,
    version=1,
)


@dataclass(frozen=True)
class Quantity:
    """A metric, the call that it is measured on, and the reason for null if the model lacks that call."""

    metric: MetricDefinition
    images: int
    call: Callable[[], object] | None
    effort: Effort
    lacking: str = ""

    def measured(self, timing: Timing) -> Metric:
        """Return the metric of a timing: seconds, or images per second with the same relative error."""
        value, se, disturbance = timing.low, timing.low_se, timing.disturbance
        if self.metric.unit != "s":
            value = self.images / timing.low
            se = None if se is None else value * se / timing.low
        metric = self.metric.measured(value, se=se, n=timing.repetitions)
        return metric if disturbance is None else metric.doubted("contended", disturbance)


@analysis(
    "throughput",
    [ENCODE, DECODE, TRAIN_STEP, LATENCY, DECODE_LATENCY, PARAMETERS, PEAK_MEMORY],
    exclusive=True,
)
def throughput(subject: Subject) -> Measurement:
    """Measure rates, latency, size and memory of the subject's model on its context's device."""
    device = subject.context.device
    with threads(1):
        quantities = _quantities(subject, device)
        timings = timed_when_quiet(
            {each.metric.name: (each.call, each.effort) for each in quantities if each.call}, device
        )
        # A single image is on the device as a batch is, so the calls with batches need the most memory.
        calls = [each.call for each in quantities if each.call and each.effort is RATE]
        memory = _memory(calls, device)
    speeds = [
        each.measured(timings[each.metric.name]) if each.call else each.metric.missing(each.lacking)
        for each in quantities
    ]
    return Measurement((*speeds, _parameters(subject), memory))


def _quantities(subject: Subject, device: torch.device) -> list[Quantity]:
    """Return the five timed quantities, on the first 256 test images, or on fewer large ones."""
    images = _images(subject).to(device)
    batch, count = to_float(images), len(images)
    encode = _encoder(subject)
    return [
        Quantity(ENCODE, count, lambda: encode(batch), RATE),
        Quantity(DECODE, count, _decoder(subject, batch), RATE, NO_DECODER),
        Quantity(TRAIN_STEP, count, _stepper(subject, images), RATE, "no train step"),
        Quantity(LATENCY, 1, lambda: encode(batch[:1]), SINGLE),
        Quantity(DECODE_LATENCY, 1, _decoder(subject, batch[:1]), SINGLE, NO_DECODER),
    ]


def _images(subject: Subject) -> Tensor:
    """Return the first test images, uint8; fewer than a batch are repeated."""
    images = subject.data.test.images
    count = min(BATCH, max(1, MOST_VALUES // math.prod(subject.data.image_shape)))
    return images[torch.arange(count) % len(images)]


def _encoder(subject: Subject) -> Callable[[Tensor], object]:
    model = subject.model
    if isinstance(model, ImageCodec):
        return model.compress
    encode = model.encode if isinstance(model, Encoder) else model.encode_image
    return torch.inference_mode()(encode)


def _decoder(subject: Subject, batch: Tensor) -> Callable[[], object] | None:
    model = subject.model
    if isinstance(model, ImageCodec):
        files = model.compress(batch)
        return lambda: model.decompress(files)
    if not isinstance(model, Autoencoder):
        return None
    with torch.inference_mode():
        codes = model.encode(batch).mean
    decode = torch.inference_mode()(model.decode)
    return lambda: decode(codes)


def _stepper(subject: Subject, images: Tensor) -> Callable[[], object] | None:
    step = subject.train_step
    return None if step is None else lambda: step(images)


def _parameters(subject: Subject) -> Metric:
    if not isinstance(subject.model, nn.Module):
        return PARAMETERS.missing(f"{type(subject.model).__name__} is not a torch module")
    return PARAMETERS.measured(held_values(subject.model))


def _memory(calls: list[Callable[[], object]], device: torch.device) -> Metric:
    if device.type != "cuda":
        return PEAK_MEMORY.missing(f"a {device.type} process's peak memory is not its model's alone")
    return PEAK_MEMORY.measured(max(peak_memory(call, device) for call in calls), n=1)
