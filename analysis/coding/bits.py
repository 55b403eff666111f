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
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from latentbench.analysis.coding.bjontegaard import Curve, bd_rate
from latentbench.analysis.coding.coded_images import (
    Coded,
    as_choices,
    as_files,
    coded_count,
    jpeg_curve,
    rounded,
)
from latentbench.analysis.coding.quantisation import Quantiser
from latentbench.analysis.core.data_context import to_uint8
from latentbench.analysis.core.metric import Metric, MetricDefinition, Unmeasurable, define, finite
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import NO_CODE, NO_DECODER, Subject
from latentbench.analysis.image_similarity import decibels
from latentbench.analysis.statistics.intervals import standard_error
from latentbench.models.protocols import DiscreteAutoencoder, ImageCodec

TOLERATED = 0.01
"""The part by which the error may grow."""
OCTAVES = range(-2, 7)
"""Steps of 4 to 1/64 standard deviations, halved until the error is within the tolerance."""
FINE_OCTAVES = range(7, 11)
"""Steps down to 1/1024, halved while the error still falls. BD-rates are of the coarser steps alone."""
REFINEMENTS = 3
"""The number of times that the last octave is halved: the step is found to within an eighth of it."""
EXACT_ERROR = 1e-9
"""An error below this is that of floating-point numbers: a thousandth of that of rounding to 8 bits."""
WORST = 6
"""The number of images with the largest errors that are stored for figures."""

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


@analysis("coding", OF_CODES, opt_in=True)
def coding(subject: Subject) -> Measurement:
    """Measure how many bits a code, or a codec's file, takes."""
    model = subject.model
    if isinstance(model, ImageCodec):
        return _measurement(subject, [as_files(subject.context, model)])
    if not subject.can_decode:
        raise Unmeasurable(NO_DECODER)
    if subject.data.test_only:
        raise Unmeasurable(NO_TRAIN_IMAGES)
    if isinstance(model, DiscreteAutoencoder):
        return _measurement(subject, [as_choices(subject, model)])
    errors = subject.tested.errors
    if errors is None:
        raise Unmeasurable(subject.tested.problem or NO_DECODER)
    unrounded = errors.mse[: coded_count(subject)].mean().item()
    if unrounded < EXACT_ERROR:
        raise Unmeasurable(EXACT)
    return _measurement(subject, _curve(subject, unrounded), unrounded)


def _curve(subject: Subject, unrounded: float) -> list[Coded]:
    """Code in ever finer steps until the error is within the tolerance, and find where that begins.

    Returns the points from coarse to fine; the last one is within the tolerance, if any is.
    """
    train, test = finite(subject.train_codes.mean), finite(subject.test_codes.mean)[: coded_count(subject)]
    quantiser = Quantiser.of(train, 1.0)

    def coded(octave: float) -> Coded:
        return rounded(subject, replace(quantiser, step=2**-octave), train, test)

    curve = [coded(OCTAVES[0])]
    for octave in OCTAVES[1:]:
        if _within(curve[-1], unrounded):
            break
        curve.append(coded(octave))
    for octave in FINE_OCTAVES:
        if _within(curve[-1], unrounded) or curve[-1].error >= curve[-2].error:
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
        **_worst(subject),
    }
    if unrounded is None or _within(curve[-1], unrounded):
        metrics = _of_file(subject, curve[-1], pixels)
    else:
        more = curve[-1].error / unrounded - 1
        reason = (
            f"at a step of 1/{1 / (curve[-1].step or 1):.0f} deviation the error is still {more:.0%} higher"
        )
        metrics = tuple(metric.missing(reason) for metric in OF_CODES[:-1])
    if curve[0].step is not None:
        arrays["step_deviations"] = np.array([each.step for each in curve])
    coarse = [each for each in curve if each.step is None or each.step >= 2 ** -OCTAVES[-1]]
    return Measurement((*metrics, _bd_rate(_points(coarse, pixels), _points(jpeg, pixels))), arrays)


def _worst(subject: Subject) -> dict[str, NDArray[np.uint8]]:
    """Return the test images with the largest errors and their reconstructions, the worst first."""
    errors = subject.tested.errors
    if errors is None:
        return {}
    images = subject.data.test.images[errors.mse.argsort(descending=True, stable=True)[:WORST]]
    reconstructions = to_uint8(subject.reconstructed(images)).numpy()
    return {"worst_originals": images.numpy(), "worst_reconstructions": reconstructions}


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
