"""What survives the bottleneck: pixel errors, structural similarity, and whether a judge still sees it.

Images are floats in [0, 1], `[N, C, H, W]`; every formula gives one value per image, `[N]`, so that a
mean carries its standard error and two models can be compared image by image.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from latentbench.analysis.core.metric import Metric, MetricDefinition, define
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import NO_DECODER, Subject, to_float, to_uint8
from latentbench.analysis.features.judge import NO_JUDGE, JudgedImages
from latentbench.analysis.statistics.intervals import standard_error

SSIM_TAPS = 11
SSIM_SIGMA = 1.5
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2
SSIM_BATCH, MS_SSIM_BATCH = 500, 20
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""From the finest scale to the coarsest, as published."""
MS_SSIM_SIDE = SSIM_TAPS * 2 ** (len(MS_SSIM_WEIGHTS) - 1)
NO_BACKBONE = "the weights of a pretrained network are needed, and none are given"
PICTURED = 10
"""Images kept for pictures."""

MSE = define(
    "mse",
    unit="",
    better="lower",
    title="Mean squared error per pixel of decode(E[z | x]) against the test images, pixels in [0, 1].",
    heading="MSE",
    headline=True,
    decimals=4,
)
PSNR = define(
    "psnr",
    unit="dB",
    better="higher",
    title="Peak signal-to-noise ratio of an image's reconstruction, averaged over test images.",
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
    title="Squared distance of reconstructions to the originals in the judge's features, per feature.",
    heading="judge distance",
)
RECOGNISABLE = define(
    "recognisable",
    unit="fraction",
    better="higher",
    title="Share of reconstructed test images that the judge puts in the right class.",
    heading="judge acc",
    headline=True,
)
RECOGNISABLE_ORIGINALS = define(
    "recognisable_originals",
    unit="fraction",
    better="neither",
    title="Share of original test images that the judge puts in the right class; recognisable's ceiling.",
    heading="originals",
)


def mse(x: Tensor, y: Tensor) -> Tensor:
    """Mean over pixels of (x − y)², `[N]`, range [0, 1]. Raises ValueError as `check_images` does."""
    check_images(x, y)
    return (x - y).square().flatten(1).mean(1)


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """−10 log₁₀ of each image's mean squared error, dB, `[N]`: data range 1, averaged by the caller.

    An image equal to its reconstruction has infinite PSNR, and so has any mean it enters.
    Raises ValueError as `check_images` does.
    """
    return -10 * mse(x, y).log10()


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004, doi:10.1109/TIP.2003.819861), `[N]`, range [−1, 1].

    11-tap Gaussian window with σ = 1.5, population covariances, data range 1, averaged over channels
    and the valid region only: what scikit-image gives with `gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False`, and pytorch-msssim. A padded border would change the value of a small
    image grossly. Raises ValueError for images below 11 px, and as `check_images` does.
    """
    check_images(x, y)
    if min(x.shape[2:]) < SSIM_TAPS:
        raise ValueError(f"SSIM needs images of {SSIM_TAPS} px and more a side, got {list(x.shape[2:])}")
    batches = zip(x.split(SSIM_BATCH), y.split(SSIM_BATCH), strict=True)
    return torch.cat([_similarity(a.double(), b.double())[0].mean(1) for a, b in batches]).to(x.dtype)


def ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """SSIM over five scales (Wang et al. 2003, doi:10.1109/ACSSC.2003.1292216), `[N]`, range [0, 1].

    Contrast and structure at every scale, luminance at the coarsest alone; scales are averages of 2 × 2
    pixels, negative similarities count as 0. What pytorch-msssim gives. Raises ValueError for images below
    176 px: the window would be larger than the coarsest scale; and as `check_images` does.
    """
    check_images(x, y)
    if min(x.shape[2:]) < MS_SSIM_SIDE:
        raise ValueError(f"MS-SSIM needs images of {MS_SSIM_SIDE} px and more, got {list(x.shape[2:])}")
    batches = zip(x.split(MS_SSIM_BATCH), y.split(MS_SSIM_BATCH), strict=True)
    return torch.cat([_ms_ssim(a.double(), b.double()) for a, b in batches]).to(x.dtype)


def _ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    product = torch.ones(x.shape[:2], dtype=x.dtype, device=x.device)
    *finer, coarsest = MS_SSIM_WEIGHTS
    for weight in finer:
        product = product * _similarity(x, y)[1].clamp_min(0) ** weight
        padding = [side % 2 for side in x.shape[2:]]
        x, y = (F.avg_pool2d(image, 2, padding=padding) for image in (x, y))
    return (product * _similarity(x, y)[0].clamp_min(0) ** coarsest).mean(1)


def _similarity(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM, and its part without luminance, of every channel: `[N, C]` each."""
    rows, columns = (_gaussian_band(size).to(x) for size in x.shape[2:])

    def local_mean(image: Tensor) -> Tensor:
        return rows @ image @ columns.T

    mean_x, mean_y = local_mean(x), local_mean(y)
    # Differences of moments lose digits; float64 keeps them well above the constants.
    variance_x = local_mean(x * x) - mean_x**2
    variance_y = local_mean(y * y) - mean_y**2
    covariance = local_mean(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + SSIM_C1) / (mean_x**2 + mean_y**2 + SSIM_C1)
    structure = (2 * covariance + SSIM_C2) / (variance_x + variance_y + SSIM_C2)
    return (luminance * structure).flatten(2).mean(2), structure.flatten(2).mean(2)


