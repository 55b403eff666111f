"""Denoising autoencoders clean images, and are autoencoders where nothing is corrupted."""

import pytest
import torch
from shared.families import images, small, step_for, summed_squares, trained, values

from latentbench.data.errors import LatentbenchError
from latentbench.models.zoo import model_spec


def test_dae_rebuilds_the_clean_image_from_a_noisy_one():
    model, x = small(family="dae", latent_dim=3, noise=0.4), images()
    step = step_for(model, len(x))
    noisy = x + 0.4 * step.draws["corruption"]
    expected = summed_squares(x, model.decode(model.encode(noisy).mean))
    terms = values(model.loss(x, step))
    assert terms == {
        "loss": pytest.approx(expected, rel=1e-5),
        "reconstruction": pytest.approx(expected, rel=1e-5),
    }


def test_masking_blackens_its_share_of_whole_pixels_and_no_more():
    model = small((3, 32, 32), family="dae", latent_dim=3, corruption="masking", noise=0.3)
    x = images(8, (3, 32, 32)) + 0.1
    step = step_for(model, len(x))
    seen = model.corrupted(x, step)
    black = seen == 0
    assert torch.equal(seen[~black], x[~black])
    assert torch.equal(black.all(1), black.any(1))
    assert black.float().mean().item() == pytest.approx(0.3, abs=0.02)
    expected = summed_squares(x, model.decode(model.encode(seen).mean))
    assert model.loss(x, step)["loss"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("corruption", ["gaussian", "masking"])
def test_dae_without_noise_is_an_autoencoder(corruption):
    x = images()
    plain = small(family="ae", latent_dim=3)
    model = small(family="dae", latent_dim=3, corruption=corruption, noise=0)
    loss = model.loss(x, step_for(model, len(x)))["loss"]
    assert loss.item() == plain.loss(x, step_for(plain, len(x)))["loss"].item()


def test_dae_encodes_images_as_they_are():
    plain, model, x = small(family="ae", latent_dim=3), small(family="dae", latent_dim=3), images()
    assert torch.equal(model.encode(x).mean, plain.encode(x).mean)


def test_a_share_of_pixels_above_one_is_refused():
    with pytest.raises(LatentbenchError, match=r"noise .*at most 1, got 1.5"):
        model_spec(family="dae", latent_dim=2, corruption="masking", noise=1.5)
    assert model_spec(family="dae", latent_dim=2, noise=1.5).noise == 1.5


def test_a_dae_cleans_better_than_an_autoencoder(digits):
    x = digits.test.images.float() / 255
    noisy = x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    errors = {}
    for family in ("ae", "dae"):
        model, _ = trained(digits, family=family, latent_dim=16)
        with torch.no_grad():
            errors[family] = (model.decode(model.encode(noisy).mean) - x).square().mean().item()
    assert errors["dae"] < 0.8 * errors["ae"]
