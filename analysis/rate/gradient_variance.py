"""The variance of two estimators of one gradient: the reparametrisation trick and the score function.

A VAE learns its encoder from the gradient of E_q[ln p(x | z)] by the parameters of q, of which one draw gives
an unbiased estimate in two ways. The pathwise one differentiates through the draw, z = μ + σ ε (Kingma &
Welling 2014, arXiv:1312.6114). The score function's, or REINFORCE, uses ln p(x | z) at the draw but not its
slope: it is ln p(x | z) ∇ ln q(z) (Williams 1992, doi:10.1007/BF00992696), and a baseline may be subtracted
from ln p. Both are unbiased; they differ in their variance (Mohamed et al. 2020,
arXiv:1906.10652). The score function's grows with the size of ln p(x | z) itself, which a baseline removes,
and with the number of dimensions of the code, which it does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from latentbench.analysis.core.data_context import batch_size, to_float
from latentbench.analysis.core.metric import Metric, MetricDefinition, Unmeasurable, define
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.rate.likelihood import NO_LIKELIHOOD, observed
from latentbench.analysis.statistics.intervals import standard_error
from latentbench.models.protocols import LikelihoodModel, Posterior
from latentbench.models.seeds import generator

IMAGES, DRAWS = 200, 50
"""Test images, and draws for each: together as many decoded images as MNIST has test images."""
BATCH = 20
"""Images at a time."""
NO_DRAWS = "deterministic code: nothing is drawn"

_OF = "estimate from one draw of ∇ E_q[ln p(x | z)] by q's means and log-variances, summed over them"


def _define(name: str, which: str, heading: str) -> MetricDefinition:
    return define(
        name,
        unit="nats²",
        better="neither",
        title=f"Variance of the {which} {_OF}, mean over test images.",
        heading=heading,
        decimals=2,
    )


VARIANCES = {
    "pathwise": _define("gradient_variance_pathwise", "reparametrised", "∇ var path"),
    "score": _define("gradient_variance_score", "score function's", "∇ var score"),
    "score_baseline": _define(
        "gradient_variance_score_baseline", "score function's (with a baseline)", "∇ var score − baseline"
    ),
}
RATIO = define(
    "gradient_variance_ratio",
    unit="",
    better="neither",
    title="Ratio of the variances of the score function's gradient, without a baseline, and of the "
    "reparametrised one.",
    heading="score/path",
    decimals=1,
)

LogLikelihood = Callable[[Tensor, Tensor], Tensor]
"""ln p(x | z), `[B]`, of images `[B, C, H, W]` under codes `[B, D]`: a model's `log_likelihood`."""


def gradient_estimates(
    log_likelihood: LogLikelihood,
    x: Tensor,
    posterior: Posterior,
    draws: int,
    *,
    generator: Generator | None = None,
) -> dict[str, Tensor]:
    """Estimate ∇ E_q[ln p(x | z)] with respect to q's mean and log-variance, each estimate from one draw.

    `pathwise`, `score` and `score_baseline`, float64 `[draws, B, 2 D]`, nats, all from the same draws. The
    baseline is the mean of ln p(x | z) over the image's other draws, so the estimate stays unbiased. As two
    estimates share draws, they have a covariance of only the squared gradient over (draws − 1)². Raises
    ValueError for a point posterior and below two draws.
    """
    if posterior.log_var is None:
        raise ValueError(NO_DRAWS)
    if draws < 2:
        raise ValueError(f"a variance needs at least 2 draws, got {draws}")
    mean, deviation = posterior.mean, (0.5 * posterior.log_var).exp()
    noise = torch.randn((draws, *mean.shape), generator=generator, device=mean.device, dtype=mean.dtype)
    at_once = batch_size(x.shape, largest=draws)
    parts = [_value_and_slope(log_likelihood, x, z) for z in (mean + noise * deviation).split(at_once)]
    noise, deviation = noise.double().flatten(2), deviation.double().flatten(1)
    slope = torch.cat([slopes for _, slopes in parts]).double().flatten(2)
    value = torch.cat([values for values, _ in parts]).double().unsqueeze(2)
    score = torch.cat([noise / deviation, 0.5 * (noise.square() - 1)], 2)
    others = (value.sum(0) - value) / (draws - 1)
    return {
        "pathwise": torch.cat([slope, 0.5 * slope * noise * deviation], 2),
        "score": value * score,
        "score_baseline": (value - others) * score,
    }


