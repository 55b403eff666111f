"""Rate and likelihood agree with a linear-Gaussian model, where log p(x) has a closed form."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from latentbench.analysis.core.data_context import to_float
from latentbench.analysis.core.registry import ANALYSES
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.rate.likelihood import (
    active_units,
    elbo,
    kl_per_dim,
    likelihood,
    log_likelihood,
    observed,
    uniform_kl,
)
from latentbench.models.protocols import LikelihoodModel, Posterior
from latentbench.models.training.objectives import gaussian_log_likelihood

D, SIDE, SIGMA = 3, 2, 0.3


class LinearGaussian:
    """z ~ N(0, I), x | z ~ N(W z + b, σ² I) with orthogonal columns of W: q can be the exact posterior.

    `widen` multiplies the posterior's standard deviation.
    """

    likelihood = "gaussian"

    def __init__(self, widen=1.0):
        generator = torch.Generator().manual_seed(3)
        basis = torch.linalg.qr(torch.randn(SIDE**2, D, generator=generator, dtype=torch.float64))[0]
        self.weight = basis * torch.tensor([0.5, 1.0, 0.1], dtype=torch.float64)
        self.bias = torch.rand(SIDE**2, generator=generator, dtype=torch.float64)
        self.variance = 1 / (1 + self.weight.square().sum(0) / SIGMA**2)
        self.widen = widen

    def encode(self, x):
        mean = self.variance * ((x.flatten(1) - self.bias) @ self.weight) / SIGMA**2
        return Posterior(mean, (self.variance.log() + 2 * math.log(self.widen)).expand_as(mean))

    def decode(self, z):
        return (z @ self.weight.T + self.bias).reshape(len(z), 1, SIDE, SIDE)

    def log_likelihood(self, x, z):
        return gaussian_log_likelihood(x, self.decode(z), SIGMA)

    def exact(self, x):
        covariance = self.weight @ self.weight.T + SIGMA**2 * torch.eye(SIDE**2, dtype=torch.float64)
        return MultivariateNormal(self.bias, covariance).log_prob(x.flatten(1))

    def gap(self):
        """KL(q ‖ p(z | x)), nats, the same for every x."""
        deviation = self.variance.sqrt()
        return kl_divergence(Normal(0, self.widen * deviation), Normal(0, deviation)).sum().item()


@pytest.fixture
def x(draws):
    return torch.rand(40, 1, SIDE, SIDE, generator=draws, dtype=torch.float64)


@pytest.mark.parametrize(("k", "chunk"), [(1, 1), (7, 3), (20, 100)])
def test_with_the_exact_posterior_every_bound_is_log_p(x, k, chunk, draws):
    model = LinearGaussian()
    torch.testing.assert_close(log_likelihood(model, x, k, chunk=chunk, generator=draws), model.exact(x))


def test_the_kl_to_the_uniform_distribution_by_hand():
    sizes = [3, 5]
    uniform = torch.full((15,), 1 / 15, dtype=torch.float64).log()
    certain = torch.zeros(15, dtype=torch.float64)
    certain[7] = 1.0
    expected = torch.nn.functional.kl_div(uniform, certain, reduction="sum").item()
    assert uniform_kl(sizes) == pytest.approx(expected, rel=1e-12)


def test_elbo_falls_short_by_the_kl_to_the_posterior(x, draws):
    model = LinearGaussian(widen=1.3)
    many = x.repeat(2000, 1, 1, 1)
    bound = elbo(model, many, model.encode(many), generator=draws).reshape(2000, 40).mean(0)
    shortfall = (model.exact(x) - bound).mean().item()
    assert shortfall == pytest.approx(model.gap(), abs=0.02)
    assert model.gap() > 0.15


def test_more_draws_tighten_the_bound_to_log_p(x, draws):
    model = LinearGaussian(widen=1.3)
    bounds = [log_likelihood(model, x, k, chunk=500, generator=draws).mean() for k in (1, 5, 5000)]
    exact = model.exact(x).mean()
    assert bounds[0] < bounds[1] < bounds[2]
    assert bounds[2].item() == pytest.approx(exact.item(), abs=0.01)


def test_one_importance_sample_is_the_elbo_in_expectation(vae, draws):
    images = to_float(vae.data.test.images[:50])
    single = torch.stack([log_likelihood(vae.model, images, 1, generator=draws) for _ in range(200)])
    posterior = vae.model.encode(images)
    bound = torch.stack([elbo(vae.model, images, posterior, generator=draws) for _ in range(200)])
    error = math.hypot(single.mean(1).std().item(), bound.mean(1).std().item()) / math.sqrt(200)
    assert single.mean().item() == pytest.approx(bound.double().mean().item(), abs=4 * error)


def test_active_units_by_hand():
    mean = torch.tensor([[0.0, 1.0, 0.1], [0.1, 1.0, 0.3]])  # variances 0.005, 0, 0.02
    assert active_units(mean).tolist() == [False, False, True]
    with pytest.raises(ValueError, match=r"N ≥ 2, got \[1, 3\]"):
        active_units(mean[:1])


@given(st.integers(1, 20), st.integers(1, 6), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_kl_per_dim_is_torchs_and_not_negative(n, d, seed):
    generator = torch.Generator().manual_seed(seed)
    mean, log_var = torch.randn(2, n, d, generator=generator, dtype=torch.float64)
    q, p = Normal(mean, (0.5 * log_var).exp()), Normal(0.0, 1.0)
    found = kl_per_dim(mean, log_var)
    torch.testing.assert_close(found, kl_divergence(q, p).mean(0))
    assert (found >= 0).all()


def test_a_code_equal_to_the_prior_costs_nothing():
    assert kl_per_dim(torch.zeros(5, 2), torch.zeros(5, 2)).tolist() == [0, 0]


def test_grey_value_is_the_probability_of_a_white_pixel(subject_of, draws):
    model = subject_of("vae", 4, hidden=64, likelihood="bernoulli").model
    grey = torch.full((50, 1, 20, 20), 64, dtype=torch.uint8)
    drawn = observed(model, grey, generator=draws)
    assert set(drawn.unique().tolist()) == {0, 255}
    assert (drawn == 255).double().mean().item() == pytest.approx(64 / 255, abs=0.01)


@pytest.mark.parametrize("k", [(0, 1), (1, 0)])
def test_impossible_requests_are_refused(x, k):
    with pytest.raises(ValueError, match=f"k={k[0]}, chunk={k[1]}"):
        log_likelihood(LinearGaussian(), x, k[0], chunk=k[1])


def test_a_point_posterior_has_no_bound(x):
    class Point(LinearGaussian):
        def encode(self, x):
            return Posterior(super().encode(x).mean)

    with pytest.raises(ValueError, match="no rate"):
        log_likelihood(Point(), x, 1)
    with pytest.raises(ValueError, match="no rate"):
        elbo(Point(), x, Point().encode(x))


def test_kl_per_dim_needs_two_equal_shapes():
    with pytest.raises(ValueError, match=r"got \[3, 2\] and \[3, 1\]"):
        kl_per_dim(torch.zeros(3, 2), torch.zeros(3, 1))


# The analysis


def by_name(measurement):
    return {metric.name: metric for metric in measurement.metrics}


def test_analysis_of_a_gaussian_vae(vae):
    measurement = likelihood(vae)
    found = by_name(measurement)
    assert list(found) == [definition.name for definition in ANALYSES["likelihood"].metrics]
    assert isinstance(vae.model, LikelihoodModel)
    assert measurement.arrays["kl_per_dim"].shape == (4,)
    assert found["kl"].value == pytest.approx(measurement.arrays["kl_per_dim"].sum(), rel=1e-6)
    assert found["kl"].value > 1
    assert found["active_units"].value == measurement.arrays["active"].sum()
    images = to_float(vae.data.test.images)
    tighter = log_likelihood(vae.model, images, 50, generator=torch.Generator().manual_seed(0))
    assert found["elbo_gaussian"].value < tighter.mean().item()
    assert found["elbo_gaussian"].value == pytest.approx(tighter.mean().item(), abs=5)
    bits = -found["elbo_gaussian"].value / (784 * math.log(2))
    assert found["bits_per_dim_gaussian"].value == pytest.approx(bits)
    assert found["elbo_bernoulli"].value is None
    assert found["elbo_bernoulli"].reason == "the model's likelihood is gaussian"
    assert likelihood(vae).metrics == measurement.metrics


def test_analysis_of_a_bernoulli_vae(subject_of):
    found = by_name(likelihood(subject_of("vae", 4, hidden=64, likelihood="bernoulli")))
    assert -300 < found["elbo_bernoulli"].value < -100
    assert found["elbo_bernoulli"].se < 5
    assert found["bits_per_dim_bernoulli"].value == pytest.approx(
        -found["elbo_bernoulli"].value / (784 * math.log(2))
    )
    assert found["elbo_gaussian"].value is None


def test_a_deterministic_code_has_no_rate(pca):
    metrics = likelihood(pca).metrics
    assert {metric.value for metric in metrics} == {None}
    assert {metric.reason for metric in metrics} == {"deterministic code: no rate"}


def test_a_model_that_states_no_likelihood_has_a_rate_only(vae, context):
    class Silent:
        encode = staticmethod(vae.model.encode)
        decode = staticmethod(vae.model.decode)

    found = by_name(likelihood(Subject(Silent(), context, seed=0)))
    assert found["kl"].value == by_name(likelihood(vae))["kl"].value
    assert found["elbo_gaussian"].reason == "the model states no likelihood"
