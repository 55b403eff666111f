"""The importance-weighted bound agrees with torch.distributions."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shared.families import (
    images,
    latent,
    prior,
    small,
    step_for,
    values,
)
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from latentbench.models.training.engine import TrainingStep


def reference_log_weights(model, x, noise, observed):
    """ln w and ln p(x | z), lists of one `[B]` a code, from torch's distributions."""
    log_weights, log_likelihoods = [], []
    for each in noise:
        q, z = latent(model, x, each)
        if model.likelihood == "bernoulli":
            likelihood = Bernoulli(model.decode(z))
        else:
            likelihood = Normal(model.decode(z), model.spec.sigma)
        log_likelihoods.append(Independent(likelihood, 3).log_prob(observed))
        log_weights.append(log_likelihoods[-1] + prior(z.shape[1]).log_prob(z) - q.log_prob(z))
    return log_weights, log_likelihoods


@pytest.mark.parametrize("likelihood", [{"likelihood": "bernoulli"}, {"sigma": 0.4}])
def test_iwae_loss_against_torch_distributions(likelihood):
    model, x = small(family="iwae", latent_dim=3, k=4, **likelihood), images()
    step = step_for(model, len(x))
    # A Bernoulli model sees black and white, in the encoder too.
    observed = (x > step.draws["pixels"]).float() if "likelihood" in likelihood else x
    log_weights, log_likelihoods = reference_log_weights(model, observed, step.draws["code"], observed)
    bound = 0.0
    for image in range(len(x)):
        logs = [each[image].item() for each in log_weights]
        bound += max(logs) + math.log(sum(math.exp(log - max(logs)) for log in logs) / 4)
    q, _ = latent(model, observed, step.draws["code"][0])
    kl = kl_divergence(q.base_dist, Normal(0.0, 1.0)).mean(0)
    terms = model.loss(x, step)
    assert terms["kl_per_dim"].tolist() == pytest.approx(kl.tolist(), rel=1e-5)
    assert values(terms) == {
        "loss": pytest.approx(-bound / len(x), rel=1e-5),
        "reconstruction": pytest.approx(-torch.stack(log_likelihoods).mean().item(), rel=1e-5),
        "kl": pytest.approx(kl.sum().item(), rel=1e-5),
    }


def test_iwae_with_one_code_is_a_vae_whose_kl_is_sampled():
    x = images()
    model, vae = (
        small(family=family, latent_dim=3, **own) for family, own in (("iwae", {"k": 1}), ("vae", {}))
    )
    step = step_for(model, len(x))
    q, z = latent(model, x, step.draws["code"][0])
    terms = values(model.loss(x, step))
    like_vae = TrainingStep(step.rows, {"code": step.draws["code"][0]}, step.progress, step.examples)
    expected = values(vae.loss(x, like_vae))
    assert terms["reconstruction"] == pytest.approx(expected["reconstruction"], rel=1e-6)
    assert terms["kl"] == pytest.approx(expected["kl"], rel=1e-6)
    sampled_kl = (q.log_prob(z) - prior(3).log_prob(z)).mean().item()
    assert terms["loss"] == pytest.approx(expected["reconstruction"] + sampled_kl, rel=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), sizes=st.sampled_from([(1, 16), (1, 2), (2, 4), (4, 16), (8, 16)]))
def test_the_bound_rises_with_the_codes_behind_it(seed, sizes):
    """ln of a mean is at least the mean of ln: of the same draws, and so of the expectations too."""
    few, many = sizes
    x = images(4, seed=seed)
    one = small(family="iwae", latent_dim=3, k=many, sigma=0.2)
    step = step_for(one, len(x), seed)
    bound = -one.loss(x, step)["loss"].item()
    one.k = few
    bounds = [
        -one.loss(x, TrainingStep(step.rows, {"code": codes}, step.progress, step.examples))["loss"].item()
        for codes in step.draws["code"].split(few)
    ]
    assert bound > sum(bounds) / len(bounds)


def test_with_many_codes_the_bound_is_the_likelihood():
    """A decoder that ignores its code knows ln p(x) in closed form; one code falls short of it by the KL."""
    x = images(3)
    short = {}
    for k in (1, 4000):
        model = small(family="iwae", latent_dim=2, k=k)
        with torch.no_grad():
            model.decoder[0].weight.zero_()
            model.to_code.bias.copy_(torch.tensor([0.8, 0.3, -0.8, 0.3]))  # mean, ln variance, twice
            model.to_code.weight.mul_(0.1)
            evidence = (
                Independent(Normal(model.decode(torch.zeros(3, 2)), 0.5**0.5), 3).log_prob(x).mean().item()
            )
            losses = [values(model.loss(x, step_for(model, 3, seed))) for seed in range(4000 // k)]
        short[k] = sum(terms["loss"] for terms in losses) / len(losses) + evidence
        kl = losses[0]["kl"]
    assert kl > 0.5
    assert short[1] == pytest.approx(kl, abs=0.05)
    assert short[4000] == pytest.approx(0, abs=0.05)
