"""The quality of reconstructions: pixel errors, structural similarity, and recognition by the judges.

Images are floats in [0, 1], `[N, C, H, W]`; every formula gives one value per image, `[N]`, so that a
mean carries its standard error and two models can be compared image by image.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentbench.analysis.core.data_context import to_uint8
from latentbench.analysis.core.ensemble import over_judges
from latentbench.analysis.core.metric import Metric, MetricDefinition, define
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import NO_DECODER, Subject
from latentbench.analysis.features.judge import NO_JUDGE, Views
from latentbench.analysis.image_similarity import MS_SSIM_SIDE, SSIM_TAPS, decibels

SHOWN = 10
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
JUDGE_DISTANCE = define(
    "judge_distance",
    unit="",
    better="lower",
    title="Squared distance between reconstructions and originals in the judges' features, per feature.",
    heading="judge distance",
    version=2,
)
RECOGNISABLE = define(
    "recognisable",
    unit="fraction",
    better="higher",
    title="Share of reconstructed test images that the judges assign to the right class.",
    heading="judge acc",
    version=2,
    headline=True,
)
RECOGNISABLE_ORIGINALS = define(
    "recognisable_originals",
    unit="fraction",
    better="neither",
    title="Share of original test images that the judges assign to the right class.",
    heading="originals",
    version=2,
)
OF_RECONSTRUCTIONS = (MSE, PSNR, SSIM, MS_SSIM, JUDGE_DISTANCE, RECOGNISABLE)


@analysis("reconstruction", [*OF_RECONSTRUCTIONS, RECOGNISABLE_ORIGINALS], needs_judge=True)
def reconstruction(subject: Subject) -> Measurement:
    """Measure errors of reconstructed test images, and the judges' accuracy on them and the originals."""
    labels, context = subject.data.test.labels, subject.context
    originals = context.judged_test if context.judges else ()
    on_originals = _accuracy(RECOGNISABLE_ORIGINALS, originals, labels, None if originals else NO_JUDGE)
    tested = subject.tested
    errors = tested.errors
    if errors is None:
        problem = tested.problem or NO_DECODER
        return Measurement((*(metric.missing(problem) for metric in OF_RECONSTRUCTIONS), on_originals))
    recognised = _accuracy(RECOGNISABLE, errors.judged, labels, context.no_judge)
    metrics = (
        MSE.mean(errors.mse),
        _mean_psnr(decibels(errors.mse)),
        _mean_of_large(SSIM, errors.ssim, f"the window of {SSIM_TAPS} px", tested.count),
        _mean_of_large(MS_SSIM, errors.ms_ssim, f"{MS_SSIM_SIDE} px", tested.count),
        _judge_distance(errors.judged, originals, context.no_judge),
        recognised,
        on_originals,
    )
    examples = {MSE.name: errors.mse.numpy()}
    if errors.ssim is not None:
        examples[SSIM.name] = errors.ssim.numpy()
    if recognised.value is not None and labels is not None:
        examples[RECOGNISABLE.name] = _share_of_judges(errors.judged, labels)
    return Measurement(metrics, _shown_reconstructions(subject, errors.mse), examples)


def _shown_reconstructions(subject: Subject, errors: Tensor) -> dict[str, NDArray[np.generic]]:
    """Return images with their reconstructions: one of each class, and some from least to largest error."""
    test = subject.data.test
    ranked = errors.argsort(stable=True)[torch.linspace(0, len(errors) - 1, SHOWN).long()]
    arrays: dict[str, NDArray[np.generic]] = {}
    for prefix, chosen in (("", torch.tensor(shown_images(test.labels, len(test)))), ("ranked_", ranked)):
        images = test.images[chosen]
        arrays[f"{prefix}originals"] = images.numpy()
        arrays[f"{prefix}reconstructions"] = to_uint8(subject.reconstructed(images)).numpy()
    return arrays | {"ranked_mse": errors[ranked].numpy()}


def _mean_psnr(values: Tensor) -> Metric:
    exact = int(values.isinf().sum())
    if exact:
        return PSNR.missing(
            f"infinite: {exact} of {len(values)} images are reconstructed exactly", n=len(values)
        )
    return PSNR.mean(values)


def _mean_of_large(metric: MetricDefinition, values: Tensor | None, smallest: str, count: int) -> Metric:
    if values is None:
        return metric.missing(f"images are smaller than {smallest}", n=count)
    return metric.mean(values)


def _judge_distance(judged: Views, originals: Views, problem: str | None) -> Metric:
    if problem is not None:
        return JUDGE_DISTANCE.missing(problem)
    differences = (mine.features - own.features for mine, own in zip(judged, originals, strict=True))
    return over_judges([JUDGE_DISTANCE.mean(each.square().mean(1)) for each in differences])


def _accuracy(metric: MetricDefinition, judged: Views, labels: Tensor | None, problem: str | None) -> Metric:
    if problem is not None:
        return metric.missing(problem)
    if labels is None:
        return metric.missing("the test images have no labels")
    return over_judges([metric.share(view.predictions == labels) for view in judged])


def _share_of_judges(views: Views, labels: Tensor) -> NDArray[np.generic]:
    """Return the share of judges that are right about each image, `[N]`; of one judge, hit or miss."""
    hits = torch.stack([view.predictions == labels for view in views])
    return hits[0].numpy() if len(hits) == 1 else hits.float().mean(0).numpy()


def shown_images(labels: Tensor | None, count: int) -> list[int]:
    """Return which of `count` images figures show: the first of each class, or the first ten."""
    if labels is None:
        return list(range(min(SHOWN, count)))
    classes = labels.unique().tolist()[:SHOWN]
    return [int((labels == label).nonzero()[0]) for label in classes]
