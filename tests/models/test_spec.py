"""Specs: JSON both ways, completion by the family, and refusals that name the key and what is allowed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from latentbench.data.errors import LatentbenchError
from latentbench.models.spec import ModelSpec
from latentbench.models.zoo import complete

specs = st.builds(
    ModelSpec,
    family=st.just("vae"),
    latent_dim=st.integers(1, 512),
    backbone=st.sampled_from([None, "mlp", "conv"]),
    beta=st.none() | st.floats(0, 100),
    likelihood=st.sampled_from([None, "gaussian", "bernoulli"]),
)


@given(specs)
def test_json_both_ways(spec):
    assert ModelSpec.model_validate_json(spec.model_dump_json()) == spec
    assert hash(ModelSpec.model_validate_json(spec.model_dump_json())) == hash(spec)


@given(specs)
def test_completing_twice_changes_nothing(spec):
    assert complete(complete(spec)) == complete(spec)


def test_a_default_spelt_out_is_the_same_model():
    assert complete(ModelSpec(family="vae", latent_dim=4)) == complete(
        ModelSpec(family="vae", latent_dim=4, beta=1.0, backbone="mlp", hidden=512)
    )


@pytest.mark.parametrize("latent_dim", [0, -1, 2.5, "8", None])
def test_a_width_that_is_no_positive_integer_is_refused(latent_dim):
    with pytest.raises(ValidationError, match="latent_dim"):
        ModelSpec(family="ae", latent_dim=latent_dim)


@pytest.mark.parametrize("beta", [-0.1, float("nan"), float("inf")])
def test_a_beta_that_is_negative_or_not_finite_is_refused(beta):
    with pytest.raises(ValidationError, match="beta"):
        ModelSpec(family="vae", latent_dim=2, beta=beta)


def test_unknown_keys_are_refused():
    with pytest.raises(ValidationError, match="latents"):
        ModelSpec(family="vae", latent_dim=2, latents=3)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"family": "vea"}, "unknown family 'vea'; did you mean 'vae'"),
        ({"family": "ae", "beta": 1.0}, "'ae' has no setting 'beta'"),
        ({"family": "pca", "backbone": "mlp"}, "'pca' has no setting 'backbone'"),
        ({"family": "ae", "backbone": "resnet"}, "unknown backbone 'resnet'"),
        ({"family": "vae", "likelihood": "bernoulli", "sigma": 0.1}, "sigma belongs to the gaussian"),
    ],
)
def test_settings_that_would_be_ignored_are_refused(spec, message):
    with pytest.raises(LatentbenchError, match=message):
        complete(ModelSpec(latent_dim=2, **spec))
