"""The log-likelihood ln p(x) of the test images by importance sampling, from thousands of draws.

The ELBO is less than ln p(x) by the KL from q(z | x) to the true posterior. Draws weighted by
p(x, z) / q(z | x) reduce this gap: the bound rises to ln p(x) with their number. Two models can be compared
by it at one number of draws and under one likelihood, even if they were trained on different bounds.

The cost is one decoded image per draw, 50 million for the MNIST test images: eight to ten minutes on one
core for an MLP of two layers of 200, mostly for the decoder's matrix products. So this analysis is opt-in.
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentbench.analysis.core.data_context import batch_size, to_float
from latentbench.analysis.core.metric import Metric, MetricDefinition, Unmeasurable, define
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.rate.likelihood import NO_LIKELIHOOD, NO_RATE, log_likelihood, observed
from latentbench.models.protocols import LikelihoodModel
from latentbench.models.seeds import generator

DRAWS = 5000
"""Draws per image, k, for which published values are given (Burda et al. 2016, arXiv:1509.00519)."""
IMAGES, CHUNK = 10, 100
"""Images at a time and draws of each: 1,000 decoded images fit in a core's cache."""

_BOUND = f"ln p(x) per test image, bounded from below in expectation by {DRAWS:,} importance-weighted draws"

LOG_LIKELIHOOD = {
    "gaussian": define(
        "log_likelihood_gaussian",
        unit="nats",
        better="higher",
        title=f"{_BOUND}, Gaussian likelihood of the spec's σ.",
        heading="ln p (Gaussian)",
        decimals=2,
    ),
    "bernoulli": define(
        "log_likelihood_bernoulli",
        unit="nats",
        better="higher",
        title=f"{_BOUND}, binarised at random, Bernoulli likelihood.",
        heading="ln p (Bernoulli)",
        decimals=2,
    ),
}


@analysis("importance", list(LOG_LIKELIHOOD.values()), opt_in=True)
def importance(subject: Subject) -> Measurement:
    """Measure the importance-weighted log-likelihood of the test images, binarised as for the ELBO."""
    model = subject.model
    if not subject.is_stochastic:
        raise Unmeasurable(NO_RATE)
    if not isinstance(model, LikelihoodModel):
        raise Unmeasurable(NO_LIKELIHOOD)
    values = log_likelihoods(subject, model, DRAWS)
    return Measurement(tuple(_metric(name, metric, model, values) for name, metric in LOG_LIKELIHOOD.items()))


def log_likelihoods(subject: Subject, model: LikelihoodModel, k: int) -> Tensor:
    """Compute `likelihood.log_likelihood` of every test image as `observed`, float64 `[N]`."""
    device = subject.context.device
    pixels = subject.generator("binarise")
    chunk = batch_size((IMAGES, *subject.data.image_shape), largest=CHUNK)
    draws = generator(subject.seed, "measure", "importance", device=device)
    return torch.cat(
        [
            log_likelihood(model, to_float(images).to(device), k, chunk=chunk, generator=draws).cpu()
            for batch in subject.data.test.images.split(IMAGES)
            for images in [observed(model, batch, generator=pixels)]
        ]
    )


def _metric(likelihood: str, metric: MetricDefinition, model: LikelihoodModel, values: Tensor) -> Metric:
    if likelihood != model.likelihood:
        return metric.missing(f"the model's likelihood is {model.likelihood}")
    return metric.mean(values)
