"""Counts are those of hand-made examples, and of a published architecture."""

import pytest
import torch
from torch import nn

from latentbench.analysis.performance.flops import count
from latentbench.data.errors import LatentbenchError
from latentbench.models.external.architectures import ARCHITECTURES, ArchitectureSpec
from latentbench.models.zoo import FAMILIES, model_spec

BATCH, INPUTS, OUTPUTS = 32, 100, 1000


def layer_with_relu(device):
    return nn.Sequential(nn.Linear(INPUTS, OUTPUTS, device=device), nn.ReLU())


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_layer_is_what_paper_and_pencil_say(device):
    model, x = layer_with_relu(device), torch.empty(BATCH, INPUTS, device=device)
    counted = count(lambda: model(x))
    product = BATCH * OUTPUTS
    weights = (INPUTS + 1) * OUTPUTS
    assert counted.flops == 2 * BATCH * INPUTS * OUTPUTS
    # The product is written, read by the rectifier, and written again; transposing the weight moves nothing.
    assert counted.moved_bytes == 4 * (x.numel() + weights + 3 * product)
    assert counted.held_bytes == 4 * 2 * product
    assert counted.intensity == counted.flops / counted.moved_bytes


def test_a_backward_pass_holds_what_the_forward_pass_made():
    """Ten layers in a row: forward alone, two activations are alive at once; with gradients, all ten."""
    model = nn.Sequential(*(nn.Tanh() for _ in range(10)))
    x = torch.zeros(1000, requires_grad=True)
    assert count(lambda: model(x)).held_bytes == 2 * 4000
    assert count(lambda: model(x).sum().backward(), gradients=True).held_bytes >= 10 * 4000


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 8])
def test_a_convolutions_gradients_take_twice_its_work(groups, transposed):
    """One for the input and one for the weight, however its channels are grouped."""
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    layer = kind(8, 16, 3, stride=2, padding=1, groups=groups, device="meta")
    x = torch.empty(4, 8, 20, 20, device="meta", requires_grad=True)
    forward = count(lambda: layer(x)).flops
    positions = 20 * 20 if transposed else 10 * 10
    assert forward == 2 * 4 * positions * 8 * 16 * 9 // groups
    assert count(lambda: layer(x).sum().backward(), gradients=True).flops == 3 * forward
    fixed = x.detach()
    assert count(lambda: layer(fixed).sum().backward(), gradients=True).flops == 2 * forward


def test_the_callers_inference_mode_does_not_hide_attention():
    """Under inference_mode torch takes a fused path for attention which its counter does not know."""
    layer = nn.TransformerEncoderLayer(64, 2, batch_first=True).eval()
    x = torch.zeros(2, 16, 64)
    expected = count(lambda: layer(x)).flops
    with torch.inference_mode():
        assert count(lambda: layer(x)).flops == expected
    assert expected > 2 * 2 * 16 * (4 * 64 * 64 + 2 * 64 * 2048)  # its linear layers alone


def on_meta(name):
    with torch.device("meta"):
        return FAMILIES["architecture"].build(model_spec(family="architecture", name=name), (1, 28, 28))


def flops(name, call):
    shape = ARCHITECTURES[name].input_shape
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
def test_the_other_towers_are_what_open_clip_publishes(name, image, text):
    """GFLOPs of docs/model_profile.csv in open_clip's repository, to the digits it has."""
    assert flops(f"{name} image", "encode_image") == pytest.approx(image * 1e9, rel=2e-3)
    assert flops(f"{name} text", "encode_tokens") == pytest.approx(text * 1e9, rel=2e-3)


@pytest.mark.parametrize(
    ("name", "parameters"), [("AutoencoderKL", 83_653_863), ("AutoencoderTiny", 2_445_063)]
)
def test_the_deployed_autoencoders_are_the_published_ones(name, parameters):
    pytest.importorskip("diffusers", reason="diffusers, an optional extra, is not installed")
    model = on_meta(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    x = torch.zeros(2, *ARCHITECTURES[name].input_shape, device="meta")
    codes = model.encode(x).mean
    assert codes.shape == (2, 4 * 64 * 64)
    assert x[0].numel() / codes[0].numel() == 48
    assert model.decode(codes).shape == x.shape


def test_an_architecture_has_the_width_it_has():
    spec = ArchitectureSpec.model_validate({"family": "architecture", "name": "ViT-L-14 image"})
    assert (spec.latent_dim, spec.label) == (768, "ViT-L-14 image")
    with pytest.raises(LatentbenchError, match="has latent_dim 768, got 16"):
        model_spec(family="architecture", name="ViT-L-14 image", latent_dim=16)
    with pytest.raises(LatentbenchError, match="did you mean 'ViT-L-14 image'"):
        model_spec(family="architecture", name="ViT-L14 image")
