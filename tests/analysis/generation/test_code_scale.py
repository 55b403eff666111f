"""The scale of a plain autoencoder's code is arbitrary, so no metric that a claim uses may depend on it."""

import math

import pytest

from latentbench.analysis.catalogue import ANALYSES
from latentbench.analysis.core.subject import Subject
from latentbench.bench.present.claims.statements import CLAIMS
from latentbench.models.protocols import Posterior

NAMES = sorted({term.metric for claim in CLAIMS for term in claim.terms if term.model.startswith("ae-")})


class Rescaled:
    """The same autoencoder with each dimension of its code divided by a different number."""

    def __init__(self, model, scale):
        self.model, self.scale = model, scale

    def encode(self, x):
        return Posterior(self.model.encode(x).mean / self.scale)

    def decode(self, z):
        return self.model.decode(z * self.scale)


@pytest.fixture(scope="module")
def both(ae, context):
    """Every metric that a claim uses of an autoencoder: as trained, and with the code over its sd."""
    scale = ae.code_samples.std(0)
    assert ((scale > 1.5) | (scale < 0.7)).any()
    rescaled = Subject(Rescaled(ae.model, scale), context, seed=0)
    wanted = [analysis for _, analysis in ANALYSES.items() if {m.name for m in analysis.metrics} & set(NAMES)]
    return [
        {metric.name: metric for analysis in wanted for metric in analysis.measure(subject).metrics}
        for subject in (ae, rescaled)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_metrics_of_claims_ignore_the_scale_of_a_code(both, name):
    as_trained, rescaled = (metrics[name] for metrics in both)
    assert as_trained.value is not None
    error = math.hypot(as_trained.se or 0.0, rescaled.se or 0.0)
    assert rescaled.value == pytest.approx(as_trained.value, abs=max(2 * error, 1e-3), rel=0.02)


def test_samples_of_a_prior_need_a_code_that_follows_it(both):
    for metrics in both:
        prior = {name: metric for name, metric in metrics.items() if name.endswith("_prior")}
        assert "frechet_prior" in prior
        assert all(metric.value is None and metric.reason for metric in prior.values())
