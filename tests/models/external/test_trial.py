"""A model is measured only if each result depends on its own input alone; other habits are supported."""

import copy
import sys
import textwrap

import pytest
import torch

from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData, Split
from latentbench.models import zoo
from latentbench.models.external.trial import TOLERANCE, in_range, trial_images
from latentbench.models.resolver import Resolver
from latentbench.models.training.recipe import Recipe

MODELS = """
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Base(nn.Module):
        channels = 1

        def __init__(self):
            super().__init__()
            self.down, self.up = nn.Linear(self.channels * 64, 4), nn.Linear(4, self.channels * 64)

        def encode(self, x):
            return self.down(x.flatten(1))

        def decode(self, z):
            return self.up(z).sigmoid().unflatten(1, (self.channels, 8, 8))

    class Colour(Base):
        channels = 3

    # Supported

    class InPlace(Base):
        def encode(self, x): return super().encode(x.sub_(0.5).div_(0.5))
        def decode(self, z): return super().decode(z.mul_(2))

    class Views(nn.Module):
        def encode(self, x): return x.flatten(1)
        def decode(self, z): return z.unflatten(1, (1, 8, 8))

    class Buffers(Base):
        def __init__(self):
            super().__init__()
            self.code = torch.zeros(2, 4)
        def encode(self, x):
            return self.code[: len(x)].copy_(super().encode(x))

    class Counts(Base):
        calls = 0
        def encode(self, x):
            self.calls += 1
            return super().encode(x)

    class Half(Base):
        def __init__(self):
            super().__init__()
            self.bfloat16()

    class Double(Base):
        def __init__(self):
            super().__init__()
            self.double()

    class OutOfRange(Views):
        def decode(self, z): return super().decode(z) * 1.001 - 0.0005

    # Refused

    class BatchStatistics(Base):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(1, track_running_stats=False)
        def encode(self, x): return super().encode(self.norm(x))

    class DecoderBatchStatistics(Base):
        def decode(self, z): return super().decode(z - z.mean(0))

    class TrainMode(Base):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(4)
        def encode(self, x): return self.norm.train()(super().encode(x))

    class Dropout(Base):
        def encode(self, x): return F.dropout(super().encode(x), training=True)

    class RandomDecoder(Base):
        def decode(self, z): return super().decode(z + torch.randn_like(z))

    class RandomVariance(Base):
        def encode(self, x): return super().encode(x), torch.randn(len(x), 4)

    class Drifts(Base):
        calls = 0
        def encode(self, x):
            self.calls += 1
            return super().encode(x) * self.calls

    class Skips(Base):
        def encode(self, x):
            self.kept = x
            return super().encode(x)
        def decode(self, z): return self.kept.clone()

    class FarOutOfRange(Views):
        def decode(self, z): return super().decode(z) * 1.1

    class Towers(nn.Module):
        def encode_image(self, x): return F.normalize(x.flatten(1)[:, :8], dim=1)
        def encode_text(self, captions):
            lengths = torch.tensor([[float(len(c))] * 8 for c in captions])
            return F.normalize(lengths + torch.arange(8.0), dim=1)

    class CentredText(Towers):
        def encode_text(self, captions):
            text = super().encode_text(captions)
            return F.normalize(text - text.mean(0) + 0.1, dim=1)

    class NoException(Base):
        def encode(self, x):
            class Stop(BaseException): pass
            raise Stop("enough")
"""


@pytest.fixture(autouse=True)
def _apart(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "habits.py").write_text(textwrap.dedent(MODELS))
    yield
    sys.modules.pop("habits", None)


def images_of(channels, count=40):
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, channels, 8, 8), dtype=torch.uint8, generator=draws)
    return ImageData("noise", Split(images, None), Split(images[:20], None), ())


def model_of(name, tmp_path, data, **settings):
    spec = zoo.model_spec(**{"import": f"habits:{name}"}, **settings)
    spec = zoo.resolve(spec, data, Resolver(tmp_path))
    return zoo.train_or_load(zoo.Training(spec, Recipe(), 0), data).model


def reference(name, seed_model):
    """The same weights in a module that is called directly, on copies."""
    module = getattr(sys.modules["habits"], name)()
    module.load_state_dict(seed_model.module.state_dict())
    return module.eval()


