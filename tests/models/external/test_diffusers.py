"""Autoencoders of diffusers are measured as a user's model, without flattening their codes."""

import textwrap

import pytest
import torch

from latentbench.analysis.catalogue import ANALYSES
from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.subject import Subject
from latentbench.data.images import ImageData, Split
from latentbench.models import zoo
from latentbench.models.resolver import Resolver
from latentbench.models.training.recipe import Recipe

diffusers = pytest.importorskip("diffusers")

MODULE = """
    import torch
    from diffusers import AutoencoderKL, AutoencoderTiny

    class Scaled(torch.nn.Module):
        def __init__(self, folder):
            super().__init__()
            self.vae = self.kind.from_pretrained(folder)

        def encode(self, x):
            return self.vae.encode(2 * x - 1)

        def decode(self, z):
            return (self.vae.decode(z).sample / 2 + 0.5).clamp(0, 1)

    class MyKL(Scaled):
        kind = AutoencoderKL

    class MyTiny(Scaled):
        kind = AutoencoderTiny
"""


def saved(name, folder):
    torch.manual_seed(0)
    if name == "MyKL":
        model = diffusers.AutoencoderKL(
            block_out_channels=(8, 8),
            norm_num_groups=4,
            down_block_types=2 * ("DownEncoderBlock2D",),
            up_block_types=2 * ("UpDecoderBlock2D",),
        )
    else:
        model = diffusers.AutoencoderTiny(
            encoder_block_out_channels=(8, 8),
            decoder_block_out_channels=(8, 8),
            num_encoder_blocks=(1, 1),
            num_decoder_blocks=(1, 1),
        )
    model.save_pretrained(folder / name)
    return model


@pytest.fixture
def data():
    draws = torch.Generator().manual_seed(0)
    train, test = (
        torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8, generator=draws) for count in (120, 40)
    )
    return ImageData("noise", Split(train, None), Split(test, None), ())


@pytest.mark.parametrize(("name", "stochastic"), [("MyKL", True), ("MyTiny", False)])
def test_an_autoencoder_of_diffusers_keeps_its_grid(name, stochastic, data, tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    module = f"own_{name.lower()}"
    (tmp_path / f"{module}.py").write_text(textwrap.dedent(MODULE))
    model = saved(name, tmp_path).eval()
    given = zoo.model_spec(**{"import": f"{module}:{name}", "kwargs": {"folder": str(tmp_path / name)}})
    spec = zoo.resolve(given, data, Resolver(tmp_path))
    assert spec.code_shape == (4, 8, 8)
    assert spec.label == f"{name}-4×8×8"
    loaded = zoo.train_or_load(zoo.Training(spec, Recipe(), 0), data).model
    subject = Subject(loaded, DataContext(data), seed=0)
    assert subject.is_stochastic == stochastic
    with torch.inference_mode():
        x = data.test.images.float() / 255
        code = model.encode(2 * x - 1)
        code = code.latent_dist.mean if stochastic else code.latents
        expected = (model.decode(code).sample / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(subject.test_codes.mean, code)
    measured = {metric.name: metric for metric in ANALYSES["reconstruction"].measure(subject).metrics}
    assert measured["mse"].value == pytest.approx((x - expected).square().mean().item(), rel=1e-5)
    sizes = {metric.name: metric.value for metric in ANALYSES["code"].measure(subject).metrics}
    assert sizes == {"code_values": 256, "code_positions": 64, "compression": 3, "downsampling": 2}
