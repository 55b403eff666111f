"""Rate and likelihood: the cost of the code in nats per image, and the model's probability of the data.

A rate exists only if the code is noisy or discrete: a deterministic code of real numbers carries
unbounded information, so an autoencoder and PCA have none. A likelihood belongs to its observation model, and
values under two observation models are never comparable: so the observation model is part of the
metric's name. 1 nat is 1 / ln 2 = 1.44 bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Generator, Tensor

from latentbench.analysis.core.data_context import batch_size, to_float
from latentbench.analysis.core.metric import Metric, Unmeasurable, define
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.rate.mutual_information import information
from latentbench.analysis.statistics.moments import columns
from latentbench.models.protocols import DiscreteAutoencoder, LikelihoodModel, Posterior
from latentbench.models.seeds import generator
from latentbench.models.training.objectives import kl_standard_normal

ACTIVE_VARIANCE = 0.01
MIXTURE, EVALUATED = 10_000, 1_000
"""Posteriors that make up q(z), and draws at which it is evaluated."""
AGREEMENT = 1.0
"""Nats by which the two estimates of the mutual information may differ."""
NO_RATE = "deterministic code: no rate"
DISCRETE = "discrete code: no density of z"
NO_LIKELIHOOD = "the model states no likelihood"

KL = define(
    "kl",
    unit="nats",
    better="neither",
    title="Rate: KL(q(z | x) ‖ p) per test image, p = N(0, I), or uniform over the codes where they are "
    "discrete.",
    heading="rate",
    headline=True,
    decimals=2,
)
ACTIVE_UNITS = define(
    "active_units",
    unit="dimensions",
    better="neither",
    title="Number of dimensions whose posterior mean has a variance above 0.01 over the test images.",
    heading="active",
    headline=True,
    decimals=0,
)
ELBO = {
    "gaussian": define(
        "elbo_gaussian",
        unit="nats",
        better="higher",
        title="Lower bound of ln p(x) per test image, Gaussian likelihood of the spec's σ.",
        heading="ELBO (Gaussian)",
        decimals=2,
    ),
    "bernoulli": define(
        "elbo_bernoulli",
        unit="nats",
        better="higher",
        title="Lower bound of ln p(x) per test image, images binarised at random, Bernoulli likelihood.",
        heading="ELBO (Bernoulli)",
        decimals=2,
    ),
}
BITS_PER_DIM = {
    "gaussian": define(
        "bits_per_dim_gaussian",
        unit="bits per pixel",
        better="lower",
        title="−ELBO in bits per pixel and channel, of a density over pixels in [0, 1]; may be negative.",
        heading="bits/dim (Gaussian)",
    ),
    "bernoulli": define(
        "bits_per_dim_bernoulli",
        unit="bits per pixel",
        better="lower",
        title="−ELBO in bits per pixel and channel, of images binarised at random.",
        heading="bits/dim (Bernoulli)",
    ),
}
BOUNDS = (*ELBO.values(), *BITS_PER_DIM.values())
MUTUAL_INFORMATION = define(
    "mutual_information",
    unit="nats",
    better="neither",
    title="Mutual information I(x; z) of image and code, from the posteriors of 10,000 train images.",
    heading="I(x; z)",
    decimals=2,
)
AGGREGATE_KL = define(
    "aggregate_kl",
    unit="nats",
    better="lower",
    title="Divergence KL(q(z) ‖ N(0, I)) of all codes together from the prior.",
    heading="aggregate KL",
    decimals=2,
)
OF_MIXTURE = (MUTUAL_INFORMATION, AGGREGATE_KL)


def active_units(mean: Tensor) -> Tensor:
    """Find the dimensions in use: Var over images of E[z_d | x] > 0.01, bool `[D]`.

    `mean` are posterior means `[N, D]`. Burda et al. 2016 (arXiv:1509.00519), section 5.2. The threshold
    presumes the scale of an N(0, I) prior. Raises ValueError below two images, which have no variance.
    """
    if mean.ndim != 2 or len(mean) < 2:
        raise ValueError(f"posterior means must be [N, D] with N ≥ 2, got {list(mean.shape)}")
    blocks = columns(*mean.shape)
    return torch.cat([mean[:, block].double().var(0) for block in blocks]) > ACTIVE_VARIANCE


def uniform_kl(code_sizes: Sequence[int]) -> float:
    """Compute the KL of one certain code to the uniform distribution over all codes: Σ ln size, nats.

    This is the cost of sending a code without using how often it occurs.

    >>> uniform_kl([2, 2, 4]) / math.log(2)
    4.0
    """
    return sum(math.log(size) for size in code_sizes)


def kl_per_dim(mean: Tensor, log_var: Tensor) -> Tensor:
    """Average KL(q(z_d | x) ‖ N(0, 1)) over images for each dimension, nats, float64 `[D]`; non-negative.

    `mean` and `log_var` are `[N, D]`, of the diagonal Gaussian q(z | x) (Kingma & Welling 2014,
    arXiv:1312.6114, appendix B). Raises ValueError for other shapes and below one image.
    """
    if mean.ndim != 2 or mean.shape != log_var.shape or len(mean) == 0:
        shapes = f"{list(mean.shape)} and {list(log_var.shape)}"
        raise ValueError(f"mean and log_var must both be [N, D] with N ≥ 1, got {shapes}")
    blocks = columns(*mean.shape)
    return torch.cat([kl_standard_normal(mean[:, b], log_var[:, b]).double().mean(0) for b in blocks])


@torch.inference_mode()
def elbo(
    model: LikelihoodModel, x: Tensor, posterior: Posterior, *, generator: Generator | None = None
) -> Tensor:
    """Compute ln p(x | z) − KL(q(z | x) ‖ p(z)), one draw z per image, nats, `[B]`.

    `x` is float `[B, C, H, W]` as the model's likelihood sees it (`observed`), `posterior` its encoding.
    The expectation is at most ln p(x). Raises ValueError where q is a point.
    """
    kl = posterior.kl()
    if kl is None:
        raise ValueError(NO_RATE)
    return model.log_likelihood(x, posterior.rsample(generator=generator)) - kl.flatten(1).sum(1)


@torch.inference_mode()
def log_likelihood(
    model: LikelihoodModel, x: Tensor, k: int, *, chunk: int = 100, generator: Generator | None = None
) -> Tensor:
    """Compute the importance-weighted bound ln (1/k) Σ p(x, z_i) / q(z_i | x), nats, float64 `[B]`.

    Burda et al. 2016 (arXiv:1509.00519). It rises to ln p(x) with the number of draws `k`; k = 1 is an
    ELBO. Images `[B, C, H, W]` are encoded once and decoded `chunk` draws at a time: memory is
    O(B · chunk). Raises ValueError for k or chunk below 1, and where q is a point.
    """
    if k < 1 or chunk < 1:
        raise ValueError(f"k and chunk must be at least 1, got k={k}, chunk={chunk}")
    posterior = model.encode(x)
    if posterior.log_var is None:
        raise ValueError(NO_RATE)
    parts = [
        _log_weights(model, x, posterior, min(chunk, k - done), generator).logsumexp(0)
        for done in range(0, k, chunk)
    ]
    return torch.stack(parts).logsumexp(0) - math.log(k)


def _log_weights(
    model: LikelihoodModel, x: Tensor, posterior: Posterior, draws: int, generator: Generator | None
) -> Tensor:
    """Compute ln p(x, z) − ln q(z | x) of `draws` draws per image, float64 `[draws, B]`."""
    repeated = posterior.map(lambda values: values.repeat(draws, *[1] * (values.ndim - 1)))
    assert repeated.log_var is not None
    z = repeated.rsample(generator=generator)
    conditional = model.log_likelihood(x.repeat(draws, 1, 1, 1), z).double()
    # The normalising constants of the prior and of q cancel.
    code = flat(z).double()
    mean, log_var = flat(repeated.mean).double(), flat(repeated.log_var).double()
    prior = -0.5 * code.square().sum(1)
    noise = (code - mean) * (-0.5 * log_var).exp()
    log_q = -0.5 * (noise.square() + log_var).sum(1)
    return (conditional + prior - log_q).reshape(draws, len(x))


def observed(model: LikelihoodModel, images: Tensor, *, generator: Generator | None = None) -> Tensor:
    """Return uint8 images as the model's likelihood sees them: unchanged, or black and white at random.

    The Bernoulli density of grey values is not one: a pixel becomes 255 with its grey value as
    probability, else 0 (Salakhutdinov & Murray 2008, doi:10.1145/1390156.1390266).
    """
    if model.likelihood != "bernoulli":
        return images
    return torch.bernoulli(to_float(images), generator=generator).to(torch.uint8) * 255


@analysis("likelihood", [KL, ACTIVE_UNITS, *BOUNDS, *OF_MIXTURE])
def likelihood(subject: Subject) -> Measurement:
    """Measure rate, active units and the evidence lower bound on the test images.

    Rate and active units are those of the grey images, as every model encodes them for use; the ELBO of
    a Bernoulli model is that of binary images, its own rate included. A discrete code has a rate alone, the
    same for every image.
    """
    if isinstance(subject.model, DiscreteAutoencoder):
        uniform = KL.measured(uniform_kl(subject.model.code_sizes), se=0.0, n=len(subject.data.test))
        return Measurement(
            (uniform, *(metric.missing(DISCRETE) for metric in (ACTIVE_UNITS, *BOUNDS, *OF_MIXTURE)))
        )
    rate = subject.encoded.kl
    posterior = subject.test_codes.map(flat)
    if rate is None or posterior.log_var is None:
        raise Unmeasurable(NO_RATE)
    count = len(posterior.mean)
    arrays = {"kl_per_dim": kl_per_dim(posterior.mean, posterior.log_var).numpy()}
    if count < 2:
        active_metric = ACTIVE_UNITS.missing("one test image has no variance", n=count)
    else:
        active = active_units(posterior.mean)
        active_metric = ACTIVE_UNITS.measured(int(active.sum()), n=count)
        arrays["active"] = active.numpy()
    bounds, examples = _bounds(subject)
    metrics = (KL.mean(rate), active_metric, *bounds, *_of_mixture(subject))
    return Measurement(metrics, arrays, examples)


def _bounds(subject: Subject) -> tuple[list[Metric], dict[str, np.ndarray]]:
    """Return the ELBO and its bits per dimension, null under likelihoods that are not the model's.

    The second result is the ELBO of each image.
    """
    model = subject.model
    if not isinstance(model, LikelihoodModel):
        return [metric.missing(NO_LIKELIHOOD) for metric in BOUNDS], {}
    values = _elbo_of_test_images(subject, model)
    bits = -values / (math.log(2) * math.prod(subject.data.image_shape))
    measured = {
        metric.name: metric.mean(v)
        for metric, v in ((ELBO[model.likelihood], values), (BITS_PER_DIM[model.likelihood], bits))
    }
    other = f"the model's likelihood is {model.likelihood}"
    bounds = [measured.get(metric.name) or metric.missing(other) for metric in BOUNDS]
    return bounds, {ELBO[model.likelihood].name: values.numpy()}


def _of_mixture(subject: Subject) -> list[Metric]:
    """Return mutual information and aggregate KL, null unless their two estimates agree."""
    mixture = subject.train_codes.part(slice(MIXTURE)).map(flat)
    if len(mixture.mean) < 2:
        return [metric.missing("fewer than 2 train images") for metric in OF_MIXTURE]
    found = information(mixture, flat(subject.code_samples[: min(EVALUATED, len(mixture.mean))]))
    # A value that is not finite is no agreement either.
    if not abs(found.disagreement) <= AGREEMENT:
        reason = (
            f"estimates with and without an image's own posterior differ by {found.disagreement:.1f} nats: "
            f"too few images ({len(mixture.mean):,})"
        )
        return [metric.missing(reason, n=len(mixture.mean)) for metric in OF_MIXTURE]
    return [
        metric.mean((estimates[0] + estimates[1]) / 2)
        for metric, estimates in ((MUTUAL_INFORMATION, found.information), (AGGREGATE_KL, found.excess))
    ]


def _elbo_of_test_images(subject: Subject, model: LikelihoodModel) -> Tensor:
    """Compute the ELBO of every test image, float64 `[N]`; only binarised images are encoded again."""
    device, codes = subject.context.device, subject.test_codes
    size, pixels = batch_size(subject.data.image_shape), subject.generator("binarise")
    draws = generator(subject.seed, "measure", "elbo", device=device)
    values = []
    for start in range(0, len(subject.data.test), size):
        stored = subject.data.test.images[start : start + size]
        images = observed(model, stored, generator=pixels)
        kept = images is stored and start + len(images) <= len(codes.mean)
        posterior = codes.part(slice(start, start + size)) if kept else subject.encode(images)
        posterior = posterior.map(lambda values: values.to(device))
        values.append(elbo(model, to_float(images).to(device), posterior, generator=draws))
    return torch.cat(values).double().cpu()


def flat(codes: Tensor) -> Tensor:
    """Return codes `[N, *shape]` as `[N, values]`: the whole code of an image is one vector."""
    return codes.flatten(1)