@pytest.mark.parametrize("name", ["InPlace", "Views", "Counts", "Half", "Double"])
def test_habits_of_modules_do_not_change_results(name, tmp_path):
    data = images_of(1)
    model = model_of(name, tmp_path, data)
    x = data.test.images.float() / 255
    before = x.clone()
    with torch.inference_mode():
        code = model.encode(x).mean
        kept = code.clone()
        image = model.decode(code)
        assert torch.equal(x, before)
        assert torch.equal(code, kept)
        direct = reference(name, model)
        dtype = next((p.dtype for p in direct.parameters()), torch.float32)
        expected = direct.decode(direct.encode(x.clone().to(dtype)))
    assert (code.dtype, image.dtype) == (torch.float32, torch.float32)
    torch.testing.assert_close(image, expected.float())


def test_results_survive_the_next_call(tmp_path):
    model = model_of("Buffers", tmp_path, images_of(1))
    x = images_of(1).test.images.float() / 255
    with torch.inference_mode():
        first = model.encode(x[:2]).mean
        kept = first.clone()
        model.encode(x[2:4])
    assert torch.equal(first, kept)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("BatchStatistics", "encode returned results that depend on the rest of the batch"),
        ("DecoderBatchStatistics", "decode returned results that depend on the rest of the batch"),
        ("TrainMode", "encode with a batch of one: ValueError: Expected more than 1 value per channel"),
        ("Dropout", "encode returned two results for one input"),
        ("RandomDecoder", "decode returned two results for one input"),
        ("RandomVariance", "encode returned two results for one input"),
        ("Drifts", "encode returned two results for one input"),
        ("Skips", "decode returned images that depend on what was encoded last"),
        ("FarOutOfRange", "decode returned values from"),
        ("CentredText", "encode_text returned results that depend on the rest of the batch"),
        ("NoException", "encode: Stop: enough (habits.py, line "),
    ],
)
def test_results_that_depend_on_more_than_input_are_refused(name, message, tmp_path):
    with pytest.raises(LatentbenchError) as caught:
        model_of(name, tmp_path, images_of(1))
    assert str(caught.value).startswith(f"habits:{name}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_towers_without_such_habits_pass(tmp_path):
    assert model_of("Towers", tmp_path, images_of(1)).spec.latent_dim == 8


def test_rounding_beyond_the_pixel_range_is_clamped(tmp_path):
    data = images_of(1)
    data.test.images[0, 0, 0, 0], data.test.images[1, 0, 0, 0] = 0, 255
    model = model_of("OutOfRange", tmp_path, data)
    x = data.test.images.float() / 255
    with torch.inference_mode():
        image = model.decode(model.encode(x).mean)
    assert image.min() >= 0
    assert image.max() <= 1
    assert (image - x).square().mean() < 1e-7


def test_the_same_tolerance_holds_in_trial_and_measurement():
    edge = torch.tensor([-0.9 * TOLERANCE, 1 + 0.9 * TOLERANCE, -2 * TOLERANCE, 1.5])
    assert torch.equal(in_range(edge), torch.tensor([0.0, 1.0, -2 * TOLERANCE, 1.5]))


@pytest.mark.parametrize("settings", [{}, {"channels": 3}])
def test_grey_images_are_repeated_for_a_colour_model(settings, tmp_path):
    data = images_of(1)
    model = model_of("Colour", tmp_path, data, **settings)
    assert model.spec.channels == 3
    x = data.test.images.float() / 255
    with torch.inference_mode():
        direct = reference("Colour", model)
        code = direct.encode(x.expand(-1, 3, -1, -1))
        assert torch.equal(model.encode(x).mean, code)
        torch.testing.assert_close(model.decode(code), direct.decode(code).mean(1, keepdim=True))
        assert torch.equal(copy.deepcopy(model).encode(x).mean, code)


@pytest.mark.parametrize("settings", [{}, {"channels": 1}])
def test_colours_are_never_dropped_silently(settings, tmp_path):
    with pytest.raises(LatentbenchError, match="takes images of 1 channel, and the data have 3; use grey"):
        model_of("Base", tmp_path, images_of(3), **settings)


def test_trial_images_always_differ():
    data = images_of(1)
    same = ImageData("one", Split(data.train.images[:1], None), Split(data.test.images[:1], None), ())
    first, second = trial_images(same)
    assert torch.equal(first, data.test.images[0].float() / 255)
    assert not torch.equal(first, second)
