"""Analysis `latent_health`: what a generative model of the codes would meet.

All of it is measured on the codes of test images that the pass over them keeps: of all, unless codes are
large. Statistics are those of posterior draws, which a latent generative model is trained on; equivariance,
noise and interpolation use posterior means. Dead zone, leak and overlap are part of `coverage`.
"""

from __future__ import annotations

from functools import reduce
from operator import add

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentbench.analysis.core.data_context import batch_size, to_float
from latentbench.analysis.core.ensemble import over_judges
from latentbench.analysis.core.metric import NOT_FINITE, Metric, MetricDefinition, Unmeasurable
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import NO_DECODER, Subject
from latentbench.analysis.features.judge import JudgedImages, Views
from latentbench.analysis.fidelity.generative_metrics import frechet_between
from latentbench.analysis.generation.sample_bank import RealImages, real_images
from latentbench.analysis.health.code_statistics import (
    BLOCKS,
    CodeStatistics,
    ScaleFactor,
    participation,
)
from latentbench.analysis.health.equivariance import TRANSFORMS, Symmetry, errors, ratio, refusal
from latentbench.analysis.health.health_metrics import (
    CHANNEL_OFFSET,
    CHANNEL_RANGE,
    CHANNELS,
    CONSTANT_CHANNELS,
    EQUIVARIANCE,
    FRECHET,
    NOISE,
    PARTICIPATION_RATIO,
    SCALE,
    SCALING_FACTOR,
    SCALING_IMAGES,
    SHIFT_FACTOR,
    SHIFT_IMAGES,
    SLOPE_CODES,
    SLOPE_IMAGES,
)
from latentbench.analysis.health.interpolation import midpoints
from latentbench.analysis.health.noise import IMAGES, SIGMAS, noise_errors, varies
from latentbench.analysis.health.power_spectrum import PowerSpectrum, spectral_slope, spectrum
from latentbench.analysis.latent.dead_zones import MassEstimate
from latentbench.analysis.statistics.intervals import jackknife_error
from latentbench.analysis.statistics.moments import Moments
from latentbench.models.codes import by_position

WIDEST = 1024
"""The most channels whose covariance is computed: its size grows with the square of their number."""
FEWEST = 2 * BLOCKS
DISCRETE = "discrete code: its values are choices, which have no scale and nothing between them"

Arrays = dict[str, NDArray[np.generic]]


@analysis(
    "latent_health",
    [*SCALE, *CHANNELS, SLOPE_IMAGES, SLOPE_CODES, *EQUIVARIANCE.values(), *NOISE.values(), *FRECHET],
    opt_in=True,
    needs_judge=True,
)
def latent_health(subject: Subject) -> Measurement:
    """Measure the codes of test images, and what the decoder makes of codes next to and between them."""
    if subject.is_discrete:
        raise Unmeasurable(DISCRETE)
    codes = subject.test_codes.rsample(generator=subject.generator("health codes"))
    _refuse_unusable(codes)
    statistics = CodeStatistics.of(codes)
    slopes, spectra = _slopes(subject, codes)
    noise = _noise(subject, statistics)
    metrics = (
        *_scale(statistics),
        *_channels(codes, statistics),
        *slopes,
        *_equivariance(subject, statistics.means.float()),
        *noise,
        *_frechet(subject),
    )
    arrays: Arrays = {
        "channel_means": statistics.means.numpy(),
        "channel_deviations": statistics.deviations.numpy(),
        "eigenvalues": statistics.eigenvalues.numpy(),
        **spectra,
    }
    if noise[0].value is not None:
        arrays["noise_sigma"] = np.array(SIGMAS)
        arrays["noise_mse"] = np.array([metric.value for metric in noise], dtype=np.float64)
    return Measurement(metrics, arrays)


def _refuse_unusable(codes: Tensor) -> None:
    vectors = by_position(codes)
    broken = (~vectors.isfinite()).flatten(0, 1).any(0)
    if broken.any():
        first, count = int(broken.nonzero()[0]), int(broken.sum())
        raise Unmeasurable(f"{NOT_FINITE}, in {count} of {len(broken)} channels, first in channel {first}")
    if vectors.shape[2] > WIDEST:
        raise Unmeasurable(f"the code has {vectors.shape[2]:,} channels; at most {WIDEST:,} are measured")
    if bool((vectors == vectors[:1, :1]).all()):
        raise Unmeasurable("no channel of the codes varies")


def _scale(statistics: CodeStatistics) -> list[Metric]:
    scaling, shift = statistics.scaling, statistics.shift
    return [
        *(
            metric.measured(factor.value, se=factor.se, n=factor.n, common_se=factor.se)
            for metric, factor in ((SCALING_FACTOR, scaling), (SHIFT_FACTOR, shift))
        ),
        *(_images(metric, factor) for metric, factor in ((SCALING_IMAGES, scaling), (SHIFT_IMAGES, shift))),
    ]


def _images(metric: MetricDefinition, factor: ScaleFactor) -> Metric:
    if factor.images_needed is None:
        return metric.missing("one image has no spread over images", n=factor.n)
    return metric.measured(factor.images_needed, n=factor.n)


