"""The importance-weighted log-likelihood is exact where q is exact, and above the ELBO elsewhere."""

import math

import pytest
import torch
from torch.distributions import Normal

from latentbench.analysis.core.data_context import DataContext, to_float
from latentbench.analysis.core.registry import ANALYSES
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.rate import importance_sampling as module
from latentbench.analysis.rate.importance_sampling import importance
from latentbench.analysis.rate.likelihood import likelihood, log_likelihood, observed
from latentbench.analysis.statistics.intervals import standard_error
from latentbench.data.images import ImageData, Split
from latentbench.models.protocols import Posterior
from latentbench.models.training.objectives import gaussian_log_likelihood

VARIANCE = 0.09
FEW = 40


class Noisy:
    """z ~ N(0, I), x | z ~ N(z, σ² I): ln p(x) is that of N(0, (1 + σ²) I), and q the exact posterior."""

    likelihood = "gaussian"

    def encode(self, x):
        mean = x.flatten(1) / (1 + VARIANCE)
        return Posterior(mean, torch.full_like(mean, math.log(VARIANCE / (1 + VARIANCE))))

    def decode(self, z):
        return z.reshape(len(z), 1, 8, 8)

    def log_likelihood(self, x, z):
        return gaussian_log_likelihood(x, self.decode(z), VARIANCE**0.5)


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(module, "DRAWS", FEW)


def by_name(measurement):
    return {metric.name: metric for metric in measurement.metrics}


def test_it_is_exact_where_the_posterior_is(few, draws):
    images = torch.randint(0, 256, (2 * module.IMAGES + 3, 1, 8, 8), dtype=torch.uint8, generator=draws)
    split = Split(images, None)
    subject = Subject(Noisy(), DataContext(ImageData("noise", split, split, ())), seed=0)
    exact = Normal(0, (1 + VARIANCE) ** 0.5).log_prob(to_float(images)).flatten(1).sum(1)
    found = by_name(importance(subject))["log_likelihood_gaussian"]
    assert found.value == pytest.approx(exact.mean().item(), abs=1e-4)
    assert found.se == pytest.approx(standard_error(exact), rel=1e-4)
    assert found.n == len(images)


@pytest.mark.parametrize("kind", ["gaussian", "bernoulli"])
def test_the_bound_of_a_vae_is_above_its_elbo(few, vae, subject_of, kind, draws):
    subject = vae if kind == "gaussian" else subject_of("vae", 4, hidden=64, likelihood="bernoulli")
    found = by_name(importance(subject))
    assert list(found) == [definition.name for definition in ANALYSES["importance"].metrics]
    measured, other = found.pop(f"log_likelihood_{kind}"), *found.values()
    elbo = by_name(likelihood(subject))[f"elbo_{kind}"]
    assert elbo.value + 0.2 < measured.value < elbo.value + 10
    assert measured.n == 500
    assert other.value is None
    assert other.reason == f"the model's likelihood is {kind}"
    images = observed(subject.model, subject.data.test.images, generator=subject.generator("binarise"))
    again = log_likelihood(subject.model, to_float(images), FEW, generator=draws)
    assert measured.value == pytest.approx(again.mean().item(), abs=0.3)
    assert measured.se == pytest.approx(standard_error(again), rel=0.05)


def test_the_same_seed_gives_the_same_number(few, vae):
    again = Subject(vae.model, vae.context, seed=vae.seed)
    assert importance(again).metrics == importance(vae).metrics


def test_models_without_a_bound_say_why(pca, vae, context):
    class Silent:
        encode = staticmethod(vae.model.encode)
        decode = staticmethod(vae.model.decode)

    assert {metric.reason for metric in importance(pca).metrics} == {"deterministic code: no rate"}
    silent = importance(Subject(Silent(), context, seed=0)).metrics
    assert {metric.reason for metric in silent} == {"the model states no likelihood"}
    assert {metric.value for metric in silent} == {None}
