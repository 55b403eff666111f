"""The parts of the KL divergence agree with plain loops and closed forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shared.families import (
    EXAMPLES,
    images,
    latent,
    prior,
    small,
    step_for,
    values,
)
from torch.distributions import Independent, Normal, kl_divergence

from latentbench.models.families.variational.betatc import kl_parts
from latentbench.models.training.engine import TrainingStep


def gaussians(count, dims, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mean, log_var, noise = torch.randn(3, count, dims, generator=generator, dtype=torch.float64)
    return mean + noise * (0.5 * log_var).exp(), mean, log_var


def parts(z, mean, log_var, *, examples=EXAMPLES, in_use=None):
    used = torch.ones(z.shape[1]) if in_use is None else in_use
    return [part.item() for part in kl_parts(z, mean, log_var, examples=examples, in_use=used)]


def reference_parts(z, mean, log_var, examples):
    """Minibatch-weighted sampling, one density at a time."""
    count, dims = z.shape
    density = [[[0.0] * dims for _ in range(count)] for _ in range(count)]
    for i in range(count):
        for j in range(count):
            for d in range(dims):
                sd = math.exp(log_var[j, d].item() / 2)
                gap = (z[i, d].item() - mean[j, d].item()) / sd
                density[i][j][d] = math.exp(-gap * gap / 2) / (sd * math.sqrt(2 * math.pi))
    sums = [0.0, 0.0, 0.0]
    for i in range(count):
        joint = sum(math.prod(density[i][j]) for j in range(count)) / (count * examples)
        product = math.prod(
            sum(density[i][j][d] for j in range(count)) / (count * examples) for d in range(dims)
        )
        p = math.prod(math.exp(-(value**2) / 2) / math.sqrt(2 * math.pi) for value in z[i].tolist())
        sums[0] += math.log(math.prod(density[i][i]) / joint) / count
        sums[1] += math.log(joint / product) / count
        sums[2] += math.log(product / p) / count
    return sums


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000), count=st.integers(1, 6), dims=st.integers(1, 4), examples=st.integers(6, 999)
)
def test_the_parts_of_the_kl_against_plain_loops(seed, count, dims, examples):
    batch = gaussians(count, dims, seed)
    expected = reference_parts(*batch, examples)
    assert parts(*batch, examples=examples) == pytest.approx(expected, rel=1e-5, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), dims=st.integers(1, 6), examples=st.integers(8, 10**6))
def test_parts_add_up_to_the_sampled_kl(seed, dims, examples):
    z, mean, log_var = gaussians(8, dims, seed)
    q = Independent(Normal(mean, (0.5 * log_var).exp()), 1)
    expected = (q.log_prob(z) - prior(dims).log_prob(z)).mean().item()
    assert sum(parts(z, mean, log_var, examples=examples)) == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_a_single_dimension_has_no_total_correlation():
    assert parts(*gaussians(32, 1))[1] == pytest.approx(0, abs=1e-12)


def test_parts_of_a_normal_aggregate_have_closed_forms():
    """Means on a diagonal, N(0, s²), and variance v: two dimensions of correlation s² / (s² + v)."""
    generator = torch.Generator().manual_seed(0)
    on_diagonal = 1.2 * torch.randn(3000, 1, generator=generator, dtype=torch.float64)
    mean, variance = on_diagonal.expand(-1, 2), 0.5
    z = mean + variance**0.5 * torch.randn(3000, 2, generator=generator, dtype=torch.float64)
    total = 1.2**2 + variance
    determinant = total**2 - 1.2**4
    information = math.log(determinant / variance**2) / 2
    correlation = -math.log(determinant / total**2) / 2
    dimension_kl = 2 * (total - 1 - math.log(total)) / 2
    log_n = math.log(EXAMPLES)
    expected = [information + log_n, correlation + log_n, dimension_kl - 2 * log_n]
    log_var = torch.full_like(z, math.log(variance))
    assert parts(z, mean, log_var) == pytest.approx(expected, abs=0.04)


@given(examples=st.integers(1, 10**6), dims=st.integers(1, 8))
@settings(max_examples=20, deadline=None)
def test_parts_of_an_uninformative_code_are_multiples_of_log_n(examples, dims):
    z = torch.randn(5, dims, dtype=torch.float64, generator=torch.Generator().manual_seed(dims))
    nothing = torch.zeros(5, dims, dtype=torch.float64)
    log = math.log(examples)
    expected = [log, (dims - 1) * log, -dims * log]
    assert parts(z, nothing, nothing, examples=examples) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_padded_dimensions_add_nothing_to_the_parts():
    batch = gaussians(7, 3)
    wide = [torch.nn.functional.pad(tensor, (0, 5)) for tensor in batch]
    in_use = torch.tensor([1.0] * 3 + [0.0] * 5)
    assert parts(*wide, in_use=in_use) == pytest.approx(parts(*batch), rel=1e-12)
    assert parts(*wide)[1] > parts(*batch)[1] + 10


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_betatc_loss_is_the_weighted_sum_of_its_parts(likelihood):
    weights = {"alpha": 0.5, "beta": 3.0, "gamma": 2.0}
    model, x = small(family="betatc", latent_dim=3, likelihood=likelihood, **weights), images()
    step = step_for(model, len(x))
    observed = x if likelihood == "gaussian" else (x > step.draws["pixels"]).float()
    q, z = latent(model, observed, step.draws["code"])
    expected = reference_parts(z, q.base_dist.loc, q.base_dist.scale.log() * 2, EXAMPLES)
    reconstruction = -model.log_likelihood(observed, z).mean().item()
    kl = kl_divergence(q.base_dist, Normal(0.0, 1.0)).mean(0)
    terms = model.loss(x, step)
    assert terms["kl_per_dim"].tolist() == pytest.approx(kl.tolist(), rel=1e-5)
    weighted = sum(weight * part for weight, part in zip(weights.values(), expected, strict=True))
    assert values(terms) == {
        "loss": pytest.approx(reconstruction + weighted, rel=1e-5),
        "reconstruction": pytest.approx(reconstruction, rel=1e-5),
        "mutual_information": pytest.approx(expected[0], rel=1e-5),
        "total_correlation": pytest.approx(expected[1], rel=1e-5),
        "dimension_kl": pytest.approx(expected[2], rel=1e-5),
        "kl": pytest.approx(kl.sum().item(), rel=1e-5),
    }


def test_betatc_with_unit_weights_is_a_vae_with_sampled_kl():
    x = images()
    model = small(family="betatc", latent_dim=3, alpha=1, beta=1, gamma=1)
    sampled = small(family="iwae", latent_dim=3, k=1)
    step = step_for(model, len(x))
    like_iwae = TrainingStep(
        step.rows, {"code": step.draws["code"].unsqueeze(0)}, step.progress, step.examples
    )
    expected = sampled.loss(x, like_iwae)["loss"].item()
    assert model.loss(x, step)["loss"].item() == pytest.approx(expected, rel=1e-5)