def _channels(codes: Tensor, statistics: CodeStatistics) -> list[Metric]:
    n, deviations = len(codes), statistics.deviations
    varying = varies(deviations)
    offset = (statistics.means - statistics.shift.value).abs().max() * statistics.scaling.value
    found = [
        CHANNEL_OFFSET.measured(float(offset), n=n),
        CHANNEL_RANGE.measured(float(deviations[varying].max() / deviations[varying].min()), n=n),
        CONSTANT_CHANNELS.measured(int((~varying).sum()), n=n),
    ]
    try:
        return [*found, _measured(PARTICIPATION_RATIO, participation(codes), n)]
    except ValueError as reason:
        return [*found, PARTICIPATION_RATIO.missing(str(reason), n=n)]


def _measured(metric: MetricDefinition, estimate: MassEstimate, n: int) -> Metric:
    return metric.measured(estimate.value, se=estimate.se, n=n, common_se=estimate.se)


# Spectra


def _slopes(subject: Subject, codes: Tensor) -> tuple[list[Metric], Arrays]:
    """Return the slopes of the kept images and of their codes, and the spectra as arrays."""
    images = subject.data.test.images[: len(codes)]
    size = batch_size(images.shape[1:])
    of_images = [
        spectrum(map(to_float, block.split(size))) for block in images.tensor_split(BLOCKS) if len(block)
    ]
    slope_images, arrays = _slope(SLOPE_IMAGES, of_images, "images")
    if codes.ndim != 4:
        return [slope_images, SLOPE_CODES.missing("the code is no grid")], arrays
    of_codes = [spectrum(block.split(size)) for block in codes.tensor_split(BLOCKS) if len(block)]
    slope_codes, code_arrays = _slope(SLOPE_CODES, of_codes, "codes")
    return [slope_images, slope_codes], arrays | code_arrays


def _slope(metric: MetricDefinition, blocks: list[PowerSpectrum], name: str) -> tuple[Metric, Arrays]:
    whole: PowerSpectrum = reduce(add, blocks)
    if len(blocks) < BLOCKS:
        return metric.missing(f"fewer than {BLOCKS} images", n=whole.count), {}
    try:
        found = spectral_slope(blocks)
    except ValueError as reason:
        return metric.missing(str(reason), n=whole.count), {}
    frequency, power = (each.exp().numpy() for each in whole.rings())
    arrays: Arrays = {f"{name}_frequency": frequency, f"{name}_power": power}
    return _measured(metric, found, whole.count), arrays


# Equivariance


def _equivariance(subject: Subject, means: Tensor) -> list[Metric]:
    return [_commutes(subject, means, TRANSFORMS[name], metric) for name, metric in EQUIVARIANCE.items()]


def _commutes(subject: Subject, means: Tensor, transform: Symmetry, metric: MetricDefinition) -> Metric:
    images = subject.data.test.images[:IMAGES]
    if reason := refusal(subject.code_shape, images.shape[-1], transform):
        return metric.missing(reason)

    def encode(x: Tensor) -> Tensor:
        return subject.posterior(x).mean

    try:
        parts = [
            errors(encode, to_float(batch), means, transform)
            for batch in images.split(batch_size(images.shape[1:]))
        ]
    except Unmeasurable as reason:
        return metric.missing(str(reason))
    numerator, denominator = (torch.cat(each) for each in zip(*parts, strict=True))
    return _measured(metric, ratio(numerator, denominator), len(images))


# Decoded codes


def _noise(subject: Subject, statistics: CodeStatistics) -> list[Metric]:
    codes = subject.test_codes.mean[:IMAGES]
    try:
        found = {sigma: noise_errors(subject, codes, statistics.deviations, sigma) for sigma in SIGMAS}
    except Unmeasurable as reason:
        return [metric.missing(str(reason)) for metric in NOISE.values()]
    return [metric.mean(found[sigma]) for sigma, metric in NOISE.items()]


def _frechet(subject: Subject) -> list[Metric]:
    """Return the Fréchet distances of reconstructions and of decoded midpoints, over judges."""
    codes = subject.test_codes.mean
    if reason := _no_frechet(subject, codes):
        return [metric.missing(reason) for metric in FRECHET]
    reals = subject.context.once(real_images)
    sets = (codes, midpoints(codes))
    views: list[Views] = [subject.context.view_all(subject.decoded(each)) for each in sets]
    return [
        over_judges([_distance(metric, real, view) for real, view in zip(reals, seen, strict=True)])
        for metric, seen in zip(FRECHET, views, strict=True)
    ]


def _no_frechet(subject: Subject, codes: Tensor) -> str | None:
    if not subject.can_decode:
        return NO_DECODER
    if reason := subject.context.no_judge:
        return reason
    return f"fewer than {FEWEST} test images" if len(codes) < FEWEST else None


def _distance(metric: MetricDefinition, real: RealImages, seen: JudgedImages) -> Metric:
    if not seen.features.isfinite().all():
        return metric.missing("decoded images hold values that are not finite", n=len(seen.features))
    parts = [Moments.of(block) for block in seen.features.tensor_split(BLOCKS)]

    def distance(part: Moments) -> float:
        return frechet_between(real.test_moments, part)

    return metric.measured(
        distance(reduce(add, parts)), se=jackknife_error(parts, distance), n=len(seen.features)
    )
