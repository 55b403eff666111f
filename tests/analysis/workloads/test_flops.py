"""FLOP counts agree with hand-computed examples and a published architecture."""

import pytest
import torch
from torch import nn

from latentbench.analysis.workloads.flops import count

BATCH, INPUTS, OUTPUTS = 32, 100, 1000


def layer_with_relu(device):
    return nn.Sequential(nn.Linear(INPUTS, OUTPUTS, device=device), nn.ReLU())


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_layer_agrees_with_a_hand_computation(device):
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
