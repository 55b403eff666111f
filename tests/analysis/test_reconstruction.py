"""Pixel errors and SSIM agree with scikit-image and pytorch-msssim; and the analysis on real models."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_msssim import ms_ssim as reference_ms_ssim
from pytorch_msssim import ssim as reference_ssim
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from latentbench.analysis.core.registry import ANALYSES
from latentbench.analysis.core.subject import DataContext, Subject, to_float
from latentbench.analysis.reconstruction import ms_ssim, mse, pictured, psnr, reconstruction, ssim
from latentbench.data.images import ImageData, Split
from latentbench.models.protocols import Posterior


def images(*shape, seed=0, dtype=torch.float64):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_mse_and_psnr_by_hand():
    x, y = torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    x[0, 0, 0, 0] = 0.2
    x[1] = 0.1
    torch.testing.assert_close(mse(x, y), torch.tensor([0.01, 0.01]))
    torch.testing.assert_close(psnr(x, y), torch.tensor([20.0, 20.0]))


def test_psnr_is_scikit_images():
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
def test_ssim_is_scikit_images(channels, height, width, noise):
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


def test_ssim_is_pytorch_msssims_on_digits_and_their_shades(mnist_small):
    x = to_float(mnist_small.test.images[:600]).double()
    y = x.pow(1.3).roll(1, 3)
    expected = reference_ssim(x, y, data_range=1, size_average=False)
    torch.testing.assert_close(ssim(x, y), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(ssim(x.float(), y.float()).double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 176, 176), (3, 177, 200), (1, 256, 183)])
@pytest.mark.parametrize("noise", [0.05, 1.0])
def test_ms_ssim_is_pytorch_msssims(channels, height, width, noise):
    x = F.interpolate(images(3, channels, 9, 9), size=(height, width), mode="bilinear")
    y = (x + noise * (images(3, channels, height, width, seed=1) - 0.5)).clamp(0, 1)
    expected = reference_ms_ssim(x, y, data_range=1, size_average=False)
    # The reference's window is float32 whatever the images are.
    torch.testing.assert_close(ms_ssim(x, y), expected, rtol=0, atol=3e-6)


def test_ms_ssim_of_the_same_is_one_and_of_small_images_refused():
    x = images(1, 1, 176, 176)
    assert ms_ssim(x, x).item() == pytest.approx(1)
    with pytest.raises(ValueError, match=r"176 px and more, got \[175, 300\]"):
        ms_ssim(images(1, 1, 175, 300), images(1, 1, 175, 300))


@given(
    n=st.integers(1, 3), side=st.integers(11, 20), seed=st.integers(0, 2**31), grey=st.floats(0, 1, width=32)
)
@settings(max_examples=40, deadline=None)
def test_laws_of_ssim_and_mse(n, side, seed, grey):
    x, y = images(n, 1, side, side, seed=seed), images(n, 1, side, side, seed=seed + 1)
    flat = torch.full_like(x, grey)
    torch.testing.assert_close(ssim(x, x), torch.ones(n, dtype=torch.float64))
    torch.testing.assert_close(ssim(x, y), ssim(y, x))
    assert (ssim(x, flat).abs() <= 1).all()
    torch.testing.assert_close(mse(x, y), mse(1 - x, 1 - y))
    assert (mse(x, y) <= 1).all()


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
def test_what_is_no_image_is_refused(formula, x, y, message):
    with pytest.raises(ValueError, match=message):
        formula(x, y)


def test_ssim_of_tiny_images_is_refused():
    with pytest.raises(ValueError, match=r"11 px and more a side, got \[8, 12\]"):
        ssim(images(1, 1, 8, 12), images(1, 1, 8, 12))


def test_pictured_are_the_first_of_each_class():
    assert pictured(torch.tensor([2, 2, 0, 1, 0]), 5) == [2, 3, 0]
    assert pictured(None, 25) == list(range(10))
    assert pictured(None, 3) == [0, 1, 2]


# The analysis


def test_analysis_of_pca(pca):
    measurement = reconstruction(pca)
    metrics = {metric.name: metric for metric in measurement.metrics}
    assert list(metrics) == [definition.name for definition in ANALYSES["reconstruction"].metrics]
    originals = to_float(pca.data.test.images)
    error = (originals - pca.reconstructions).square().flatten(1).mean(1).double()
    assert metrics["mse"].value == pytest.approx(error.mean().item())
    assert metrics["mse"].se == pytest.approx(error.std().item() / len(error) ** 0.5)
    assert metrics["psnr"].value == pytest.approx((-10 * error.log10()).mean().item(), abs=1e-4)
    assert 0.2 < metrics["ssim"].value < 0.9
    assert 0.1 < metrics["recognisable"].value < metrics["recognisable_originals"].value <= 1
    assert measurement.arrays["originals"].shape == (10, 1, 28, 28)
    np.testing.assert_allclose(
        measurement.arrays["reconstructions"][3] / 255,
        pca.reconstructions[(pca.data.test.labels == 3).nonzero()[0, 0]],
        atol=0.5 / 255 + 1e-6,
    )


def test_more_components_reconstruct_better(subject_of):
    few, many = (reconstruction(subject_of("pca", dim)) for dim in (2, 32))
    pairs = [pair for pair in zip(few.metrics, many.metrics, strict=True) if pair[0].better != "neither"]
    missing = [worse.name for worse, _ in pairs if worse.value is None]
    assert missing == ["ms_ssim", "lpips"]
    for worse, better in (pair for pair in pairs if pair[0].value is not None):
        assert (better.value > worse.value) == (better.better == "higher"), better.name


class Copy:
    """A model whose code is the image itself, scaled."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def encode(self, x):
        return Posterior(x.flatten(1))

    def decode(self, z):
        return z.reshape(len(z), 1, 28, 28) * self.factor


