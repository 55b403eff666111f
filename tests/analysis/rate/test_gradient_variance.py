"""Variances of gradient estimators agree with hand-computed Gaussian moments; and on real VAEs."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentbench.analysis.core.data_context import to_float
from latentbench.analysis.core.registry import ANALYSES
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.rate.gradient_variance import (
    DRAWS,
    estimators,
    gradient_estimates,
    gradient_variances,
    ratio_of_means,
)
from latentbench.analysis.rate.likelihood import observed
from latentbench.models.protocols import Posterior

MANY = 400_000
TOLERANCE = 0.04
"""The error of a variance of so many draws: four standard errors of the heaviest tail, that of ε⁴."""

MEAN = torch.tensor([[0.3], [-1.2], [2.0]], dtype=torch.float64)
SIGMA = torch.tensor([[0.8], [1.5], [0.4]], dtype=torch.float64)
POSTERIOR = Posterior(MEAN, 2 * SIGMA.log())
X = torch.zeros(3, 1, 1, 1)

SLOPE, OFFSET, CURVE = 1.7, -2.5, 0.9


def linear(x, z):
    return SLOPE * z.sum(1) + OFFSET


def quadratic(x, z):
    return 0.5 * CURVE * z.square().sum(1)


def variances_of_linear(draws):
    """Compute variances by mean and log-variance, `[3, 1]` each.

    With f = k + a σ ε, k = a μ + c: the score's E[(f ε / σ)²] = (k² + 3 a² σ²) / σ² less a², and
    E[(f (ε² − 1) / 2)²] = (2 k² + 10 a² σ²) / 4 less 0. A baseline leaves a σ (ε − η) of f, where η is
    the mean of the others' ε.
    """
    k, spread, eta = SLOPE * MEAN + OFFSET, SLOPE * SIGMA, 1 / (draws - 1)
    return {
        "pathwise": (torch.zeros(3, 1), spread**2 / 4),
        "score": (k**2 / SIGMA**2 + 2 * SLOPE**2, k**2 / 2 + 10 / 4 * spread**2),
        "score_baseline": (
            SLOPE**2 * (2 + eta) * torch.ones(3, 1),
            spread**2 / 4 * (10 + 2 * eta),
        ),
    }


def variances_of_quadratic():
    """Compute variances by mean and log-variance of f = ½ b (μ + σ ε)²; E ε⁴ = 3, E ε⁶ = 15, E ε⁸ = 105.

    Pathwise: b (μ + σ ε), and ½ b (μ σ ε + σ² ε²). Score: E[f² ε²] / σ² less (b μ)², and E[f² (ε² − 1)²] / 4
    less (½ b σ²)², with E[(ε² − 1)² εⁿ] = 2, 10, 78 for n = 0, 2, 4.
    """
    m, s = MEAN, SIGMA
    return {
        "pathwise": (CURVE**2 * s**2, CURVE**2 / 4 * (m**2 * s**2 + 2 * s**4)),
        "score": (
            CURVE**2 / 4 * (m**4 / s**2 + 14 * m**2 + 15 * s**2),
            CURVE**2 / 16 * (2 * m**4 + 60 * m**2 * s**2 + 74 * s**4),
        ),
    }


@pytest.mark.parametrize(
    ("function", "known"), [(linear, variances_of_linear(MANY)), (quadratic, variances_of_quadratic())]
)
def test_variances_are_those_of_gaussian_moments(function, known, draws):
    estimates = gradient_estimates(function, X, POSTERIOR, MANY, generator=draws)
    for name, (by_mean, by_log_var) in known.items():
        expected = torch.cat([by_mean, by_log_var], 1).double()
        torch.testing.assert_close(estimates[name].var(0), expected, rtol=TOLERANCE, atol=1e-12)


def test_a_baseline_of_few_draws_has_the_expected_noise(draws):
    many = Posterior(MEAN[:1].expand(MANY // 4, 1), 2 * SIGMA[:1].log().expand(MANY // 4, 1))
    found = gradient_variances(linear, X[:1].expand(MANY // 4, 1, 1, 1), many, 4, generator=draws)
    for name, (by_mean, by_log_var) in variances_of_linear(4).items():
        expected = (by_mean + by_log_var)[0].item()
        assert found[name].mean().item() == pytest.approx(expected, rel=TOLERANCE)


def test_every_estimator_is_right_on_average(draws):
    estimates = gradient_estimates(quadratic, X, POSTERIOR, MANY, generator=draws)
    exact = torch.cat([CURVE * MEAN, 0.5 * CURVE * SIGMA**2], 1)
    for estimate in estimates.values():
        error = estimate.std(0) / math.sqrt(MANY)
        assert ((estimate.mean(0) - exact) / error).abs().max() < 4
        assert (exact.abs() / error).min() > 20


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_the_estimators_of_a_vae_agree_on_average(vae, subject_of, likelihood, draws):
    subject = vae if likelihood == "gaussian" else subject_of("vae", 4, hidden=64, likelihood="bernoulli")
    model = subject.model
    x = to_float(observed(model, subject.data.test.images[:5], generator=draws))
    with torch.no_grad():
        posterior = model.encode(x)
    estimates = gradient_estimates(model.log_likelihood, x, posterior, 4000, generator=draws)
    for name in ("score", "score_baseline"):
        differences = estimates[name] - estimates["pathwise"]
        z_scores = differences.mean(0) / (differences.std(0) / math.sqrt(4000))
        assert z_scores.abs().max() < 4
        assert 0.4 < z_scores.square().mean() < 2
    # Which is worth saying only where the gradient stands out of the noise.
    error = estimates["score_baseline"].std(0) / math.sqrt(4000)
    assert (estimates["pathwise"].mean(0) / error).abs().max() > 10


@given(scale=st.floats(0.01, 100), sign=st.sampled_from([-1, 1]), seed=st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_scaling_ln_p_scales_variances_by_the_square(scale, sign, seed):
    generator = lambda: torch.Generator().manual_seed(seed)  # noqa: E731
    function = lambda x, z: linear(x, z) + quadratic(x, z)  # noqa: E731
    plain = gradient_variances(function, X, POSTERIOR, 10, generator=generator())
    scaled = gradient_variances(
        lambda x, z: sign * scale * function(x, z), X, POSTERIOR, 10, generator=generator()
    )
    for name, variance in plain.items():
        torch.testing.assert_close(scaled[name], scale**2 * variance, rtol=1e-9, atol=0)


@given(offset=st.floats(-100, 100), seed=st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_a_constant_in_ln_p_matters_only_without_a_baseline(offset, seed):
    generator = lambda: torch.Generator().manual_seed(seed)  # noqa: E731
    plain = gradient_variances(quadratic, X, POSTERIOR, 10, generator=generator())
    moved = gradient_variances(lambda x, z: quadratic(x, z) + offset, X, POSTERIOR, 10, generator=generator())
    for name in ("pathwise", "score_baseline"):
        torch.testing.assert_close(moved[name], plain[name], rtol=1e-7, atol=0)


def test_traces_add_up_over_dimensions(draws):
    wide = Posterior(MEAN.T, 2 * SIGMA.T.log())
    estimates = gradient_estimates(linear, X[:1], wide, 20, generator=draws.manual_seed(1))
    assert estimates["score"].shape == (20, 1, 6)
    found = gradient_variances(linear, X[:1], wide, 20, generator=draws.manual_seed(1))
    by_hand = estimates["score"][:, 0].numpy().var(axis=0, ddof=1).sum()
    assert found["score"].item() == pytest.approx(by_hand)


def test_impossible_requests_are_refused():
    with pytest.raises(ValueError, match="nothing is drawn"):
        gradient_variances(linear, X, Posterior(MEAN), 5)
    with pytest.raises(ValueError, match="at least 2 draws, got 1"):
        gradient_variances(linear, X, POSTERIOR, 1)


def test_the_error_of_a_ratio_is_its_spread_over_repetitions(draws):
    common, own = torch.rand(2, 1500, 200, generator=draws, dtype=torch.float64)
    found = [ratio_of_means(3 * c + o, c + 0.2) for c, o in zip(common, own, strict=True)]
    values, errors = torch.tensor(found).unbind(1)
    assert values.mean().item() == pytest.approx(2 / 0.7, rel=0.01)
    assert errors.mean().item() == pytest.approx(values.std().item(), rel=0.08)


# The analysis


def by_name(measurement):
    return {metric.name: metric for metric in measurement.metrics}


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_analysis_of_a_vae(vae, subject_of, likelihood):
    subject = vae if likelihood == "gaussian" else subject_of("vae", 4, hidden=64, likelihood="bernoulli")
    measurement = estimators(subject)
    found = by_name(measurement)
    assert list(found) == [definition.name for definition in ANALYSES["estimators"].metrics]
    path, score, baseline = (
        found[f"gradient_variance_{name}"].value for name in ("pathwise", "score", "score_baseline")
    )
    assert path < baseline < score
    assert found["gradient_variance_ratio"].value == pytest.approx(score / path)
    assert {metric.n for metric in measurement.metrics} == {200}
    assert all(0 < metric.se < 0.25 * metric.value for metric in measurement.metrics)
    assert estimators(subject).metrics == measurement.metrics
    images = observed(
        subject.model, subject.data.test.images[:200], generator=torch.Generator().manual_seed(1)
    )
    with torch.no_grad():
        posterior = subject.model.encode(to_float(images))
    again = gradient_variances(
        subject.model.log_likelihood,
        to_float(images),
        posterior,
        DRAWS,
        generator=torch.Generator().manual_seed(1),
    )
    for name, values in again.items():
        metric = found[f"gradient_variance_{name}"]
        assert metric.value == pytest.approx(values.mean().item(), abs=4 * metric.se)


def test_a_decoder_that_ignores_the_code_has_no_ratio(vae, context):
    class Deaf:
        likelihood = "gaussian"
        encode = staticmethod(vae.model.encode)
        decode = staticmethod(vae.model.decode)

        def log_likelihood(self, x, z):
            return 0 * z.sum(1) - 5

    found = by_name(estimators(Subject(Deaf(), context, seed=0)))
    assert found["gradient_variance_pathwise"].value == 0
    assert found["gradient_variance_score"].value > 0
    assert found["gradient_variance_ratio"].value is None
    assert found["gradient_variance_ratio"].reason == "the reparametrised gradient has no variance"


def test_models_without_a_gradient_say_why(pca, vae, context):
    class Silent:
        encode = staticmethod(vae.model.encode)
        decode = staticmethod(vae.model.decode)

    deterministic = estimators(pca).metrics
    assert {metric.reason for metric in deterministic} == {"deterministic code: nothing is drawn"}
    silent = estimators(Subject(Silent(), context, seed=0)).metrics
    assert {metric.reason for metric in silent} == {"the model states no likelihood"}
    assert {metric.value for metric in (*deterministic, *silent)} == {None}
