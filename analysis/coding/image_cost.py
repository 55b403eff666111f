"""The cost of encoding and decoding images of the data: megapixels per second, memory, and numbers lost.

Unlike `throughput`, which times 256 images at once, a batch has as many images as two million values, so
that large images and large models fit. Rates are per megapixel, which compares codecs, tokenizers and image
sizes. The share of values that are not finite shows whether a model can be used in half precision.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from latentbench.analysis.core.data_context import batch_size, to_float
from latentbench.analysis.core.metric import Metric, MetricDefinition, Unmeasurable, define, define_speed
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import NO_DECODER, Subject
from latentbench.analysis.performance.cores import threads
from latentbench.analysis.performance.memory import peak_memory
from latentbench.analysis.performance.timing import Effort, Timing, timed_when_quiet
from latentbench.models.protocols import Autoencoder, ImageCodec

EFFORT = Effort(warm_up=1, repetitions=5, seconds=0.15, budget_seconds=20.0)
LARGEST_BATCH = 256
CHECKED = 64
"""The number of test images whose values are checked."""

define_rate = partial(define_speed, unit="Mpx/s", better="higher", decimals=3, headline=True, version=2)

ENCODE = define_rate(
    "encode_megapixels_per_second",
    title="Megapixels encoded per second with one thread, by the 10th percentile of the times of a batch.",
    heading="encode Mpx/s",
)
DECODE = define_rate(
    "decode_megapixels_per_second",
    title="Megapixels decoded per second with one thread, by the 10th percentile of the times of a batch.",
    heading="decode Mpx/s",
)
MEMORY = define(
    "image_memory_bytes",
    unit="bytes",
    better="lower",
    title="Peak device memory of encoding and decoding a single image, beyond the model's own.",
    heading="memory/image",
    tolerance=0.05,
    decimals=0,
)
NOT_FINITE = define(
    "not_finite",
    unit="fraction",
    better="lower",
    title=f"Share of the values of codes and reconstructions that are NaN or infinite, first {CHECKED} test "
    "images.",
    heading="NaN",
    headline=True,
    decimals=4,
)


@analysis("image_cost", [ENCODE, DECODE, MEMORY, NOT_FINITE], exclusive=True, opt_in=True)
def image_cost(subject: Subject) -> Measurement:
    """Measure speed and memory on the subject's device, and the share of values that are not finite."""
    images, device = subject.data.test.images, subject.context.device
    encode, decode = _calls(subject)
    batch = to_float(images[: batch_size(subject.data.image_shape, largest=LARGEST_BATCH)]).to(device)
    with threads(1), torch.inference_mode():
        code = encode(batch)
        calls = {ENCODE.name: lambda: encode(batch), DECODE.name: lambda: decode(code)}
        timings = timed_when_quiet({name: (call, EFFORT) for name, call in calls.items()}, device)
        memory = _memory(lambda: decode(encode(batch[:1])), device, subject)
        lost = [_not_finite(subject, image) for image in to_float(images[:CHECKED]).split(len(batch))]
    megapixels = len(batch) * batch.shape[2] * batch.shape[3] / 1e6
    return Measurement(
        (
            *(_speed(each, timings[each.name], megapixels) for each in (ENCODE, DECODE)),
            memory,
            NOT_FINITE.measured(
                sum(bad for bad, _ in lost) / sum(total for _, total in lost), n=min(CHECKED, len(images))
            ),
        )
    )


def _calls(subject: Subject) -> tuple[Callable[[Tensor], object], Callable[..., Tensor]]:
    """Return the functions that are timed, of which the second takes what the first returns."""
    model = subject.model
    if isinstance(model, ImageCodec):
        return model.compress, model.decompress
    if isinstance(model, Autoencoder):
        autoencoder = model
        return lambda x: autoencoder.encode(x).mean, autoencoder.decode
    raise Unmeasurable(NO_DECODER)


def _speed(metric: MetricDefinition, timing: Timing, megapixels: float) -> Metric:
    rate = megapixels / timing.low
    se = None if timing.low_se is None else rate * timing.low_se / timing.low
    measured = metric.measured(rate, se=se, n=timing.repetitions)
    return measured if timing.disturbance is None else measured.doubted("contended", timing.disturbance)


def _memory(call: Callable[[], object], device: torch.device, subject: Subject) -> Metric:
    if isinstance(subject.model, ImageCodec):
        return MEMORY.missing("a codec allocates outside of torch")
    if device.type != "cuda":
        return MEMORY.missing(f"a {device.type} process's peak memory is not its model's alone")
    return MEMORY.measured(peak_memory(call, device), n=1)


def _not_finite(subject: Subject, x: Tensor) -> tuple[int, int]:
    """Return how many values of codes and reconstructions are not finite, and how many there are."""
    encode, decode = _calls(subject)
    code = encode(x.to(subject.context.device))
    values = [decode(code), *([code] if isinstance(code, Tensor) else [])]
    return sum(int((~each.isfinite()).sum()) for each in values), sum(each.numel() for each in values)
