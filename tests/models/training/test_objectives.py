"""The terms of the objectives against torch.distributions and closed forms."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from latentbench.models.training.objectives import (
    bernoulli_log_likelihood,
    gaussian_log_likelihood,
    kl_standard_normal,
)

finite = st.floats(-4, 4)


@given(mean=finite, log_var=finite)
def test_kl_equals_torch_distributions(mean, log_var):
    mean, log_var = torch.tensor([mean]).double(), torch.tensor([log_var]).double()
    expected = kl_divergence(Normal(mean, (0.5 * log_var).exp()), Normal(torch.zeros(1), torch.ones(1)))
    assert kl_standard_normal(mean, log_var).item() == pytest.approx(expected.item(), abs=1e-9)


def test_kl_is_zero_only_at_the_prior():
    assert kl_standard_normal(torch.zeros(1), torch.zeros(1)).item() == 0
    assert kl_standard_normal(torch.tensor([1.0]), torch.zeros(1)).item() == 0.5


@given(sigma=st.floats(0.05, 3))
def test_gaussian_equals_torch_distributions(sigma):
    x, mean = torch.rand(3, 1, 4, 4).double(), torch.rand(3, 1, 4, 4).double()
    expected = Independent(Normal(mean, sigma), 3).log_prob(x)
    assert torch.allclose(gaussian_log_likelihood(x, mean, sigma), expected, rtol=1e-9)


def test_gaussian_of_variance_half_is_summed_squared_error():
    x, mean = torch.rand(5, 1, 8, 8).double(), torch.rand(5, 1, 8, 8).double()
    squared = (x - mean).square().flatten(1).sum(1)
    constant = 64 / 2 * math.log(math.pi)
    assert torch.allclose(-gaussian_log_likelihood(x, mean, 0.5**0.5), squared + constant)


@pytest.mark.parametrize("with_gradient", [False, True])
@given(shape=st.sampled_from([(1, 1, 1), (1, 4, 4), (1, 6, 6), (3, 5, 7)]), spread=st.floats(0, 300))
def test_bernoulli_equals_torch_distributions(with_gradient, shape, spread):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 2, (4, *shape), generator=generator).double()
    logits = torch.randn(4, *shape, generator=generator, dtype=torch.float64) * spread
    logits.flatten(1)[:, 0] = 0
    expected = Independent(Bernoulli(logits=logits), 3).log_prob(x)
    with torch.set_grad_enabled(with_gradient):
        found = bernoulli_log_likelihood(x, logits)
    assert torch.allclose(found, expected, rtol=1e-9)


def test_bernoulli_in_float32_is_exact_for_large_logits():
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 2, (50, 1, 28, 28), generator=generator).float()
    # Every pixel is right but for noise: thousands cancel to a few nats.
    logits = (2 * x - 1) * 100 + 30 * torch.randn(x.shape, generator=generator)
    exact = Independent(Bernoulli(logits=logits.double()), 3).log_prob(x.double())
    with torch.no_grad():
        assert torch.allclose(bernoulli_log_likelihood(x, logits).double(), exact, rtol=1e-5, atol=1e-5)


def test_bernoulli_leaves_what_it_is_given_alone():
    x, logits = torch.ones(2, 1, 4, 4), torch.randn(2, 1, 4, 4)
    before = logits.clone()
    with torch.no_grad():
        bernoulli_log_likelihood(x, logits)
    assert torch.equal(logits, before)
    assert torch.equal(x, torch.ones(2, 1, 4, 4))
