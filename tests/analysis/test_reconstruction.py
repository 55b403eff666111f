"""The analysis of reconstructions on real models, and on models without a usable decoder."""

import numpy as np
import pytest
import torch

from latentbench.analysis.core.data_context import DataContext, to_float
from latentbench.analysis.core.registry import ANALYSES
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.reconstruction import reconstruction, shown_images
from latentbench.data.images import ImageData, Split
from latentbench.models.protocols import Posterior


def test_first_image_of_each_class_is_shown():
    assert shown_images(torch.tensor([2, 2, 0, 1, 0]), 5) == [2, 3, 0]
    assert shown_images(None, 25) == list(range(10))
    assert shown_images(None, 3) == [0, 1, 2]


# The analysis


def test_metrics_are_means_of_the_formulas(pca):
    measurement = reconstruction(pca)
    metrics = {metric.name: metric for metric in measurement.metrics}
    assert list(metrics) == [definition.name for definition in ANALYSES["reconstruction"].metrics]
    originals = to_float(pca.data.test.images)
    reconstructions = pca.decode(pca.test_codes.mean)
    error = (originals - reconstructions).square().flatten(1).mean(1).double()
    assert metrics["mse"].value == pytest.approx(error.mean().item())
    assert metrics["mse"].se == pytest.approx(error.std().item() / len(error) ** 0.5)
    assert metrics["psnr"].value == pytest.approx((-10 * error.log10()).mean().item(), abs=1e-4)
    assert 0.2 < metrics["ssim"].value < 0.9
    assert 0.1 < metrics["recognisable"].value < metrics["recognisable_originals"].value <= 1
    assert measurement.arrays["originals"].shape == (10, 1, 28, 28)
    np.testing.assert_allclose(
        measurement.arrays["reconstructions"][3] / 255,
        reconstructions[(pca.data.test.labels == 3).nonzero()[0, 0]],
        atol=0.5 / 255 + 1e-6,
    )


def test_more_components_reconstruct_better(subject_of):
    few, many = (reconstruction(subject_of("pca", dim)) for dim in (2, 32))
    pairs = [pair for pair in zip(few.metrics, many.metrics, strict=True) if pair[0].better != "neither"]
    missing = [worse.name for worse, _ in pairs if worse.value is None]
    assert missing == ["ms_ssim"]
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


def test_exact_reconstruction_has_no_psnr(context):
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
def test_decoder_outside_the_range_is_null(context, factor, reason):
    found = values(reconstruction(Subject(Copy(factor), context, seed=0)))
    assert found["mse"][0] is None
    assert reason in found["mse"][1]
    assert found["recognisable"][0] is None


def test_unlabelled_small_images_have_pixel_errors_only():
    pixels = torch.randint(256, (40, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    data = ImageData("noise", Split(pixels[:20], None), Split(pixels[20:], None), ())
    measurement = reconstruction(Subject(Copy8(), DataContext(data), seed=0))
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
