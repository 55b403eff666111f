"""The families: PCA against scikit-learn, the losses against hand-made values, shapes at every size."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA as SklearnPCA

from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData, Split
from latentbench.models.families import pca as pca_module
from latentbench.models.families.clip import multi_positive_cross_entropy
from latentbench.models.objectives import kl_standard_normal
from latentbench.models.recipe import Recipe
from latentbench.models.spec import ModelSpec
from latentbench.models.zoo import FAMILIES, complete

CPU = torch.device("cpu")


def build(image_shape=(1, 28, 28), **spec):
    torch.manual_seed(0)
    completed = complete(ModelSpec(**spec))
    return FAMILIES[completed.family].build(completed, image_shape)


def noise_data(count=300, shape=(1, 12, 12), rank=20):
    """Images of known low rank, so that the leading components are well apart."""
    generator = torch.Generator().manual_seed(0)
    channels, side, _ = shape
    scores = torch.randn(count, rank, generator=generator) * torch.linspace(3, 0.5, rank)
    pixels = scores @ torch.randn(rank, channels * side * side, generator=generator)
    images = (128 + 8 * pixels).clamp(0, 255).to(torch.uint8).view(count, *shape)
    return ImageData("noise", Split(images, None), Split(images[:10], None), ())


def fit_pca(data, latent_dim):
    model = build(data.image_shape, family="pca", latent_dim=latent_dim)
    model.fit(data, Recipe(), seed=0, device=CPU, progress=lambda *_: None)
    return model


def test_pca_equals_scikit_learn():
    data = noise_data()
    model = fit_pca(data, 6)
    x = data.train.images.float() / 255
    reference = SklearnPCA(6, svd_solver="full").fit(x.flatten(1).double().numpy())
    codes = model.encode(x).mean.numpy()
    expected = reference.transform(x.flatten(1).numpy())
    # An eigenvector's sign is arbitrary.
    assert np.abs(codes) == pytest.approx(np.abs(expected), abs=1e-3)
    error = (model.decode(model.encode(x).mean) - x).square().mean().item()
    rebuilt = np.clip(reference.inverse_transform(expected), 0, 1)
    assert error == pytest.approx(np.square(rebuilt - x.flatten(1).numpy()).mean(), rel=1e-4)


def test_pca_by_subspace_iteration_equals_the_exact_one(monkeypatch):
    data = noise_data()
    exact = fit_pca(data, 4)
    monkeypatch.setattr(pca_module, "EXACT_PIXELS", 10)
    streamed = fit_pca(data, 4)
    assert torch.allclose(exact.components, streamed.components, atol=1e-4)


def test_pca_refuses_more_components_than_pixels():
    with pytest.raises(LatentbenchError, match="must be ≤ 64"):
        build((1, 8, 8), family="pca", latent_dim=65)


def test_ae_loss_is_the_summed_squared_error():
    model = build(family="ae", latent_dim=3)
    x = torch.rand(5, 1, 28, 28)
    expected = (model.decode(model.encode(x).mean) - x).square().sum(dim=(1, 2, 3)).mean()
    assert model.loss(x, torch.Generator())["loss"].item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("beta", [0.0, 0.5, 4.0])
def test_vae_loss_is_reconstruction_plus_beta_times_kl(beta):
    model = build(family="vae", latent_dim=3, beta=beta)
    x = torch.rand(5, 1, 28, 28)
    terms = model.loss(x, torch.Generator().manual_seed(1))
    posterior = model.encode(x)
    kl = kl_standard_normal(posterior.mean, posterior.log_var).sum(1).mean()
    z = posterior.rsample(generator=torch.Generator().manual_seed(1))
    assert terms["kl"].item() == pytest.approx(kl.item(), rel=1e-6)
    assert terms["reconstruction"].item() == pytest.approx(
        -model.log_likelihood(x, z).mean().item(), rel=1e-6
    )
    assert terms["loss"].item() == pytest.approx((terms["reconstruction"] + beta * kl).item(), rel=1e-6)


def test_bernoulli_vae_is_trained_on_binary_pixels():
    """Its reconstruction term is finite and a proper negative log-likelihood: never below zero."""
    model = build(family="vae", latent_dim=3, likelihood="bernoulli")
    terms = model.loss(torch.rand(64, 1, 28, 28), torch.Generator().manual_seed(0))
    # An untrained decoder gives each pixel about half: 784 ln 2 nats.
    assert terms["reconstruction"].item() == pytest.approx(784 * np.log(2), rel=0.05)


def test_posterior_samples_have_the_posterior_moments():
    model = build(family="vae", latent_dim=2)
    posterior = model.encode(torch.rand(1, 1, 28, 28).expand(40_000, -1, -1, -1))
    z = posterior.rsample(generator=torch.Generator().manual_seed(0)).detach()
    sd = (0.5 * posterior.log_var[0]).exp()
    assert torch.allclose(z.mean(0), posterior.mean[0], atol=0.03)
    assert torch.allclose(z.std(0), sd, rtol=0.03)


@settings(max_examples=25, deadline=None)
@given(
    family=st.sampled_from(["ae", "vae"]),
    backbone=st.sampled_from(["mlp", "conv"]),
    side=st.integers(8, 128),
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


def test_a_caption_with_several_images_has_them_all_as_positives():
    logits = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 3.0], [9.0, 9.0, 9.0]])
    caption = torch.tensor([0, 0, 1])  # the third caption has no image in this batch
    first = -logits[0].log_softmax(0)[:2].mean()
    second = -logits[1].log_softmax(0)[2]
    assert multi_positive_cross_entropy(logits, caption).item() == pytest.approx(
        ((first + second) / 2).item()
    )
