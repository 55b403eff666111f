"""The autoencoder's loss, its images at every size, and the network of the book."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shared.families import build, noise_data, terms_of

from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData, Split


def test_ae_loss_is_the_summed_squared_error():
    model = build(family="ae", latent_dim=3)
    x = torch.rand(5, 1, 28, 28)
    expected = (model.decode(model.encode(x).mean) - x).square().sum(dim=(1, 2, 3)).mean()
    assert terms_of(model, x)[0]["loss"].item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "starts_there"),
    [
        ({"likelihood": "bernoulli"}, True),
        ({"likelihood": "bernoulli", "backbone": "conv"}, False),
        ({"likelihood": "gaussian"}, False),
    ],
)
def test_bernoulli_decoder_starts_at_the_mean_image(settings, starts_there):
    model = build((1, 12, 12), family="vae", latent_dim=3, **settings)
    dark = noise_data().train.images // 8
    data = ImageData("dark", Split(dark, None), Split(dark[:10], None), ())
    model.prepare(data)
    # The hidden layer's bias is not zero: the image is near the mean, not at it.
    near = torch.allclose(model.decode(torch.zeros(1, 3))[0], dark.float().mean(0) / 255, atol=0.05)
    assert near == starts_there


@settings(max_examples=25, deadline=None)
@given(
    family=st.sampled_from(["ae", "vae"]),
    backbone=st.sampled_from(["mlp", "conv"]),
    side=st.integers(8, 256),
    channels=st.sampled_from([1, 3]),
    latent_dim=st.integers(1, 40),
)
def test_every_size_comes_back_as_it_went_in(family, backbone, side, channels, latent_dim):
    shape = (channels, side, side)
    model = build(shape, family=family, backbone=backbone, latent_dim=latent_dim, hidden=8)
    x = torch.rand(2, *shape)
    posterior = model.encode(x)
    decoded = model.decode(posterior.mean)
    assert posterior.mean.shape == (2, latent_dim)
    assert decoded.shape == x.shape
    assert decoded.min() >= 0
    assert decoded.max() <= 1


def test_the_books_network_has_the_books_shapes():
    model = build(family="vae", latent_dim=16, backbone="book")
    assert [m.out_channels for m in model.encoder if isinstance(m, torch.nn.Conv2d)] == [128, 256, 512, 1024]
    assert model.to_code.in_features == 1024
    assert model.decoder[0].out_features == 1024 * 4 * 4
    assert model.decode(torch.zeros(2, 16)).shape == (2, 1, 28, 28)
    with pytest.raises(LatentbenchError, match=r"'book' is for images of 28 by 28 pixels, got 32 by 32"):
        build((3, 32, 32), family="vae", latent_dim=16, backbone="book")
