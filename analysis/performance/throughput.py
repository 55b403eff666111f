"""How fast a model is: images per second in batches, the wait for a single image, and its size.

Every quantity is a median as `timing` has it. Two runs of one model may differ by much more than its
standard error; the metrics carry a wide tolerance for that reason, and are comparable on one machine only.

The images are on the model's device already: no transfer and no decoding of files is timed. `sweep` has
the same by batch size, precision and layout.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from latentbench.analysis.core.metric import Better, Metric, MetricDefinition, define
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import NO_DECODER, Subject, to_float
from latentbench.analysis.performance.memory import peak_memory
from latentbench.analysis.performance.timing import Effort, timed
from latentbench.models.protocols import Autoencoder

BATCH = 256
RATE = Effort(warm_up=2, repetitions=7, seconds=0.15)
SINGLE = Effort(warm_up=2, repetitions=7, seconds=0.075)
"""Single images are quick: this is hundreds of them."""


def held_values(model: nn.Module) -> int:
    """Numbers that a model holds: its parameters and persistent buffers, such as a PCA's axes."""
    return sum(tensor.numel() for tensor in model.state_dict().values())


def _define(
    name: str, unit: str, better: Better, title: str, heading: str, *, decimals: int, headline: bool = False
) -> MetricDefinition:
    return define(
        name,
        unit=unit,
        better=better,
        title=title,
        heading=heading,
        decimals=decimals,
        headline=headline,
        tolerance=0.25,
    )


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
DECODE_LATENCY = _define(
    "decode_latency_seconds",
    "s",
    "lower",
    "Seconds to decode a single code, median.",
    "decode latency",
    decimals=6,
)
PARAMETERS = define(
    "parameters",
    unit="count",
    better="neither",
    title="Numbers that the model holds: parameters and persistent buffers.",
    heading="parameters",
    tolerance=0.0,
    decimals=0,
)
PEAK_MEMORY = _define(
    "peak_memory_bytes",
    "bytes",
    "lower",
    "Peak device memory of encoding, decoding and one train step of 256 images, beyond the model's own.",
    "memory",
    decimals=0,
)


@analysis(
    "throughput",
    [ENCODE, DECODE, TRAIN_STEP, LATENCY, DECODE_LATENCY, PARAMETERS, PEAK_MEMORY],
    exclusive=True,
)
def throughput(subject: Subject) -> Measurement:
    """Rates, latency, size and memory of the subject's model on its context's device."""
    device = subject.context.device
    images = _images(subject).to(device)
    batch = to_float(images)
    encode, step = _encoder(subject), _stepper(subject, images)
    decode, decode_one = _decoder(subject, batch), _decoder(subject, batch[:1])
    calls = [call for call in (lambda: encode(batch), decode, step) if call is not None]
    return Measurement(
        (
            _rate(ENCODE, lambda: encode(batch), device, ""),
            _rate(DECODE, decode, device, NO_DECODER),
            _rate(TRAIN_STEP, step, device, "no train step"),
            _latency(LATENCY, lambda: encode(batch[:1]), device, ""),
            _latency(DECODE_LATENCY, decode_one, device, NO_DECODER),
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
    timing = timed(call, device, RATE)
    rate = BATCH / timing.seconds
    se = None if timing.se is None else rate * timing.se / timing.seconds
    return metric.measured(rate, se=se, n=timing.repetitions)


def _latency(
    metric: MetricDefinition, call: Callable[[], object] | None, device: torch.device, reason: str
) -> Metric:
    if call is None:
        return metric.missing(reason)
    timing = timed(call, device, SINGLE)
    return metric.measured(timing.seconds, se=timing.se, n=timing.repetitions)


def _parameters(subject: Subject) -> Metric:
    if not isinstance(subject.model, nn.Module):
        return PARAMETERS.missing(f"{type(subject.model).__name__} is not a torch module")
    return PARAMETERS.measured(held_values(subject.model))


def _memory(calls: list[Callable[[], object]], device: torch.device) -> Metric:
    if device.type != "cuda":
        return PEAK_MEMORY.missing(f"a {device.type} process's peak memory is not its model's alone")
    return PEAK_MEMORY.measured(max(peak_memory(call, device) for call in calls), n=1)
