"""rFID, FD and LPIPS equal the usual packages, for any number of images and any shards."""

import pytest
import torch
from torch import nn
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from latentbench.analysis import measure
from latentbench.analysis.core import data_context
from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.core.test_pass import TestPass
from latentbench.analysis.features.extractors import Absent, Distance, Extractor
from latentbench.analysis.fidelity.feature_frechet import frechet, frechet_of_pairs
from latentbench.analysis.generation.feature_distances import of_reconstructions
from latentbench.analysis.statistics.feature_sums import FeatureSums
from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData, Split
from latentbench.models.external.user_module import adapted
from latentbench.models.family import find_family
from latentbench.models.zoo import model_spec

WIDTH = 20


class Halves(nn.Module):
    def encode(self, x):
        return nn.functional.avg_pool2d(x, 2)

    def decode(self, z):
        return nn.functional.interpolate(z, scale_factor=2)


class Differences(nn.Module):
    def forward(self, x, y):
        return (x - y).abs().mean((1, 2, 3))


def toy(seed=0):
    """Extract few features, fast."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(3, WIDTH, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Extractor.of("inception", network, lambda net, images: net(images.float() / 255))


def photos(count):
    generator = torch.Generator().manual_seed(count)
    smooth = torch.rand(count, 3, 8, 8, generator=generator)
    noisy = nn.functional.interpolate(smooth, (16, 16), mode="bilinear")
    return ((noisy + 0.1 * torch.rand(noisy.shape, generator=generator)).clamp(0, 1) * 255).to(torch.uint8)


def theirs(a, b):
    statistics = [fid_features_to_statistics(features.double()) for features in (a, b)]
    return fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]


@pytest.mark.parametrize("count", [WIDTH - 8, WIDTH, 6 * WIDTH])
def test_rfid_equals_torch_fidelity(count):
    images, extractor = photos(count), toy()
    x = images.float() / 255
    reconstructed = Halves().decode(Halves().encode(x))
    expected = theirs(extractor.features(x), extractor.features(reconstructed))
    found = measure(Halves(), images, analyses="features", features=[extractor])["rfid (inception)"]
    assert found.value == pytest.approx(expected, rel=1e-5)
    assert (found.n, found.better, found.common_se) == (count, "lower", found.se)
    assert 0 < found.se < found.value


@pytest.mark.parametrize("count", [30, 10])
def test_few_images_have_the_distance_of_their_moments(count):
    torch.manual_seed(0)
    a, b = torch.randn(2, count, 2 * WIDTH).double()
    assert frechet(a, b + 1) == pytest.approx(theirs(a, b + 1), rel=1e-5)
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_sums_of_parts_are_those_of_the_whole():
    torch.manual_seed(0)
    a, b = torch.randn(2, 97, WIDTH)
    for parts in ([97], [1, 12, 84], [50, 47]):
        sums = [None, None]
        for which, features in enumerate((a, b)):
            first = 0
            for part in features.split(parts):
                own = FeatureSums.of(part, first)
                sums[which] = own if sums[which] is None else sums[which] + own
                first += len(part)
        assert [each.count for each in sums] == [97, 97]
        value, error = frechet_of_pairs(*sums)
        assert value == pytest.approx(theirs(a, b), rel=1e-9)
        left_out = [theirs(*(each[torch.arange(97) % 5 != block] for each in (a, b))) for block in range(5)]
        spread = torch.tensor(left_out).double()
        assert error == pytest.approx(float(((spread - spread.mean()).square().sum() * 0.8).sqrt()), rel=1e-6)


def test_shards_have_the_features_of_one_pass(monkeypatch):
    monkeypatch.setattr(data_context, "BATCH_VALUES", 7 * 3 * 16 * 16)
    split = Split(photos(61), None)
    context = DataContext(ImageData("x", split, split, ()), features=(toy(),))
    model = adapted(Halves(), (3, 16, 16), "halves")
    whole, parts = Subject(model, context, seed=0), Subject(model, context, seed=0)
    parts.tested = TestPass.joined([parts.pass_over(shard, 3) for shard in range(3)])
    expected, found = (of_reconstructions(each).metrics[0] for each in (whole, parts))
    assert found.value == pytest.approx(expected.value, rel=1e-9)
    assert found.se == pytest.approx(expected.se, rel=1e-6)


def test_distances_are_means_over_images():
    images = photos(12)
    distance = Distance.of("lpips:alex", Differences(), 4)
    result = measure(Halves(), images, analyses="features", features=[distance])
    x = images.float() / 255
    each = 2 * (x - Halves().decode(Halves().encode(x))).abs().mean((1, 2, 3))
    assert result["lpips (alex)"].value == pytest.approx(each.mean().item(), rel=1e-6)
    assert result["lpips (alex)"].se == pytest.approx(each.std().item() / 12**0.5, rel=1e-6)
    examples = result.measurements["features"].examples["lpips (alex)"]
    assert torch.allclose(torch.from_numpy(examples), each)


def test_what_cannot_be_measured_says_why():
    features = [
        toy(),
        Absent("timm:resnet18", "no weights here"),
        Distance.of("lpips:vgg", Differences(), 17),
    ]
    result = measure(Halves(), photos(12), analyses=["features", "sample_features"], features=features)
    assert result["rfid (timm:resnet18)"].reason == "no weights here"
    assert result["fd_moment (timm:resnet18)"].reason == "no weights here"
    assert result["lpips (vgg)"].reason == "images are smaller than 17 px"
    pixels = find_family("pixels").build(model_spec(family="pixels"), (3, 16, 16))
    without = measure(pixels, photos(12), analyses=["features", "sample_features"], features=features)
    assert {metric.reason for metric in without.metrics} == {"no decoder", "no weights here"}
    with pytest.raises(LatentbenchError, match="no features: a suite names them"):
        measure(Halves(), photos(12), analyses="features")


def test_samples_are_compared_in_the_features():
    images = photos(60)
    result = measure(Halves(), images, analyses="sample_features", features=[toy()])
    found = result["fd_posterior (inception)"]
    assert found.value > 0
    assert found.n == 60
    assert result["fd_prior (inception)"].reason is not None
    assert set(result.measurements["sample_features"].metrics) == set(result.metrics)