class Unreadable:
    """A model without a decoder."""

    def encode_image(self, x):
        return torch.nn.functional.normalize(x.flatten(1), dim=1)

    def encode_text(self, captions):
        raise NotImplementedError


def values(measurement):
    return {metric.name: (metric.value, metric.reason) for metric in measurement.metrics}


def test_an_exact_copy_has_no_finite_psnr(context):
    found = values(reconstruction(Subject(Copy(), context, seed=0)))
    assert found["mse"] == (0.0, None)
    assert found["ssim"] == (pytest.approx(1), None)
    assert found["psnr"] == (None, "infinite: 500 of 500 images are reconstructed exactly")
    assert found["recognisable"] == found["recognisable_originals"]


def test_a_model_without_decoder_is_null(context):
    found = values(reconstruction(Subject(Unreadable(), context, seed=0)))
    assert [found[name] for name in ("mse", "psnr", "ssim", "recognisable")] == [(None, "no decoder")] * 4
    assert found["recognisable_originals"][0] > 0.8


@pytest.mark.parametrize(("factor", "reason"), [(2.0, "from 0 to 2"), (torch.nan, "not finite")])
def test_a_decoder_off_the_range_is_null(context, factor, reason):
    found = values(reconstruction(Subject(Copy(factor), context, seed=0)))
    assert found["mse"][0] is None
    assert reason in found["mse"][1]
    assert found["recognisable"][0] is None


def test_unlabelled_small_images_have_errors_and_nothing_else():
    pixels = (images(40, 1, 8, 8) * 255).to(torch.uint8)
    data = ImageData("noise", Split(pixels[:20], None), Split(pixels[20:], None), ())
    measurement = reconstruction(Subject(Copy8(), DataContext(data, None), seed=0))
    found = values(measurement)
    assert found["mse"][0] > 0
    assert found["psnr"][0] > 0
    assert found["ssim"] == (None, "images are smaller than the window of 11 px")
    assert "no labels" in found["recognisable"][1]
    assert "no labels" in found["recognisable_originals"][1]
    assert measurement.arrays["originals"].shape == (10, 1, 8, 8)


class Copy8(Copy):
    def decode(self, z):
        return z.reshape(len(z), 1, 8, 8).pow(1.1)