def _gaussian_band(size: int) -> Tensor:
    """The window's weighted means along one axis, valid region only, as a matrix `[size − 10, size]`."""
    offsets = torch.arange(SSIM_TAPS, dtype=torch.float64) - SSIM_TAPS // 2
    window = (-(offsets**2) / (2 * SSIM_SIGMA**2)).exp()
    band = torch.zeros(size - SSIM_TAPS + 1, size, dtype=torch.float64)
    for row in range(len(band)):
        band[row, row : row + SSIM_TAPS] = window / window.sum()
    return band


def check_images(x: Tensor, y: Tensor) -> None:
    """Raise ValueError unless both are finite float images in [0, 1] of one shape `[N, C, H, W]`, N ≥ 1."""
    if x.shape != y.shape or x.ndim != 4 or len(x) == 0:
        raise ValueError(f"images must share one shape [N, C, H, W], got {list(x.shape)} and {list(y.shape)}")
    for image in (x, y):
        if not image.is_floating_point():
            raise ValueError(f"images must be float in [0, 1], got {image.dtype}")
        low, high = (float(bound) for bound in image.aminmax())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("images hold values that are not finite")
        if low < 0 or high > 1:
            raise ValueError(f"images must be in [0, 1], got values from {low:g} to {high:g}")


OF_RECONSTRUCTIONS = (MSE, PSNR, SSIM, MS_SSIM, LPIPS, JUDGE_DISTANCE, RECOGNISABLE)


@analysis("reconstruction", [*OF_RECONSTRUCTIONS, RECOGNISABLE_ORIGINALS])
def reconstruction(subject: Subject) -> Measurement:
    """Errors of the reconstructed test images, and what the judge makes of them beside the originals."""
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
        _mean(MSE, errors),
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


def _mean(metric: MetricDefinition, values: Tensor) -> Metric:
    return metric.measured(values.double().mean().item(), se=standard_error(values), n=len(values))


def _mean_psnr(values: Tensor) -> Metric:
    exact = int(values.isinf().sum())
    if exact:
        return PSNR.missing(
            f"infinite: {exact} of {len(values)} images are reconstructed exactly", n=len(values)
        )
    return _mean(PSNR, values)


def _ssim_where_it_fits(originals: Tensor, reconstructions: Tensor) -> Tensor | None:
    return ssim(originals, reconstructions) if min(originals.shape[2:]) >= SSIM_TAPS else None


def _mean_ssim(values: Tensor | None, count: int) -> Metric:
    if values is None:
        return SSIM.missing(f"images are smaller than the window of {SSIM_TAPS} px", n=count)
    return _mean(SSIM, values)


def _mean_ms_ssim(originals: Tensor, reconstructions: Tensor) -> Metric:
    if min(originals.shape[2:]) < MS_SSIM_SIDE:
        return MS_SSIM.missing(f"images are smaller than {MS_SSIM_SIDE} px", n=len(originals))
    return _mean(MS_SSIM, ms_ssim(originals, reconstructions))


def _judge_distance(subject: Subject) -> Metric:
    if subject.context.judge is None:
        return JUDGE_DISTANCE.missing(NO_JUDGE)
    difference = subject.judged_reconstructions.features - subject.context.judged_test.features
    return _mean(JUDGE_DISTANCE, difference.square().mean(1))


def _accuracy(metric: MetricDefinition, subject: Subject, view: Callable[[], JudgedImages]) -> Metric:
    labels = subject.data.test.labels
    if subject.context.judge is None:
        return metric.missing(NO_JUDGE)
    if labels is None:
        return metric.missing("the test images have no labels")
    return metric.share(view().predictions == labels)


def pictured(labels: Tensor | None, count: int) -> list[int]:
    """Which of `count` images stand for all in a picture: the first of each class, or the first ten."""
    if labels is None:
        return list(range(min(PICTURED, count)))
    classes = labels.unique().tolist()[:PICTURED]
    return [int((labels == label).nonzero()[0]) for label in classes]
