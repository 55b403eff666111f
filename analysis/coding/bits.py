"""The bits of a code: quantised, entropy-coded under a model of the train codes, and measured as a file.

A code of floating-point numbers has no size by itself. So each channel is rounded to steps of a multiple of
its standard deviation, the integers are written to one file by an entropy coder that was fitted to train
codes, and images are decoded from that file. Fine steps cost bits and leave the error unchanged. The headline
is the size at the coarsest step whose mean squared error is within 1 % of that of the unrounded code.

A discrete code has its integers already, and a codec its files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from latentbench.analysis.coding import entropy_coder
from latentbench.analysis.coding.bjontegaard import Curve, bd_rate
from latentbench.analysis.coding.entropy_coder import Distribution, Integers
from latentbench.analysis.coding.quantisation import Quantiser
from latentbench.analysis.core.metric import Metric, MetricDefinition, Unmeasurable, define, finite
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import NO_CODE, NO_DECODER, DataContext, Subject, batch_size, to_float
from latentbench.analysis.image_similarity import decibels, mse
from latentbench.analysis.statistics.intervals import standard_error
from latentbench.models.families.codecs.image_files import Jpeg, QualitySpec
from latentbench.models.protocols import DiscreteAutoencoder, ImageCodec

TOLERATED = 0.01
"""The part by which the error may grow."""
OCTAVES = range(-2, 7)
"""Steps of 4 to 1/64 standard deviations, halved until the error is within the tolerance."""
REFINEMENTS = 3
"""How often the last octave is halved: the step is found to within an eighth of an octave."""
MOST_VALUES = 128_000_000
"""Pixel values that are decoded at each step: all of 10,000 digits, the first 600 images of 256 × 256 × 3."""
JPEG_QUALITIES = (1, 3, 5, 8, 12, 20, 30, 45, 60, 75, 85, 92, 96)

define_bits = partial(define, tolerance=0.02)

BITS_ENOUGH = define_bits(
    "bits_enough",
    unit="bits",
    better="lower",
    title="Bits per image, entropy-coded, at the coarsest rounding of the code whose MSE is within 1 % of "
    "the unrounded code's; for a codec, bits of its file.",
    heading="bits enough",
    headline=True,
    decimals=1,
)
BITS_PER_PIXEL = define_bits(
    "bits_per_pixel",
    unit="bits",
    better="lower",
    title="Bits per pixel: `bits_enough` over height × width.",
    heading="bpp",
    headline=True,
    decimals=4,
)
BITS_PER_VALUE = define_bits(
    "bits_per_value",
    unit="bits",
    better="neither",
    title="Bits for each number of the code: `bits_enough` over the numbers in a code.",
    heading="bits/value",
)
STEP_ENOUGH = define(
    "step_enough",
    unit="deviations",
    better="neither",
    title="Step of the rounding that `bits_enough` is measured at, in standard deviations of each channel.",
    heading="step",
    tolerance=0.1,
)
CODED_MSE = define(
    "coded_mse",
    unit="",
    better="lower",
    title="Mean squared error of images decoded from the file that `bits_enough` measures.",
    heading="coded MSE",
    decimals=4,
)
BD_RATE = define(
    "bd_rate",
    unit="fraction",
    better="lower",
    title="Bjøntegaard rate difference from JPEG on the same images: bits more (fewer if negative) at equal "
    "PSNR.",
    heading="BD-rate",
    tolerance=0.05,
)
OF_CODES = (BITS_ENOUGH, BITS_PER_PIXEL, BITS_PER_VALUE, STEP_ENOUGH, CODED_MSE, BD_RATE)

NO_TRAIN_IMAGES = "no train images to fit the entropy coder to"
NOT_ROUNDED = "a codec's file and a discrete code are not rounded"
ONE_POINT = "a codec at one quality, or a discrete code, has one point of the curve"
NO_COMMON_RANGE = "the curve and JPEG's have no range of PSNR in common"
EXACT = "the unrounded code reconstructs the images exactly, and no error is within 1 % of 0"


@dataclass(frozen=True, eq=False)
class Coded:
    """The test images as one file, and decoded from it."""

    step: float | None
    """The step in standard deviations; None for what is not rounded."""
    bits: float
    """Bits of the file per image."""
    mse: Tensor
    """The error of each image, `[n]`."""
    each: Tensor
    """Bits of each image, float64 `[n]`: of its file, or what the model of the train codes says it takes."""

    @property
    def error(self) -> float:
        """The mean error."""
        return self.mse.mean().item()


@analysis("coding", OF_CODES, opt_in=True)
def coding(subject: Subject) -> Measurement:
    """Measure how many bits a code, or a codec's file, takes."""
    model = subject.model
    if isinstance(model, ImageCodec):
        return _measurement(subject, [_as_files(subject.context, model)])
    if not subject.can_decode:
        raise Unmeasurable(NO_DECODER)
    if subject.data.test_only:
        raise Unmeasurable(NO_TRAIN_IMAGES)
    if isinstance(model, DiscreteAutoencoder):
        return _measurement(subject, [_as_choices(subject, model)])
    errors = subject.tested.errors
    if errors is None:
        raise Unmeasurable(subject.tested.problem or NO_DECODER)
    unrounded = errors.mse[: _count(subject)].mean().item()
    if unrounded == 0:
        raise Unmeasurable(EXACT)
    return _measurement(subject, _curve(subject, unrounded), unrounded)


