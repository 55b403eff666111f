"""Bits of codes: known sizes of Gaussian codes, codecs, discrete codes, and what has none."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from latentbench.analysis import measure
from latentbench.analysis.coding.bits import coding
from latentbench.analysis.coding.entropy_coder import decode, encode
from latentbench.analysis.coding.quantisation import Quantiser
from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.subject import Subject
from latentbench.data.images import ImageData, Split
from latentbench.models.external.user_module import adapted
from latentbench.models.family import find_family
from latentbench.models.zoo import model_spec, resolve


def metrics_of(subject):
    measurement = coding(subject)
    return {metric.name: metric for metric in measurement.metrics}, measurement.arrays


def codec_on(data, **settings):
    spec = resolve(model_spec(**settings), data)
    return find_family(spec.family).build(spec, data.image_shape)


@pytest.mark.parametrize("shape", [(4,), (3, 2, 2), (5, 6)])
def test_gaussian_code_at_an_eighth_costs_5_047_bits(shape):
    values = math.prod(shape)
    generator = torch.Generator().manual_seed(0)
    train, test = (7 + 3 * torch.randn(1_000_000 // values, *shape, generator=generator) for _ in "ab")
    quantiser = Quantiser.of(train, 1 / 8)
    content = encode(quantiser.integers(test), quantiser.distributions(train))
    assert 8 * len(content) / test.numel() == pytest.approx(5.047, abs=0.008)


def test_quantised_code_is_off_by_half_a_step_at_most():
    codes = torch.randn(500, 3, 2, 2, generator=torch.Generator().manual_seed(0)) * 5
    quantiser = Quantiser.of(codes, 0.5)
    distributions = quantiser.distributions(codes)
    channels = quantiser.integers(codes)
    read = quantiser.codes(decode(encode(channels, distributions), [2000] * 3, distributions))
    half = 0.25 * quantiser.deviation[None, :, None, None]
    assert bool(((read - codes).abs() <= half + 1e-5).all())
    assert (read - codes).square().mean().item() == pytest.approx(
        (2 * half).square().mean().item() / 12, rel=0.05
    )


def test_constant_channel_costs_nothing_and_stays():
    codes = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    codes[:, 1] = 4.5
    quantiser = Quantiser.of(codes, 0.25)
    channels = quantiser.integers(codes)
    assert not channels[1].any()
    assert torch.equal(quantiser.codes(channels)[:, 1], codes[:, 1])


def test_bits_enough_keep_the_error_within_a_hundredth(ae):
    metrics, arrays = metrics_of(ae)
    unrounded = ae.tested.errors.mse.mean().item()
    assert metrics["coded_mse"].value <= 1.01 * unrounded
    assert (np.sort(arrays["mse"])[1:] > 1.01 * unrounded).all()
    assert metrics["bits_per_value"].value == pytest.approx(metrics["bits_enough"].value / 2)
    assert metrics["bits_per_pixel"].value == pytest.approx(metrics["bits_enough"].value / 784)
    assert 2 < metrics["bits_per_value"].value < 12
    assert (np.diff(arrays["bits_per_pixel"]) > 0).all()


def test_png_and_jpeg_take_the_bytes_of_their_files(context):
    png = codec_on(context.data, family="png")
    metrics, arrays = metrics_of(Subject(png, context, seed=0))
    files = png.compress(context.data.test.images.float() / 255)
    assert metrics["bits_enough"].value == pytest.approx(8 * sum(map(len, files)) / len(files))
    assert metrics["bits_per_pixel"].value == pytest.approx(metrics["bits_enough"].value / 784)
    assert metrics["coded_mse"].value == 0
    for name in ("bits_per_value", "step_enough", "bd_rate"):
        assert metrics[name].value is None
    assert (np.diff(arrays["jpeg_bits_per_pixel"]) > 0).all()


def test_discrete_code_is_coded_as_its_choices(subject_of):
    subject = subject_of("fsq", 4, hidden=64, levels=3)
    metrics, _ = metrics_of(subject)
    assert metrics["bits_enough"].value < 4 * math.log2(3) + 1
    assert metrics["coded_mse"].value == pytest.approx(subject.tested.errors.mse.mean().item(), rel=1e-6)


def test_code_without_train_images_is_null(context):
    test = context.data.test
    data = ImageData("test only", test, test, context.data.classes)
    subject = Subject(codec_on(data, family="dct", block=4, coefficients=2), DataContext(data), seed=0)
    assert coding(subject).metrics[0].reason == "no train images to fit the entropy coder to"


def test_exact_code_has_no_bits_enough(context):
    subject = Subject(codec_on(context.data, family="identity"), context, seed=0)
    assert "exactly" in coding(subject).metrics[0].reason


def test_steps_are_halved_further_where_a_small_error_needs_it():
    """Pixels off by 0.007: rounding to Δ adds Δ²σ²/12, which is 1 % of 0.007² at about Δ = 1/75."""

    class Shifted(nn.Module):
        def encode(self, x):
            return x

        def decode(self, z):
            return (z + 0.007).clamp(0, 1)

    images = torch.randint(40, 200, (40, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    images = images.to(torch.uint8)
    data = ImageData("noise", Split(images, None), Split(images.flip(3), None), ())
    subject = Subject(adapted(Shifted(), (1, 8, 8), "shifted").eval(), DataContext(data), seed=0)
    metrics, arrays = metrics_of(subject)
    deviation = (images.double() / 255).std().item()
    assert metrics["step_enough"].value == pytest.approx((0.12 * 0.007**2) ** 0.5 / deviation, rel=0.25)
    assert metrics["step_enough"].value < 1 / 64
    assert arrays["step_deviations"][-1] == metrics["step_enough"].value


def test_code_that_never_changes_takes_almost_no_bits():
    class Constant(nn.Module):
        def encode(self, x):
            return torch.ones(len(x), 4)

        def decode(self, z):
            return torch.zeros(len(z), 1, 8, 8) + z.mean(1).view(-1, 1, 1, 1) / 2

    images = torch.randint(256, (40, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    data = ImageData("noise", Split(images, None), Split(255 - images, None), ())
    result = measure(Constant(), data, analyses="coding")
    assert result["bits_enough"].value <= 128 / 40
    assert result["step_enough"].value == 4
