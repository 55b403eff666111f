"""PCA agrees with scikit-learn, losses with hand-computed values, and shapes fit at every image size."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA as SklearnPCA

from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData, Split
from latentbench.models import zoo
from latentbench.models.families.autoencoders import pca as pca_module
from latentbench.models.training.contrastive import multi_positive_cross_entropy
from latentbench.models.training.engine import Step
from latentbench.models.training.objectives import kl_standard_normal
from latentbench.models.training.recipe import Recipe
from latentbench.models.zoo import FAMILIES, Training, model_spec

CPU = torch.device("cpu")


def build(image_shape=(1, 28, 28), **spec):
    torch.manual_seed(0)
    return FAMILIES[spec["family"]].build(model_spec(**spec), image_shape)


def terms_of(model, x, seed=0):
    """The objective's terms on float images `x`, and the draws behind them."""
    noise = torch.Generator().manual_seed(seed)
    draws = {name: draw.sample(noise) for name, draw in model.draws(len(x)).items()}
    step = Step((torch.empty(0),), draws, progress=torch.tensor(1.0), examples=1000)
    return model.loss(x, step), draws


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


@pytest.mark.parametrize("beta", [0.0, 0.5, 4.0])
def test_vae_loss_is_reconstruction_plus_beta_times_kl(beta):
    model = build(family="vae", latent_dim=3, beta=beta)
    x = torch.rand(5, 1, 28, 28)
    terms, draws = terms_of(model, x)
    posterior = model.encode(x)
    kl = kl_standard_normal(posterior.mean, posterior.log_var).sum(1).mean()
    assert terms["kl"].item() == pytest.approx(kl.item(), rel=1e-6)
    assert terms["kl_per_dim"].sum().item() == pytest.approx(kl.item(), rel=1e-6)
    z = posterior.mean + draws["code"] * (0.5 * posterior.log_var).exp()
    assert terms["reconstruction"].item() == pytest.approx(
        -model.log_likelihood(x, z).mean().item(), rel=1e-6
    )
    assert terms["loss"].item() == pytest.approx((terms["reconstruction"] + beta * kl).item(), rel=1e-6)


def penalty(kl, progress=1.0, **settings):
    model = build(family="vae", latent_dim=len(kl), **settings)
    return model.kl_penalty(torch.tensor(kl), torch.tensor(progress)).item()


def test_options_of_the_kl_term_by_hand():
    assert penalty([1.0, 3.0], beta=2.0) == pytest.approx(8)
    # Warm-up over half of the training: at a quarter, half of the weight.
    assert penalty([1.0, 3.0], 0.25, kl_warm_up=0.5) == pytest.approx(2)
    assert penalty([1.0, 3.0], 0.75, kl_warm_up=0.5) == pytest.approx(4)
    # Two nats a dimension are free: the first pays for two all the same.
    assert penalty([1.0, 3.0], free_bits=2.0) == pytest.approx(5)
    assert penalty([1.0, 3.0], capacity=10.0, beta=3.0) == pytest.approx(18)
    assert penalty([1.0, 3.0], 0.1, capacity=10.0, kl_warm_up=0.5, beta=3.0) == pytest.approx(6)


def test_optimal_sigma_is_the_root_mean_squared_error():
    """There the Gaussian's negative log-likelihood is ½ D (ln(2π MSE) + 1) on average: Rybkin et al."""
    model = build(family="vae", latent_dim=3, sigma="optimal").train()
    x = torch.rand(16, 1, 28, 28)
    terms, draws = terms_of(model, x)
    posterior = model.encode(x)
    z = posterior.mean + draws["code"] * (0.5 * posterior.log_var).exp()
    mse = (model.decode(z) - x).square().mean().item()
    expected = 784 / 2 * (np.log(2 * np.pi * mse) + 1)
    assert terms["reconstruction"].item() == pytest.approx(expected, rel=1e-5)


def test_optimal_sigma_is_settled_on_the_train_images():
    model = build((1, 12, 12), family="vae", latent_dim=3, sigma="optimal").eval()
    data = noise_data()
    model.finish(data)
    x = data.train.images.float() / 255
    expected = (model.decode(model.encode(x).mean) - x).square().mean().sqrt().item()
    assert model.sigma.item() == pytest.approx(expected, rel=1e-5)
    assert "sigma" in model.state_dict()


def test_a_learned_sigma_finds_the_error():
    """The likelihood's maximum over σ is the root mean squared error; the parameter moves there."""
    model = build((1, 12, 12), family="vae", latent_dim=3, sigma="learned", beta=0.0)
    data = noise_data()
    recipe = Recipe(epochs=150, batch_size=100, learning_rate=0.02)
    model.fit(data, recipe, seed=0, device=CPU, progress=lambda *_: None)
    x = data.train.images.float() / 255
    error = (model.decode(model.encode(x).rsample()) - x).square().mean().sqrt().item()
    assert model.log_sigma.exp().item() == pytest.approx(error, rel=0.15)


def test_bernoulli_vae_is_trained_on_binary_pixels():
    """Its reconstruction term is finite and a proper negative log-likelihood: never below zero."""
    model = build(family="vae", latent_dim=3, likelihood="bernoulli")
    terms, _ = terms_of(model, torch.rand(64, 1, 28, 28))
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


def test_a_caption_with_several_images_has_them_all_as_positives():
    logits = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 3.0], [9.0, 9.0, 9.0]])
    caption = torch.tensor([0, 0, 1])  # the third caption has no image in this batch
    first = -logits[0].log_softmax(0)[:2].mean()
    second = -logits[1].log_softmax(0)[2]
    assert multi_positive_cross_entropy(logits, caption).item() == pytest.approx(
        ((first + second) / 2).item()
    )


# Codes that are grids


@pytest.mark.parametrize("family", ["ae", "vae"])
def test_a_grid_code_is_learned(family, tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path))
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (256, 1, 2, 2), dtype=torch.uint8, generator=draws)
    images = images.repeat_interleave(8, 2).repeat_interleave(8, 3)
    data = ImageData("blocks", Split(images, None), Split(images[:32], None), ())
    given = model_spec(family=family, latent_dim=3, backbone="conv", hidden=8, code="grid")
    spec = zoo.resolve(given, data)
    assert (spec.code_shape, spec.label.split()[0]) == ((3, 4, 4), f"{family}-3×4×4")
    trained = zoo.train_or_load(Training(spec, Recipe(epochs=40, batch_size=32), 0), data)
    x = images[:32].float() / 255
    with torch.inference_mode():
        codes = trained.model.encode(x)
        error = (trained.model.decode(codes.mean) - x).square().mean()
    assert codes.mean.shape == (32, 3, 4, 4)
    assert error < 0.5 * x.var()
    if family == "vae":
        assert codes.log_var.shape == codes.mean.shape
        assert trained.history.profiles["kl_per_dim"].shape[1] == 3
    (outcome,) = zoo.stacks([Training(spec, Recipe(), 0)], data.image_shape, memory_bytes=1e9)
    assert outcome == [0]


def test_a_grid_needs_a_backbone_that_keeps_one():
    with pytest.raises(LatentbenchError, match=r"code: grid needs backbone conv, got 'mlp'"):
        model_spec(family="vae", latent_dim=4, code="grid")
    with pytest.raises(LatentbenchError, match="code"):
        model_spec(family="dae", latent_dim=4, backbone="conv", code="grid")


def test_a_spec_without_a_grid_is_as_it_was():
    spec = model_spec(family="vae", latent_dim=4, backbone="conv")
    assert {"code", "code_shape"}.isdisjoint(spec.model_dump(exclude_none=True))