def _count(subject: Subject) -> int:
    """Return how many test images are coded: as many as have their codes kept, and fewer of large images."""
    return min(len(subject.test_codes.mean), max(1, MOST_VALUES // math.prod(subject.data.image_shape)))


def _curve(subject: Subject, unrounded: float) -> list[Coded]:
    """Code in ever finer steps until the error is within the tolerance, and find where that begins.

    Returns the points from coarse to fine; the last one is within the tolerance, if any is.
    """
    train, test = finite(subject.train_codes.mean), finite(subject.test_codes.mean)[: _count(subject)]

    def coded(octave: float) -> Coded:
        return _rounded(subject, train, test, 2**-octave)

    curve = [coded(OCTAVES[0])]
    for octave in OCTAVES[1:]:
        if _within(curve[-1], unrounded):
            break
        curve.append(coded(octave))
    if len(curve) == 1 or not _within(curve[-1], unrounded):
        return curve
    enough = curve.pop()
    part = 1.0
    for _ in range(REFINEMENTS):
        part /= 2
        middle = coded(-math.log2(enough.step or 1) - part)
        if _within(middle, unrounded):
            enough = middle
        else:
            curve.append(middle)
    return [*sorted(curve, key=lambda point: point.bits), enough]


def _within(coded: Coded, unrounded: float) -> bool:
    return coded.error <= (1 + TOLERATED) * unrounded


def _rounded(subject: Subject, train: Tensor, test: Tensor, step: float) -> Coded:
    """Round codes, write them as one file, and decode the images from it."""
    quantiser = Quantiser.of(train, step)
    distributions, channels = quantiser.distributions(train), quantiser.integers(test)
    content, read = _written_and_read(channels, distributions)
    each = _bits_of_images(channels, distributions, len(test))
    return Coded(step, 8 * len(content) / len(test), _errors(subject, quantiser.codes(read)), each)


def _as_choices(subject: Subject, model: DiscreteAutoencoder) -> Coded:
    """Write the choices of a discrete code as one file; positions of a grid share one distribution."""
    count, sizes = _count(subject), model.code_sizes
    train, test = (
        subject.indices(finite(codes.mean)).numpy().astype(np.int32)
        for codes in (subject.train_codes, subject.test_codes.part(slice(count)))
    )
    channels = list(test.T.copy())
    if len(subject.code_shape) > 1 and len(set(sizes)) == 1:
        distributions = [Distribution.of_choices(train.flatten(), sizes[0])] * len(channels)
    else:
        columns = zip(train.T, sizes, strict=True)
        distributions = [Distribution.of_choices(values, size) for values, size in columns]
    content, read = _written_and_read(channels, distributions)
    indices = torch.from_numpy(np.stack(read, axis=1)).long().split(batch_size(subject.data.image_shape))
    with torch.inference_mode():
        codes = torch.cat([model.codes(batch.to(subject.context.device)).float().cpu() for batch in indices])
    each = _bits_of_images(channels, distributions, count)
    return Coded(None, 8 * len(content) / count, _errors(subject, codes), each)


def _written_and_read(
    channels: list[Integers], distributions: list[Distribution]
) -> tuple[bytes, list[Integers]]:
    content = entropy_coder.encode(channels, distributions)
    return content, entropy_coder.decode(content, [len(values) for values in channels], distributions)


def _bits_of_images(channels: list[Integers], distributions: list[Distribution], count: int) -> Tensor:
    """Return the bits of each image, float64 `[count]`."""
    total = np.zeros(count)
    for values, distribution in zip(channels, distributions, strict=True):
        total += distribution.bits(values).reshape(count, -1).sum(1)
    return torch.from_numpy(total)


def _errors(subject: Subject, codes: Tensor) -> Tensor:
    """Return the error of each of the first test images, decoded from codes."""
    images = subject.data.test.images[: len(codes)].split(batch_size(subject.data.image_shape))
    decoded = subject.decoded(codes)
    return torch.cat([mse(to_float(batch), image) for batch, image in zip(images, decoded, strict=True)])


def _as_files(context: DataContext, codec: ImageCodec) -> Coded:
    """Compress the test images with a codec, one file each."""
    images = context.data.test.images[: max(1, MOST_VALUES // math.prod(context.data.image_shape))]
    sizes, errors = [], []
    for batch in images.split(batch_size(context.data.image_shape)):
        files = codec.compress(to_float(batch))
        sizes += [8.0 * len(content) for content in files]
        errors.append(mse(to_float(batch), codec.decompress(files)))
    each = torch.tensor(sizes, dtype=torch.float64)
    return Coded(None, each.mean().item(), torch.cat(errors), each)


def jpeg_curve(context: DataContext) -> list[Coded]:
    """Compress the test images as JPEG at many qualities; models on one data set share the result."""
    shape = context.data.image_shape
    specs = [QualitySpec(family="jpeg", quality=quality) for quality in JPEG_QUALITIES]
    return [_as_files(context, Jpeg(spec, shape)) for spec in specs]


def _points(coded: Sequence[Coded], pixels: int) -> Curve:
    """Return bits per pixel and the PSNR of the mean error."""
    return [(each.bits / pixels, decibels(torch.tensor(each.error)).item()) for each in coded]


def _measurement(subject: Subject, curve: list[Coded], unrounded: float | None = None) -> Measurement:
    """Return the metrics of the last point of a curve, and the curve; `unrounded` is None if it is exact."""
    shape, jpeg = subject.data.image_shape, subject.context.once(jpeg_curve)
    pixels = shape[1] * shape[2]
    arrays = {
        "bits_per_pixel": np.array([each.bits / pixels for each in curve]),
        "mse": np.array([each.error for each in curve]),
        "jpeg_bits_per_pixel": np.array([each.bits / pixels for each in jpeg]),
        "jpeg_mse": np.array([each.error for each in jpeg]),
    }
    if unrounded is None or _within(curve[-1], unrounded):
        metrics = _of_file(subject, curve[-1], pixels)
    else:
        more = curve[-1].error / unrounded - 1
        reason = f"at a step of 1/{2 ** OCTAVES[-1]} deviation the error is still {more:.0%} higher"
        metrics = tuple(metric.missing(reason) for metric in OF_CODES[:-1])
    return Measurement((*metrics, _bd_rate(_points(curve, pixels), _points(jpeg, pixels))), arrays)


def _of_file(subject: Subject, coded: Coded, pixels: int) -> tuple[Metric, ...]:
    """Return the metrics of one file. The errors are those of the mean over test images."""
    se = standard_error(coded.each)

    def per(metric: MetricDefinition, count: int) -> Metric:
        error = None if se is None else se / count
        return metric.measured(coded.bits / count, se=error, n=len(coded.each), common_se=error)

    return (
        per(BITS_ENOUGH, 1),
        per(BITS_PER_PIXEL, pixels),
        BITS_PER_VALUE.missing(NO_CODE)
        if isinstance(subject.model, ImageCodec)
        else per(BITS_PER_VALUE, math.prod(subject.code_shape)),
        STEP_ENOUGH.missing(NOT_ROUNDED) if coded.step is None else STEP_ENOUGH.measured(coded.step),
        CODED_MSE.mean(coded.mse),
    )


def _bd_rate(curve: Curve, jpeg: Curve) -> Metric:
    if len(curve) < 2:
        return BD_RATE.missing(ONE_POINT)
    value = bd_rate(curve, jpeg)
    return BD_RATE.missing(NO_COMMON_RANGE) if value is None else BD_RATE.measured(value)
