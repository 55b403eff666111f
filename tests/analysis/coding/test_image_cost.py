"""The cost of images: rates by megapixel, and values that are not finite."""

import pytest
import torch
from torch import nn

from latentbench.analysis.coding import image_cost as module
from latentbench.analysis.coding.image_cost import image_cost
from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.performance.timing import Effort
from latentbench.data.images import ImageData, Split
from latentbench.models.external.user_module import adapted
from latentbench.models.families.codecs.image_files import CodecSpec, Png

SIDE = 16


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(module, "EFFORT", Effort(warm_up=0, repetitions=1, seconds=0.0, budget_seconds=0.1))


@pytest.fixture
def data():
    images = torch.randint(256, (20, 1, SIDE, SIDE), generator=torch.Generator().manual_seed(0))
    split = Split(images.to(torch.uint8), None)
    return ImageData("noise", split, split, ())


class Overflowing(nn.Module):
    """Half of the pixels of every image become NaN, and no value of the code."""

    def encode(self, x):
        return x.flatten(1)

    def decode(self, z):
        image = z.reshape(-1, 1, SIDE, SIDE).clone()
        image[:, :, : SIDE // 2] = torch.nan
        return image


def measured(model, data):
    metrics = image_cost(Subject(model, DataContext(data), seed=0)).metrics
    return {metric.name: metric for metric in metrics}


def test_values_that_are_not_finite_are_counted(data):
    metrics = measured(adapted(Overflowing(), data.image_shape, "overflowing"), data)
    assert metrics["not_finite"].value == pytest.approx(0.25)
    assert metrics["not_finite"].n == 20


def test_codecs_have_speed_and_lose_no_values(data):
    metrics = measured(Png(CodecSpec(family="png"), data.image_shape), data)
    assert metrics["encode_megapixels_per_second"].value > 0
    assert metrics["decode_megapixels_per_second"].value > 0
    assert metrics["not_finite"].value == 0
    assert metrics["image_memory_bytes"].reason == "a codec allocates outside of torch"


def test_rate_is_the_megapixels_of_a_batch_over_its_time(data, monkeypatch):
    timings = lambda calls, device: {name: module.Timing((0.5,)) for name in calls}  # noqa: E731
    monkeypatch.setattr(module, "timed_when_quiet", timings)
    metrics = measured(Png(CodecSpec(family="png"), data.image_shape), data)
    assert metrics["encode_megapixels_per_second"].value == pytest.approx(20 * SIDE**2 / 1e6 / 0.5)
