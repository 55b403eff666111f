"""Baselines learn nothing, encode alone, and depend on the seed only where they should."""

import pytest
import torch

from latentbench.analysis.catalogue import ANALYSES
from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.subject import Subject
from latentbench.data import load
from latentbench.data.errors import LatentbenchError
from latentbench.models.protocols import Autoencoder, Encoder
from latentbench.models.training.recipe import Recipe
from latentbench.models.zoo import Training, model_spec, resolve, takes_seed, train_or_load

BASELINES = ("pixels", "random_projection", "untrained")


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def made(family, data, seed=0, **settings):
    spec = resolve(model_spec(family=family, **settings), data)
    return train_or_load(Training(spec, Recipe(epochs=1), seed), data, use_cache=False).model


def settings_of(family):
    return {} if family == "pixels" else {"latent_dim": 5}


def test_pixels_are_their_own_code(digits):
    model = made("pixels", digits)
    assert model.spec.label == "pixels-64"
    x = digits.test.images[:3].float() / 255
    assert torch.equal(model.encode(x).mean, x.flatten(1))


def test_another_width_of_pixels_is_refused(digits):
    with pytest.raises(LatentbenchError, match=r"must be 64, the number of pixels of digits, .* got 7"):
        resolve(model_spec(family="pixels", latent_dim=7), digits)


def test_a_random_projection_is_linear_and_keeps_distances(digits):
    model = made("random_projection", digits, latent_dim=4000)
    x = torch.rand(20, *digits.image_shape)
    codes = model.encode(x).mean
    assert torch.allclose(model.encode(3 * x).mean, 3 * codes, atol=1e-4)
    ratios = torch.pdist(codes) / torch.pdist(x.flatten(1))
    assert ratios.mean().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("family", BASELINES)
def test_only_random_weights_depend_on_the_seed(family, digits):
    first, again, other = (made(family, digits, seed, **settings_of(family)) for seed in (0, 0, 1))
    x = digits.test.images[:3].float() / 255
    assert torch.equal(first.encode(x).mean, again.encode(x).mean)
    assert torch.equal(first.encode(x).mean, other.encode(x).mean) == (family == "pixels")
    assert takes_seed(first.spec) == (family != "pixels")


@pytest.mark.parametrize("family", BASELINES)
def test_a_baseline_has_probes_and_no_decoder(family, digits):
    model = made(family, digits, **settings_of(family))
    assert isinstance(model, Encoder)
    assert not isinstance(model, Autoencoder)
    subject = Subject(model, DataContext(digits), seed=0)
    probes = {metric.name: metric.value for metric in ANALYSES["probe"].measure(subject).metrics}
    assert probes["probe_linear"] > 0.3
    errors = ANALYSES["reconstruction"].measure(subject).metrics
    assert {metric.name: metric.reason for metric in errors}["mse"] == "no decoder"
