"""Reference models have the sizes that their authors publish, and are known in records."""

import pytest
import torch

from latentbench.analysis.workloads.flops import count
from latentbench.analysis.workloads.reference_models import REFERENCE_MODELS
from latentbench.data.errors import LatentbenchError


def on_meta(name):
    with torch.device("meta"):
        return REFERENCE_MODELS[name].build()


def flops(name, call):
    shape = REFERENCE_MODELS[name].input_shape
    model = on_meta(name)
    dtype = torch.long if len(shape) == 1 else torch.float32
    x = torch.zeros(1, *shape, dtype=dtype, device="meta")
    return count(lambda: getattr(model, call)(x)).flops


def test_vit_b_32_is_14_78_gflops():
    both = flops("ViT-B-32 image", "encode_image") + flops("ViT-B-32 text", "encode_tokens")
    assert both == pytest.approx(14.78e9, rel=0.01)


@pytest.mark.parametrize(
    ("name", "image", "text"),
    [
        ("ViT-B-16", 35.13, 5.96),
        ("ViT-L-14", 162.03, 13.3),
        ("RN50", 12.22, 5.96),
        ("convnext_base", 30.71, 5.96),
    ],
)
def test_other_towers_have_open_clips_published_flops(name, image, text):
    """GFLOPs of docs/model_profile.csv in open_clip's repository, to the digits it has."""
    assert flops(f"{name} image", "encode_image") == pytest.approx(image * 1e9, rel=2e-3)
    assert flops(f"{name} text", "encode_tokens") == pytest.approx(text * 1e9, rel=2e-3)


@pytest.mark.parametrize(
    ("name", "parameters"), [("AutoencoderKL", 83_653_863), ("AutoencoderTiny", 2_445_063)]
)
def test_autoencoders_have_the_published_sizes(name, parameters):
    pytest.importorskip("diffusers", reason="diffusers, an optional extra, is not installed")
    model = on_meta(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    x = torch.zeros(2, *REFERENCE_MODELS[name].input_shape, device="meta")
    codes = model.encode(x).mean
    assert codes.shape == (2, 4 * 64 * 64)
    assert x[0].numel() / codes[0].numel() == 48
    assert model.decode(codes).shape == x.shape


def test_spec_has_the_name_as_label_and_the_width():
    spec = REFERENCE_MODELS["ViT-L-14 image"].spec
    assert (spec.latent_dim, spec.label, spec.series) == (768, "ViT-L-14 image", "ViT-L-14 image")


def test_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(LatentbenchError, match="did you mean 'ViT-L-14 image'"):
        REFERENCE_MODELS["ViT-L14 image"]
