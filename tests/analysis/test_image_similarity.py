"""Pixel errors and structural similarity equal scikit-image and pytorch-msssim."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_msssim import ms_ssim as reference_ms_ssim
from pytorch_msssim import ssim as reference_ssim
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from latentbench.analysis.core.data_context import to_float
from latentbench.analysis.image_similarity import ms_ssim, mse, psnr, ssim


def images(*shape, seed=0, dtype=torch.float64):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_mse_and_psnr_equal_the_closed_form():
    x, y = torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    x[0, 0, 0, 0] = 0.2
    x[1] = 0.1
    torch.testing.assert_close(mse(x, y), torch.tensor([0.01, 0.01]))
    torch.testing.assert_close(psnr(x, y), torch.tensor([20.0, 20.0]))


def test_psnr_equals_scikit_image():
    x, y = images(3, 3, 16, 16), images(3, 3, 16, 16, seed=1)
    expected = [
        peak_signal_noise_ratio(a.numpy(), b.numpy(), data_range=1) for a, b in zip(x, y, strict=True)
    ]
    np.testing.assert_allclose(psnr(x, y).numpy(), expected, rtol=1e-12)


def test_psnr_of_an_exact_reconstruction_is_infinite():
    x = images(1, 1, 8, 8)
    assert psnr(x, x).item() == np.inf


@pytest.mark.parametrize(
    ("channels", "height", "width"), [(1, 28, 28), (3, 32, 32), (1, 11, 11), (3, 11, 40), (1, 64, 48)]
)
@pytest.mark.parametrize("noise", [0.01, 0.1, 1.0])
def test_ssim_equals_scikit_image(channels, height, width, noise):
    x = images(4, channels, height, width)
    y = (x + noise * (images(4, channels, height, width, seed=1) - 0.5)).clamp(0, 1)
    expected = [
        structural_similarity(
            a.numpy(),
            b.numpy(),
            data_range=1,
            channel_axis=0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for a, b in zip(x, y, strict=True)
    ]
    np.testing.assert_allclose(ssim(x, y).numpy(), expected, atol=1e-6)


def test_ssim_equals_pytorch_msssim_on_digits(mnist_small):
    x = to_float(mnist_small.test.images[:600]).double()
    y = x.pow(1.3).roll(1, 3)
    expected = reference_ssim(x, y, data_range=1, size_average=False)
    torch.testing.assert_close(ssim(x, y), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(ssim(x.float(), y.float()).double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 161, 161), (3, 176, 200), (1, 256, 183)])
@pytest.mark.parametrize("noise", [0.05, 1.0])
def test_ms_ssim_equals_pytorch_msssim(channels, height, width, noise):
    x = F.interpolate(images(3, channels, 9, 9), size=(height, width), mode="bilinear")
    y = (x + noise * (images(3, channels, height, width, seed=1) - 0.5)).clamp(0, 1)
    expected = reference_ms_ssim(x, y, data_range=1, size_average=False)
    # The reference's window is float32 for images of any type.
    torch.testing.assert_close(ms_ssim(x, y), expected, rtol=0, atol=3e-6)


def test_ms_ssim_is_1_for_equal_and_refuses_small_images():
    x = images(1, 1, 161, 161)
    assert ms_ssim(x, x).item() == pytest.approx(1)
    with pytest.raises(ValueError, match=r"161 px and more, got \[160, 300\]"):
        ms_ssim(images(1, 1, 160, 300), images(1, 1, 160, 300))


@given(
    n=st.integers(1, 3), side=st.integers(11, 20), seed=st.integers(0, 2**31), grey=st.floats(0, 1, width=32)
)
@settings(max_examples=40, deadline=None)
def test_ssim_and_mse_are_symmetric_and_bounded(n, side, seed, grey):
    x, y = images(n, 1, side, side, seed=seed), images(n, 1, side, side, seed=seed + 1)
    flat = torch.full_like(x, grey)
    torch.testing.assert_close(ssim(x, x), torch.ones(n, dtype=torch.float64))
    torch.testing.assert_close(ssim(x, y), ssim(y, x))
    assert (ssim(x, flat).abs() <= 1).all()
    torch.testing.assert_close(mse(x, y), mse(1 - x, 1 - y))
    assert (mse(x, y) <= 1).all()


@pytest.mark.parametrize("formula", [mse, psnr, ssim, ms_ssim])
def test_half_precision_is_measured_as_if_it_were_wider(formula):
    x, y = (images(2, 1, 164, 164, seed=seed).half() for seed in (0, 1))
    torch.testing.assert_close(formula(x, y), formula(x.float(), y.float()), rtol=0, atol=0)


@pytest.mark.parametrize("formula", [mse, psnr, ssim])
@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 17), r"\[1, 1, 16, 16\] and \[1, 1, 16, 17\]"),
        (torch.zeros(0, 1, 16, 16), torch.zeros(0, 1, 16, 16), "share one shape"),
        (torch.zeros(16, 16), torch.zeros(16, 16), r"\[N, C, H, W\]"),
        (torch.zeros(1, 1, 16, 16), torch.full((1, 1, 16, 16), 255.0), "from 255 to 255"),
        (torch.zeros(1, 1, 16, 16) - 0.1, torch.zeros(1, 1, 16, 16), "from -0.1 to -0.1"),
        (torch.zeros(1, 1, 16, 16), torch.full((1, 1, 16, 16), torch.nan), "not finite"),
        (torch.zeros(1, 1, 16, 16, dtype=torch.uint8),) * 2 + ("torch.uint8",),
    ],
)
def test_invalid_images_are_refused(formula, x, y, message):
    with pytest.raises(ValueError, match=message):
        formula(x, y)


def test_ssim_of_tiny_images_is_refused():
    with pytest.raises(ValueError, match=r"11 px and more a side, got \[8, 12\]"):
        ssim(images(1, 1, 8, 12), images(1, 1, 8, 12))
