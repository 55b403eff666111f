"""The fast convolution equals torch's own, forwards and backwards, and has weights of the same names."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from latentbench.models.networks import convolutions


def pair(quick_class, plain_class, *arguments, **keywords):
    torch.manual_seed(0)
    quick = quick_class(*arguments, **keywords).double()
    plain = plain_class(*arguments, **keywords).double()
    plain.load_state_dict(quick.state_dict())
    return quick, plain


def agree(quick, plain, x):
    """Values and all gradients, in float64, to 1e-10."""
    outs, grads = [], []
    for layer in (quick, plain):
        given_x = x.clone().requires_grad_()
        out = layer(given_x)
        out.square().sum().backward()
        outs.append(out)
        grads.append([given_x.grad, *(p.grad for p in layer.parameters())])
    assert outs[0].shape == outs[1].shape
    assert torch.allclose(outs[0], outs[1], atol=1e-10)
    for one, other in zip(*grads, strict=True):
        assert torch.allclose(one, other, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    side=st.integers(3, 12),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    bias=st.booleans(),
)
def test_convolution(side, kernel, stride, padding, bias):
    if side + 2 * padding < kernel:
        return
    keywords = {"stride": stride, "padding": padding, "bias": bias}
    quick, plain = pair(convolutions.Conv2d, nn.Conv2d, 3, 5, kernel, **keywords)
    agree(quick, plain, torch.randn(2, 3, side, side, dtype=torch.float64))


@pytest.mark.parametrize("side", [4, 12])
def test_small_maps_alone_go_the_quick_way(side, monkeypatch):
    """A convolution of a 12×12 map is torch's own: the matrix product is slower there."""
    went = []
    plain = nn.Conv2d.forward
    monkeypatch.setattr(nn.Conv2d, "forward", lambda self, x: went.append(1) or plain(self, x))
    convolutions.Conv2d(1, 1, 3, padding=1)(torch.rand(1, 1, side, side))
    assert bool(went) == (side == 12)