def _value_and_slope(log_likelihood: LogLikelihood, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Compute ln p(x | z), `[draws, B]`, and its gradient with respect to codes `[draws, B, *shape]`."""
    codes = z.flatten(0, 1).detach().requires_grad_()
    with torch.enable_grad():
        values = log_likelihood(x.repeat(len(z), *[1] * (x.ndim - 1)), codes)
        (slopes,) = torch.autograd.grad(values.sum(), codes)
    return values.detach().unflatten(0, z.shape[:2]), slopes.unflatten(0, z.shape[:2])


def gradient_variances(
    log_likelihood: LogLikelihood,
    x: Tensor,
    posterior: Posterior,
    draws: int,
    *,
    generator: Generator | None = None,
) -> dict[str, Tensor]:
    """Trace of the covariance of each of `gradient_estimates` over the draws, nats², float64 `[B]`.

    Unbiased sample variances, summed over the 2 D coordinates. Raises as `gradient_estimates` does.
    """
    estimates = gradient_estimates(log_likelihood, x, posterior, draws, generator=generator)
    return {name: estimate.var(0).sum(1) for name, estimate in estimates.items()}


def ratio_of_means(above: Tensor, below: Tensor) -> tuple[float, float]:
    """mean(above) / mean(below) of paired values `[N]`, N ≥ 2, and its standard error by the delta method.

    The error is s(aᵢ − R bᵢ) / (√N mean(b)): right to first order, where mean(b) is well away from 0.
    """
    ratio = (above.mean() / below.mean()).item()
    error = (above - ratio * below).std() / (math.sqrt(len(above)) * below.mean().abs())
    return ratio, error.item()


@analysis("estimators", [*VARIANCES.values(), RATIO])
def estimators(subject: Subject) -> Measurement:
    """Variances of the gradient's estimators over the first 200 test images, 50 draws of each."""
    model = subject.model
    if not subject.is_stochastic:
        raise Unmeasurable(NO_DRAWS)
    if not isinstance(model, LikelihoodModel):
        raise Unmeasurable(NO_LIKELIHOOD)
    found = _variances(subject, model)
    metrics = [
        metric.measured(found[name].mean().item(), se=standard_error(found[name]), n=len(found[name]))
        for name, metric in VARIANCES.items()
    ]
    return Measurement((*metrics, _ratio(found["score"], found["pathwise"])))


def _variances(subject: Subject, model: LikelihoodModel) -> dict[str, Tensor]:
    """`gradient_variances` of the first test images as the model's likelihood sees them, float64 `[N]`."""
    device = subject.context.device
    images = subject.data.test.images[:IMAGES]
    images = observed(model, images, generator=subject.generator("binarise for gradients"))
    draws = generator(subject.seed, "measure", "estimators", device=device)
    batches = []
    for batch in images.split(BATCH):
        x = to_float(batch).to(device)
        with torch.no_grad():
            posterior = model.encode(x)
        batches.append(gradient_variances(model.log_likelihood, x, posterior, DRAWS, generator=draws))
    return {name: torch.cat([batch[name] for batch in batches]).cpu() for name in VARIANCES}


def _ratio(score: Tensor, pathwise: Tensor) -> Metric:
    if not pathwise.any():
        return RATIO.missing("the reparametrised gradient has no variance", n=len(pathwise))
    if len(pathwise) < 2:
        return RATIO.measured((score / pathwise).item(), n=1)
    value, error = ratio_of_means(score, pathwise)
    return RATIO.measured(value, se=error, n=len(pathwise))
