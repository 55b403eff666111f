"""Similarity of two images: pixel errors and structural similarity, one value for each image.

Images are floats in [0, 1], `[N, C, H, W]`; every function gives `[N]`, so that a mean has a standard error
and two models can be compared image by image. Every function raises ValueError unless both arguments are
finite float images in [0, 1] of one shape.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

SSIM_TAPS = 11
SSIM_SIGMA = 1.5
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2
UNIFORM_TAPS = 7
OFFSETS = torch.arange(SSIM_TAPS, dtype=torch.float64) - SSIM_TAPS // 2
GAUSSIAN = (-(OFFSETS**2) / (2 * SSIM_SIGMA**2)).exp()
SSIM_BATCH, MS_SSIM_BATCH = 500, 20
BATCH_VALUES = 500_000
"""Values of the images that are compared at once, several times over in float64."""
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Weights from the finest scale to the coarsest, as published."""
MS_SSIM_SIDE = (SSIM_TAPS - 1) * 2 ** (len(MS_SSIM_WEIGHTS) - 1) + 1
"""The smallest side whose coarsest scale, rounded up at every halving, has the size of the window."""


def mse(x: Tensor, y: Tensor) -> Tensor:
    """Compute the mean squared error of each image: the mean over pixels of (x − y)², `[N]`, in [0, 1].

    Images are float in [0, 1], `[N, C, H, W]`. Raises ValueError for other shapes and values.
    """
    check_images(x, y)
    kind = _result_type(x)
    return (x.to(kind) - y.to(kind)).square().flatten(1).mean(1)


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Compute the peak signal-to-noise ratio of each image: −10 log₁₀ of its MSE, in dB, `[N]`.

    Images are float in [0, 1], `[N, C, H, W]`. The PSNR of two equal images is infinite, and so is any mean
    with it. Raises ValueError for other shapes and values.
    """
    return decibels(mse(x, y))


def decibels(errors: Tensor) -> Tensor:
    """The peak signal-to-noise ratio in dB of mean squared errors `[N]`; infinite where the error is 0."""
    return -10 * errors.log10()


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Compute the structural similarity of each image, `[N]`, in [−1, 1].

    Wang et al. 2004 (doi:10.1109/TIP.2003.819861). Images are float in [0, 1], `[N, C, H, W]`. The window is
    an 11-tap Gaussian with σ = 1.5; covariances are those of a population, and the mean is over channels and
    the valid region only, because a padded border would change the value of a small image a lot. Equal to
    scikit-image with `gaussian_weights=True, sigma=1.5, use_sample_covariance=False`, and to pytorch-msssim.
    Raises ValueError for images below 11 px and for other shapes and values.
    """
    check_images(x, y)
    if min(x.shape[2:]) < SSIM_TAPS:
        raise ValueError(f"SSIM needs images of {SSIM_TAPS} px and more a side, got {list(x.shape[2:])}")
    batches = _batches(x, y, SSIM_BATCH)
    return torch.cat([_similarity(a.double(), b.double())[0].mean(1) for a, b in batches]).to(_result_type(x))


def ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """Compute the structural similarity of each image over five scales, `[N]`, in [0, 1].

    Wang et al. 2003 (doi:10.1109/ACSSC.2003.1292216). Images are float in [0, 1], `[N, C, H, W]`. It compares
    contrast and structure at every scale, luminance at the coarsest only. Each scale averages 2 × 2 pixels of
    the one before, and negative similarities count as 0. Equal to pytorch-msssim. Raises ValueError for
    images below 161 px, whose coarsest scale is smaller than the window, and for other shapes and values.
    """
    check_images(x, y)
    if min(x.shape[2:]) < MS_SSIM_SIDE:
        raise ValueError(f"MS-SSIM needs images of {MS_SSIM_SIDE} px and more, got {list(x.shape[2:])}")
    batches = _batches(x, y, MS_SSIM_BATCH)
    return torch.cat([_ms_ssim(a.double(), b.double()) for a, b in batches]).to(_result_type(x))


def _result_type(x: Tensor) -> torch.dtype:
    """At least float32: half precision would round a result to three digits."""
    return torch.promote_types(x.dtype, torch.float32)


def _batches(x: Tensor, y: Tensor, largest: int) -> Iterable[tuple[Tensor, Tensor]]:
    """Pairs of batches of at most `largest` images, fewer of large ones."""
    size = max(1, min(largest, BATCH_VALUES // x[0].numel()))
    return zip(x.split(size), y.split(size), strict=True)


def _ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    product = torch.ones(x.shape[:2], dtype=x.dtype, device=x.device)
    *finer, coarsest = MS_SSIM_WEIGHTS
    for weight in finer:
        product = product * _similarity(x, y)[1].clamp_min(0) ** weight
        padding = [side % 2 for side in x.shape[2:]]
        x, y = (F.avg_pool2d(image, 2, padding=padding) for image in (x, y))
    return (product * _similarity(x, y)[0].clamp_min(0) ** coarsest).mean(1)


def structural_similarity(x: Tensor, y: Tensor, *, data_range: Tensor, uniform: bool = False) -> Tensor:
    """Compute SSIM as evaluation scripts vary it, `[N]`, of float64 images `[N, C, H, W]` of any range.

    `data_range` is the range of the pixels, one number or `[N]`. `uniform` takes 7 equal taps and sample
    covariances, scikit-image's default, instead of the Gaussian window of `ssim`.
    """
    size = max(1, BATCH_VALUES // x[0].numel())
    ranges = data_range.to(x).expand(len(x)).split(size)
    batches = zip(x.split(size), y.split(size), ranges, strict=True)
    return torch.cat(
        [_similarity(a, b, span[:, None, None, None], uniform)[0].mean(1) for a, b, span in batches]
    )


def _similarity(
    x: Tensor, y: Tensor, data_range: Tensor | float = 1.0, uniform: bool = False
) -> tuple[Tensor, Tensor]:
    """Compute SSIM, and its part without luminance, of every channel: `[N, C]` each."""
    taps = torch.ones(UNIFORM_TAPS, dtype=torch.float64) if uniform else GAUSSIAN
    rows, columns = (_band(size, taps).to(x) for size in x.shape[2:])
    c1, c2 = SSIM_C1 * data_range**2, SSIM_C2 * data_range**2

    def local_mean(image: Tensor) -> Tensor:
        return rows @ image @ columns.T

    mean_x, mean_y = local_mean(x), local_mean(y)
    # Differences of moments lose digits; float64 keeps them well above the constants.
    variance_x = local_mean(x * x) - mean_x**2
    variance_y = local_mean(y * y) - mean_y**2
    covariance = local_mean(x * y) - mean_x * mean_y
    if uniform:
        unbiased = UNIFORM_TAPS**2 / (UNIFORM_TAPS**2 - 1)
        variance_x, variance_y, covariance = (
            each * unbiased for each in (variance_x, variance_y, covariance)
        )
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return (luminance * structure).flatten(2).mean(2), structure.flatten(2).mean(2)


def _band(size: int, window: Tensor) -> Tensor:
    """Return a window's means along one axis, valid region only, as a matrix `[size − taps + 1, size]`."""
    band = torch.zeros(size - len(window) + 1, size, dtype=torch.float64)
    for row in range(len(band)):
        band[row, row : row + len(window)] = window / window.sum()
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
