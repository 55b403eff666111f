"""Specs: JSON both ways, defaults filled in, and refusals that name the key and what is allowed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from latentbench.data.errors import LatentbenchError
from latentbench.models.family import AnySpec
from latentbench.models.spec import ForeignSpec
from latentbench.models.zoo import FAMILIES, model_spec


class Holder(BaseModel):
    spec: AnySpec


specs = st.builds(
    model_spec,
    family=st.just("vae"),
    latent_dim=st.integers(1, 512),
    backbone=st.sampled_from(["mlp", "conv", "book"]),
    beta=st.floats(0, 100),
    likelihood=st.sampled_from(["gaussian", "bernoulli"]),
)


@given(specs)
def test_json_both_ways(spec):
    again = Holder.model_validate_json(Holder(spec=spec).model_dump_json()).spec
    assert again == spec
    assert type(again) is type(spec)
    assert hash(again) == hash(spec)


@given(specs)
def test_what_is_filled_in_stays_as_it_is(spec):
    assert model_spec(**spec.model_dump()) == spec


def test_a_default_spelt_out_is_the_same_model():
    assert model_spec(family="vae", latent_dim=4) == model_spec(
        family="vae", latent_dim=4, beta=1.0, backbone="mlp", hidden=512, depth=1, sigma=0.5**0.5
    )


@pytest.mark.parametrize("latent_dim", [0, -1, 2.5, "8", None])
def test_a_width_that_is_no_positive_integer_is_refused(latent_dim):
    with pytest.raises(LatentbenchError, match="latent_dim"):
        model_spec(family="ae", latent_dim=latent_dim)


@pytest.mark.parametrize("beta", [-0.1, float("nan"), float("inf")])
def test_a_beta_that_is_negative_or_not_finite_is_refused(beta):
    with pytest.raises(LatentbenchError, match="beta"):
        model_spec(family="vae", latent_dim=2, beta=beta)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"family": "vea"}, "unknown family 'vea'; did you mean 'vae'"),
        ({"family": "vae", "latents": 3}, "unknown key 'latents'; did you mean 'latent_dim'"),
        ({"family": "ae", "beta": 1.0}, "family 'ae': unknown key 'beta'; known: family, latent_dim"),
        ({"family": "pca", "backbone": "mlp"}, "family 'pca': unknown key 'backbone'"),
        ({"family": "ae", "backbone": "resnet"}, "unknown backbone 'resnet'"),
        (
            {"family": "ae", "backbone": "conv", "depth": 2},
            "no setting 'depth' .*allowed: hidden",
        ),
        ({"family": "ae", "backbone": "book", "hidden": 2}, "'book' has no setting 'hidden' .*allowed: none"),
        ({"family": "ae", "activation": "sine"}, "unknown activation 'sine'"),
        ({"family": "vae", "likelihood": "bernoulli", "sigma": 0.1}, "sigma belongs to the gaussian"),
        ({"family": "vae", "sigma": "best"}, "sigma"),
        ({}, "the key 'family' is missing"),
        ({"family": 3}, "family must be a name, got 3"),
    ],
)
def test_settings_that_would_be_ignored_are_refused(spec, message):
    with pytest.raises(LatentbenchError, match=message):
        model_spec(latent_dim=2, **spec)


@pytest.mark.parametrize(
    ("settings", "label"),
    [
        ({"family": "pca"}, "pca-2"),
        ({"family": "vae"}, "vae-2 β=1"),
        ({"family": "vae", "beta": 0.02, "backbone": "conv"}, "vae-2 conv β=0.02"),
        ({"family": "vae", "likelihood": "bernoulli"}, "vae-2 bernoulli β=1"),
        ({"family": "vae", "sigma": 0.1, "free_bits": 0.5}, "vae-2 σ=0.1 β=1 free bits=0.5"),
        ({"family": "ae", "hidden": 64, "depth": 2, "activation": "tanh"}, "ae-2 hidden=64 depth=2 tanh"),
    ],
)
def test_a_label_says_what_sets_a_model_apart(settings, label):
    spec = model_spec(latent_dim=2, **settings)
    assert spec.label == label
    assert spec.series == label.replace("-2", "", 1)


def test_recorded_model_of_a_missing_family_is_shown():
    spec = Holder.model_validate_json('{"spec": {"family": "theirs", "latent_dim": 4, "beta": 2.0}}').spec
    assert isinstance(spec, ForeignSpec)
    assert spec.label == "theirs-4 β=2"
    assert spec.beta == 2.0


@pytest.mark.parametrize("family", list(FAMILIES))
def test_every_family_cites_its_paper_and_says_what_it_is(family):
    # Pixels need no paper.
    learned_nothing = ".baselines." in FAMILIES[family].__module__ or family == "identity"
    assert FAMILIES[family].paper or learned_nothing
    assert (FAMILIES[family].__doc__ or "").strip()
