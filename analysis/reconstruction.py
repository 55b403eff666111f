"""The quality of reconstructions: pixel errors, structural similarity, and recognition by the classifier.

Images are floats in [0, 1], `[N, C, H, W]`; every formula gives one value per image, `[N]`, so that a
mean carries its standard error and two models can be compared image by image.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from latentbench.analysis.core.metric import Metric, MetricDefinition, define
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import NO_DECODER, Subject, to_float, to_uint8
from latentbench.analysis.features.judge import NO_JUDGE, JudgedImages
from latentbench.analysis.image_similarity import (
    MS_SSIM_SIDE,
    SSIM_TAPS,
    check_images,
    ms_ssim,
    mse,
    psnr,
    ssim,
)

NO_BACKBONE = "it needs the weights of a pretrained network, and none are given"
PICTURED = 10
"""The number of images stored for figures."""

MSE = define(
    "mse",
    unit="",
    better="lower",
    title="Mean squared error per pixel of reconstructions decode(E[z | x]), pixels in [0, 1].",
    heading="MSE",
    headline=True,
    decimals=4,
)
PSNR = define(
    "psnr",
    unit="dB",
    better="higher",
    title="Peak signal-to-noise ratio of the reconstructions, mean over test images.",
    heading="PSNR",
    decimals=2,
)
SSIM = define(
    "ssim",
    unit="",
    better="higher",
    title="Structural similarity of reconstructions: 11-tap Gaussian window, σ = 1.5, valid region.",
    heading="SSIM",
)
MS_SSIM = define(
    "ms_ssim",
    unit="",
    better="higher",
    title="Structural similarity of reconstructions over five scales.",
    heading="MS-SSIM",
)
LPIPS = define(
    "lpips",
    unit="",
    better="lower",
    title="Learned perceptual distance of reconstructions, in the features of a pretrained network.",
    heading="LPIPS",
)
JUDGE_DISTANCE = define(
    "judge_distance",
    unit="",
    better="lower",
    title="Squared distance between reconstructions and originals in the judge's features, per feature.",
    heading="judge distance",
)
RECOGNISABLE = define(
    "recognisable",
    unit="fraction",
    better="higher",
    title="Share of reconstructed test images that the judge assigns to the right class.",
    heading="judge acc",
    headline=True,
)
RECOGNISABLE_ORIGINALS = define(
    "recognisable_originals",
    unit="fraction",
    better="neither",
    title="Share of original test images that the judge assigns to the right class.",
    heading="originals",
)
OF_RECONSTRUCTIONS = (MSE, PSNR, SSIM, MS_SSIM, LPIPS, JUDGE_DISTANCE, RECOGNISABLE)


@analysis("reconstruction", [*OF_RECONSTRUCTIONS, RECOGNISABLE_ORIGINALS], needs_judge=True)
def reconstruction(subject: Subject) -> Measurement:
    """Measure errors of reconstructed test images, and the judge's accuracy on them and on the originals."""
    labels = subject.data.test.labels
    ceiling = _accuracy(RECOGNISABLE_ORIGINALS, subject, lambda: subject.context.judged_test)
    originals = to_float(subject.data.test.images)
    problem = _why_unusable(subject, originals)
    if problem is not None:
        return Measurement((*(metric.missing(problem) for metric in OF_RECONSTRUCTIONS), ceiling))
    errors = mse(originals, subject.reconstructions)
    similarities = _ssim_where_it_fits(originals, subject.reconstructions)
    recognised = _accuracy(RECOGNISABLE, subject, lambda: subject.judged_reconstructions)
    metrics = (
        MSE.mean(errors),
        _mean_psnr(psnr(originals, subject.reconstructions)),
        _mean_ssim(similarities, len(originals)),
        _mean_ms_ssim(originals, subject.reconstructions),
        LPIPS.missing(NO_BACKBONE),
        _judge_distance(subject),
        recognised,
        ceiling,
    )
    examples = {MSE.name: errors.numpy()}
    if similarities is not None:
        examples[SSIM.name] = similarities.numpy()
    if recognised.value is not None and labels is not None:
        examples[RECOGNISABLE.name] = (subject.judged_reconstructions.predictions == labels).numpy()
    chosen = pictured(labels, len(originals))
    ranked = errors.argsort(stable=True)[torch.linspace(0, len(errors) - 1, PICTURED).long()]
    arrays = {
        "originals": subject.data.test.images[chosen].numpy(),
        "reconstructions": to_uint8(subject.reconstructions[chosen]).numpy(),
        "ranked_originals": subject.data.test.images[ranked].numpy(),
        "ranked_reconstructions": to_uint8(subject.reconstructions[ranked]).numpy(),
        "ranked_mse": errors[ranked].numpy(),
    }
    return Measurement(metrics, arrays, examples)


def _why_unusable(subject: Subject, originals: Tensor) -> str | None:
    if not subject.can_decode:
        return NO_DECODER
    try:
        check_images(originals, subject.reconstructions)
    except ValueError as error:
        return f"reconstructions: {error}"
    return None


def _mean_psnr(values: Tensor) -> Metric:
    exact = int(values.isinf().sum())
    if exact:
        return PSNR.missing(
            f"infinite: {exact} of {len(values)} images are reconstructed exactly", n=len(values)
        )
    return PSNR.mean(values)


def _ssim_where_it_fits(originals: Tensor, reconstructions: Tensor) -> Tensor | None:
    return ssim(originals, reconstructions) if min(originals.shape[2:]) >= SSIM_TAPS else None


def _mean_ssim(values: Tensor | None, count: int) -> Metric:
    if values is None:
        return SSIM.missing(f"images are smaller than the window of {SSIM_TAPS} px", n=count)
    return SSIM.mean(values)


def _mean_ms_ssim(originals: Tensor, reconstructions: Tensor) -> Metric:
    if min(originals.shape[2:]) < MS_SSIM_SIDE:
        return MS_SSIM.missing(f"images are smaller than {MS_SSIM_SIDE} px", n=len(originals))
    return MS_SSIM.mean(ms_ssim(originals, reconstructions))


def _judge_distance(subject: Subject) -> Metric:
    if subject.context.judge is None:
        return JUDGE_DISTANCE.missing(NO_JUDGE)
    difference = subject.judged_reconstructions.features - subject.context.judged_test.features
    return JUDGE_DISTANCE.mean(difference.square().mean(1))


def _accuracy(metric: MetricDefinition, subject: Subject, view: Callable[[], JudgedImages]) -> Metric:
    labels = subject.data.test.labels
    if subject.context.judge is None:
        return metric.missing(NO_JUDGE)
    if labels is None:
        return metric.missing("the test images have no labels")
    return metric.share(view().predictions == labels)


def pictured(labels: Tensor | None, count: int) -> list[int]:
    """Return which of `count` images figures show: the first of each class, or the first ten."""
    if labels is None:
        return list(range(min(PICTURED, count)))
    classes = labels.unique().tolist()[:PICTURED]
    return [int((labels == label).nonzero()[0]) for label in classes]
