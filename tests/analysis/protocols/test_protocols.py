"""Protocols do what published scripts do: each is compared with the packages that these use."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import structural_similarity as skimage_ssim
from torch import nn
from torchmetrics.functional.image import structural_similarity_index_measure as torchmetrics_ssim
from torchvision.transforms import v2

from latentbench.analysis import measure
from latentbench.analysis.features import inception
from latentbench.analysis.features.extractors import Absent, Distance, Extractor
from latentbench.analysis.protocols.explain import explain
from latentbench.analysis.protocols.measured import ProtocolMeasured, measure_under
from latentbench.analysis.protocols.protocol import METRICS, PROTOCOLS, Protocol
from latentbench.analysis.protocols.scaled_images import scaled
from latentbench.data.images import ImageData, Split
from latentbench.data.reading.image_source import ArraySource, Sources
from latentbench.data.reading.transform import Transform
from latentbench.models.external.user_module import adapted

LATENTBENCH = PROTOCOLS["latentbench"]
UNROUNDED = LATENTBENCH.model_copy(update={"rounded": ()})
SIDE, COUNT = 24, 12


class Shift(nn.Module):
    """Add a constant, and some contrast."""

    def __init__(self, shift=0.0, contrast=1.0):
        super().__init__()
        self.shift, self.contrast = shift, contrast

    def encode(self, x):
        return x

    def decode(self, z):
        return z * self.contrast + self.shift


class Differences(nn.Module):
    def forward(self, x, y):
        return (x - y).abs().mean((1, 2, 3))


def photos(count=COUNT):
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 6, 6, generator=generator)
    return (20 + 200 * nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bilinear")).to(torch.uint8)


def subject(model, images=None, features=()):
    images = photos() if images is None else images
    split = Split(images, None)
    sources = Sources(ArraySource(split, ()), ArraySource(split, ()))
    family = adapted(model, tuple(images.shape[1:]), "model").eval()
    return ProtocolMeasured(family, sources, None, images.shape[1], {each.name: each for each in features})


def reconstructed(model):
    x = photos().float() / 255
    return x, model.decode(x)


def test_constant_shift_has_its_psnr():
    found = measure_under(LATENTBENCH, "psnr", subject(Shift(1 / 255)))
    assert found.value == pytest.approx(-20 * math.log10(1 / 255), abs=1e-3)
    assert found.value == pytest.approx(48.13, abs=0.005)


def test_ifid_reads_the_range_twice():
    model = subject(Shift(0.01, 0.97))
    unrounded = measure_under(UNROUNDED, "psnr", model).value
    assert measure_under(PROTOCOLS["ifid"], "psnr", model).value - unrounded == pytest.approx(
        20 * math.log10(2), abs=1e-5
    )


@pytest.mark.parametrize("metric", ["psnr", "ssim"])
def test_default_protocol_unrounded_is_what_analyses_measure(metric):
    images = photos()
    model = Shift(0.01, 0.9)
    split = Split(images, None)
    found = measure(model, ImageData("x", split, split, ()), analyses="reconstruction")[metric]
    assert measure_under(UNROUNDED, metric, subject(model)).value == pytest.approx(found.value, rel=1e-6)


@pytest.mark.parametrize("metric", ["psnr", "ssim", "lpips"])
def test_default_protocol_sees_images_of_8_bits(metric):
    """A difference of a third of a level is none in 8 bits, and one of two thirds is a whole level."""
    features = [Distance.of("lpips:alex", Differences(), 4)]
    none, third, two_thirds, level = (
        measure_under(LATENTBENCH, metric, subject(Shift(levels / 255), features=features)).value
        for levels in (0, 1 / 3, 2 / 3, 1)
    )
    assert third == none
    assert two_thirds == level != none


def test_seed_voken_is_scikit_image_on_truncated_bytes():
    model = Shift(0.013, 0.93)
    x, y = ((each.clamp(0, 1) * 255).to(torch.uint8).numpy() / 255 for each in reconstructed(model))
    each = [skimage_ssim(a, b, channel_axis=0, data_range=1.0) for a, b in zip(x, y, strict=True)]
    batches = [np.mean(each[start : start + 4]) for start in range(0, COUNT, 4)]
    found = measure_under(PROTOCOLS["seed-voken"], "ssim", subject(model)).value
    assert found == pytest.approx(np.mean(batches), rel=1e-6)


def test_va_vae_is_torchmetrics_on_its_range():
    model = Shift(0.013, 0.93)
    x, y = (2 * each - 1 for each in reconstructed(model))
    expected = np.mean(
        [
            torchmetrics_ssim(b, a, data_range=(-1.0, 1.0)).item()
            for a, b in zip(x.split(8), y.split(8), strict=True)
        ]
    )
    assert measure_under(PROTOCOLS["va-vae"], "ssim", subject(model)).value == pytest.approx(
        expected, rel=1e-4
    )


def test_dc_ae_is_torchmetrics_on_rounded_bytes():
    model = Shift(0.013, 0.93)
    x, y = ((each.clamp(0, 1) * 255 + 0.5).to(torch.uint8).float() for each in reconstructed(model))
    expected = torchmetrics_ssim(y, x, data_range=(0.0, 255.0)).item()
    assert measure_under(PROTOCOLS["dc-ae"], "ssim", subject(model)).value == pytest.approx(
        expected, rel=1e-4
    )


def test_eq_vae_takes_the_range_of_each_image():
    model = Shift(0.013, 0.93)
    x, y = (2 * each - 1 for each in reconstructed(model))
    expected = np.mean([torchmetrics_ssim(b[None], a[None]).item() for a, b in zip(x, y, strict=True)])
    assert measure_under(PROTOCOLS["eq-vae"], "ssim", subject(model)).value == pytest.approx(
        expected, rel=1e-4
    )


def test_lpips_of_ifid_sees_half_the_differences():
    model, distances = Shift(0.02), [Distance.of("lpips:alex", Differences(), 4)]
    usual, halved = (
        measure_under(protocol, "lpips", subject(model, features=distances))
        for protocol in (UNROUNDED, PROTOCOLS["ifid"])
    )
    assert usual.name == "lpips (alex)"
    assert halved.value == pytest.approx(usual.value / 2, rel=1e-5)


def test_absent_network_makes_the_metric_null():
    found = measure_under(LATENTBENCH, "rfid", subject(Shift(), features=[Absent("inception", "none here")]))
    assert (found.name, found.value, found.reason) == ("rfid (inception)", None, "none here")


def test_floats_of_torch_fidelitys_network_are_its_own():
    torch.manual_seed(0)
    extractor = Extractor.of("inception", inception.untrained(), inception.read)
    images = photos(2)
    exact = extractor.features(images.float() / 255)
    tolerance = 1e-5 * exact.abs().max().item()
    floats = inception.features_of_floats(extractor, images.float() / 255, as_pytorch_fid=False)
    assert torch.allclose(floats, exact, rtol=0, atol=tolerance)
    other = inception.features_of_floats(extractor, images.float() / 255, as_pytorch_fid=True)
    assert not torch.allclose(other, exact, rtol=0, atol=tolerance)


@pytest.mark.parametrize("shape", [(70, 50), (40, 90), (33, 32), (200, 150)])
def test_protocols_scale_as_their_libraries(shape):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8))
    own = np.asarray(Transform(32)(image))
    assert np.array_equal(scaled(image, LATENTBENCH, 32).permute(1, 2, 0).numpy() * 255, own)
    steps = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Resize(32), v2.CenterCrop(32)]
    assert torch.allclose(scaled(image, PROTOCOLS["va-vae"], 32), v2.Compose(steps)(image), atol=1e-5)
    assert scaled(image, PROTOCOLS["dc-ae"], 32).shape == (3, 32, 32)
    bytes_ = scaled(image, PROTOCOLS["seed-voken"], 32) * 255
    assert torch.allclose(bytes_, bytes_.round(), atol=1e-4)


@pytest.mark.parametrize("name", list(PROTOCOLS))
@pytest.mark.parametrize("size", [(1, 10_000), (10_000, 1)])
def test_a_very_long_image_is_cut_before_it_is_scaled(name, size):
    image = Image.new("RGB", size)
    image.paste(
        (200, 200, 200),
        [side // 2 - 4 if side > 1 else 0 for side in size]
        + [side // 2 + 4 if side > 1 else 1 for side in size],
    )
    scaled_ = scaled(image, PROTOCOLS[name], 256)
    assert scaled_.shape == (3, 256, 256)
    assert (scaled_ > 0.7).all()


def test_hash_tells_protocols_apart():
    assert len({protocol.sha256 for _, protocol in PROTOCOLS.items()}) == len(list(PROTOCOLS)) == 6
    assert Protocol().sha256 == LATENTBENCH.sha256
    assert Protocol.model_validate_json(LATENTBENCH.model_dump_json()).sha256 == LATENTBENCH.sha256


@pytest.mark.parametrize("metric", METRICS)
def test_differences_are_those_that_the_metric_sees(metric):
    for name, other in PROTOCOLS.items():
        fields = LATENTBENCH.differences(other, metric)
        changed = LATENTBENCH
        for field in fields:
            changed = changed.with_field(other, field)
        assert changed.differences(other, metric) == (), name
    assert LATENTBENCH.differences(LATENTBENCH, metric) == ()


def test_explanation_adds_up():
    found = explain(LATENTBENCH, PROTOCOLS["seed-voken"], "ssim", subject(Shift(0.013, 0.93)))
    assert [step.field for step in found.steps] == [
        "resize",
        "clamped",
        "rounding",
        "averaged_by_batch",
        "ssim_window",
    ]
    by_field = {step.field: step for step in found.steps}
    assert (by_field["ssim_window"].a, by_field["ssim_window"].b) == ("gaussian 11", "uniform 7")
    total = sum(found.change(step.metric) for step in found.steps) + found.together
    assert total == pytest.approx(found.change(found.second))
    assert abs(found.change(by_field["ssim_window"].metric)) > 1e-5
    assert found.change(by_field["resize"].metric) == 0
