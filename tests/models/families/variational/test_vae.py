"""The VAE's loss, its likelihoods and its posterior agree with hand-computed values."""

import numpy as np
import pytest
import torch
from shared.families import CPU, build, noise_data, terms_of

from latentbench.models.training.objectives import kl_standard_normal
from latentbench.models.training.recipe import Recipe


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
    # Two nats per dimension are free: the first dimension has only one, and still pays for two.
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
