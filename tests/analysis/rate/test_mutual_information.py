"""Mutual information and aggregate KL agree with closed forms, and are null where N is too small."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from latentbench.analysis.rate import mutual_information
from latentbench.analysis.rate.likelihood import likelihood
from latentbench.analysis.rate.mutual_information import information
from latentbench.models.protocols import Posterior


def channel(n, d, sigma, seed=0):
    """z = x + σ ε with x ~ N(0, I): I = D/2 ln(1 + 1/σ²), and q(z) = N(0, 1 + σ²)."""
    draws = torch.Generator().manual_seed(seed)
    mean = torch.randn(n, d, generator=draws)
    posterior = Posterior(mean, torch.full_like(mean, 2 * math.log(sigma)))
    return posterior, posterior.rsample(generator=draws)


@pytest.mark.parametrize(("d", "sigma"), [(1, 1.0), (2, 0.3), (2, 1.0), (8, 1.0)])
def test_a_gaussian_channel_is_closed_form(d, sigma):
    posterior, codes = channel(10_000, d, sigma)
    found = information(posterior, codes[:2000])
    exact = d / 2 * math.log(1 + 1 / sigma**2)
    excess = d / 2 * (sigma**2 - math.log(1 + sigma**2))
    assert found.disagreement < 1
    assert (sum(found.information) / 2).mean().item() == pytest.approx(exact, abs=0.1)
    assert (sum(found.excess) / 2).mean().item() == pytest.approx(excess, abs=0.2)
    inside, outside = (values.mean().item() for values in found.information)
    assert inside - 0.08 < exact < outside + 0.08


def test_blocks_of_images_give_the_same_densities(monkeypatch):
    posterior, codes = channel(300, 10, 0.5)
    whole = information(posterior, codes[:100])
    monkeypatch.setattr(mutual_information, "AT_ONCE", 70 * 10)
    monkeypatch.setattr(mutual_information, "CHUNK", 30)
    parts = information(posterior, codes[:100])
    for one, other in zip(whole.information + whole.excess, parts.information + parts.excess, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_more_information_than_images_can_show_is_not_agreed_on():
    posterior, codes = channel(200, 16, 0.1)
    found = information(posterior, codes)
    assert found.information[0].mean().item() == pytest.approx(math.log(200), abs=0.01)
    assert found.disagreement > 10


@given(n=st.integers(2, 30), d=st.integers(1, 4), seed=st.integers(0, 2**31), data=st.data())
@settings(max_examples=40, deadline=None)
def test_the_mixture_is_torchs(n, d, seed, data):
    m = data.draw(st.integers(1, n))
    draws = torch.Generator().manual_seed(seed)
    mean, log_var = torch.randn(2, n, d, generator=draws, dtype=torch.float64)
    codes = torch.randn(m, d, generator=draws, dtype=torch.float64)
    components = Independent(Normal(mean, (0.5 * log_var).exp()), 1)
    found = information(Posterior(mean, log_var), codes)
    mixture = MixtureSameFamily(Categorical(torch.ones(n)), components).log_prob(codes)
    own = components.log_prob(codes[:, None])[torch.arange(m), torch.arange(m)]
    torch.testing.assert_close(found.information[0], own - mixture, rtol=1e-7, atol=1e-7)
    prior = Independent(Normal(torch.zeros(d).double(), 1.0), 1).log_prob(codes)
    torch.testing.assert_close(found.excess[0], mixture - prior, rtol=1e-7, atol=1e-7)
    assert (found.information[0] <= math.log(n) + 1e-9).all()


def test_without_information_both_are_nothing():
    posterior = Posterior(torch.zeros(500, 3), torch.zeros(500, 3))
    found = information(posterior, posterior.rsample())
    assert all(values.abs().max() < 1e-9 for values in (*found.information, *found.excess))


def test_impossible_requests_are_refused():
    with pytest.raises(ValueError, match="deterministic code"):
        information(Posterior(torch.zeros(5, 2)), torch.zeros(5, 2))
    with pytest.raises(ValueError, match="6 codes of 5 images"):
        information(Posterior(torch.zeros(5, 2), torch.zeros(5, 2)), torch.zeros(6, 2))


def test_rate_is_information_and_aggregate_kl_together(subject_of):
    """A VAE of one dimension is used, whose information 3,000 images can show."""
    found = {metric.name: metric for metric in likelihood(subject_of("vae", 1, hidden=64)).metrics}
    together = found["mutual_information"].value + found["aggregate_kl"].value
    assert together == pytest.approx(found["kl"].value, abs=0.5)
    assert found["mutual_information"].se > 0


def test_a_wide_code_gives_no_number_but_a_reason(subject_of):
    found = {m.name: m for m in likelihood(subject_of("vae", 16, hidden=64, beta=1e-4)).metrics}
    for name in ("mutual_information", "aggregate_kl"):
        assert found[name].value is None
        assert "too few images (3,000)" in found[name].reason
