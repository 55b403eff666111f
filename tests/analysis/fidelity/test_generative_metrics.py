"""Set distances agree with closed forms, neighbourhood scores with prdc; and the analysis on real models."""

import math
from functools import partial

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prdc import compute_prdc
from shared.gaussians import gaussian
from sklearn.datasets import load_digits
from sklearn.metrics.pairwise import polynomial_kernel
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from latentbench.analysis.fidelity.generative_metrics import (
    Cubes,
    density_coverage,
    frechet_between,
    frechet_distance,
    kernel_between,
    kernel_distance,
    neighbourhoods,
    precision_recall,
)
from latentbench.analysis.generation.sample_bank import SampleBank, real_images
from latentbench.analysis.statistics.intervals import jackknife_error
from latentbench.analysis.statistics.moments import Moments

# Fréchet distance


def with_moments(n, mean, covariance, seed=0):
    """n points whose sample mean and covariance are exactly the given ones."""
    noise = gaussian(n, len(mean), seed=seed)
    noise = noise - noise.mean(0)
    white = noise @ torch.linalg.inv(torch.linalg.cholesky(noise.T @ noise / (n - 1))).T
    return white @ torch.linalg.cholesky(covariance).T + mean


def test_frechet_of_commuting_gaussians_is_closed_form():
    """‖μ‖² + Σ (σ_a − σ_b)² where both covariances are diagonal."""
    a = with_moments(
        50, torch.tensor([0.0, 1.0, 2.0]).double(), torch.diag(torch.tensor([1.0, 4.0, 9.0])).double()
    )
    b = with_moments(
        70, torch.tensor([1.0, 1.0, 4.0]).double(), torch.diag(torch.tensor([4.0, 1.0, 9.0])).double(), 1
    )
    assert frechet_distance(a, b) == pytest.approx(1 + 4 + 1 + 1, rel=1e-9)


@given(
    n=st.integers(8, 60), d=st.integers(1, 6), seed=st.integers(0, 2**31), offset=st.sampled_from([0, 1e3])
)
@settings(max_examples=40, deadline=None)
def test_frechet_is_the_one_of_a_general_matrix_root(n, d, seed, offset):
    a = gaussian(n, d, seed=seed) @ gaussian(d, d, seed=seed + 1) + offset
    b = gaussian(n + 5, d, seed=seed + 2) + offset + 1
    cov_a, cov_b = np.atleast_2d(np.cov(a.T.numpy())), np.atleast_2d(np.cov(b.T.numpy()))
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum().item() + np.trace(cov_a + cov_b - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@given(n=st.integers(2, 30), d=st.integers(1, 40), seed=st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_laws_of_frechet(n, d, seed):
    a, b = gaussian(n, d, seed=seed), gaussian(n + 3, d, seed=seed + 1) * 2
    rotation = torch.linalg.qr(gaussian(d, d, seed=seed + 2))[0]
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-5)
    assert frechet_distance(a, a + 3) == pytest.approx(9 * d, rel=1e-6)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-5, abs=1e-5)
    assert frechet_distance(a @ rotation, b @ rotation) == pytest.approx(
        frechet_distance(a, b), rel=1e-5, abs=1e-5
    )


def test_null_bias_of_frechet_is_the_stated_one():
    d, n = 64, 4000
    found = np.mean(
        [frechet_distance(gaussian(n, d, seed=i), gaussian(n, d, seed=100 + i)) for i in range(4)]
    )
    assert found == pytest.approx(d * (d + 5) / (2 * n), rel=0.1)


@given(st.lists(st.integers(1, 9), min_size=2, max_size=5), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_merged_moments_are_those_of_the_union(sizes, seed):
    points = gaussian(sum(sizes), 3, seed=seed) + 100
    parts = [Moments.of(part) for part in points.split(sizes)]
    merged = sum(parts[1:], start=parts[0])
    whole = Moments.of(points)
    assert merged.count == whole.count
    torch.testing.assert_close(merged.mean, whole.mean)
    torch.testing.assert_close(merged.scatter, whole.scatter, rtol=1e-9, atol=1e-9)


def test_frechet_standard_error_matches_the_spread_over_sets():
    assert_error_matches_the_spread(Moments, frechet_between)


def assert_error_matches_the_spread(summary, distance):
    """The jackknife over blocks of one set against the spread over many sets."""
    real = summary.of(gaussian(2000, 8))
    sets = [gaussian(1000, 8, seed=i + 1) * 1.2 + 0.3 for i in range(60)]
    values = [distance(real, summary.of(fake)) for fake in sets]
    stated = [
        jackknife_error([summary.of(block) for block in fake.tensor_split(10)], partial(distance, real))
        for fake in sets
    ]
    assert np.mean(stated) == pytest.approx(np.std(values, ddof=1), rel=0.3)


# Kernel distance


def test_kernel_distance_by_loops():
    a, b = gaussian(7, 3), gaussian(5, 3, seed=1) + 0.5

    def kernel(x, y):
        return (float(x @ y) / 3 + 1) ** 3

    within_a = np.mean([kernel(a[i], a[j]) for i in range(7) for j in range(7) if i != j])
    within_b = np.mean([kernel(b[i], b[j]) for i in range(5) for j in range(5) if i != j])
    between = np.mean([kernel(x, y) for x in a for y in b])
    assert kernel_distance(a, b) == pytest.approx(within_a + within_b - 2 * between, rel=1e-12)


@pytest.mark.parametrize(("d", "offset"), [(1, 0.0), (7, 3.0), (128, 0.0), (129, 0.0)])
def test_kernel_distance_by_products_is_that_by_pairs(d, offset):
    a, b = gaussian(60, d) + offset, gaussian(45, d, seed=1) + offset + 0.1
    pairs = polynomial_kernel(torch.cat([a, b]), degree=3, coef0=1)
    within_a, within_b = pairs[:60, :60], pairs[60:, 60:]
    expected = (
        (within_a.sum() - within_a.trace()) / (60 * 59)
        + (within_b.sum() - within_b.trace()) / (45 * 44)
        - 2 * pairs[:60, 60:].mean()
    )
    assert kernel_distance(a, b) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_kernel_standard_error_matches_the_spread_over_sets():
    assert_error_matches_the_spread(Cubes, kernel_between)


def test_kernel_distance_is_unbiased():
    values = [
        kernel_distance(gaussian(40, 4, seed=2 * i), gaussian(50, 4, seed=2 * i + 1)) for i in range(200)
    ]
    assert abs(np.mean(values)) < 3 * np.std(values) / math.sqrt(200)
    assert min(values) < 0


# Precision, recall, density, coverage


def ours(real, fake, k):
    return (*precision_recall(real, fake, k=k), *density_coverage(real, fake, k=k))


def prdcs(real, fake, k):
    found = compute_prdc(real.double().numpy(), fake.double().numpy(), k)
    return tuple(found[name] for name in ("precision", "recall", "density", "coverage"))


@given(
    n=st.integers(7, 60),
    m=st.integers(7, 60),
    d=st.integers(1, 8),
    k=st.integers(1, 5),
    shift=st.sampled_from([0.0, 0.5, 3.0]),
    offset=st.sampled_from([0.0, 100.0]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None)
def test_scores_are_prdcs(n, m, d, k, shift, offset, seed):
    real, fake = gaussian(n, d, seed=seed) + offset, gaussian(m, d, seed=seed + 1) + shift + offset
    assert ours(real, fake, k) == pytest.approx(prdcs(real, fake, k), abs=1e-6)


@given(
    n=st.integers(7, 40),
    m=st.integers(7, 40),
    d=st.integers(1, 3),
    k=st.integers(1, 5),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None)
def test_scores_are_prdcs_with_duplicates_and_ties(n, m, d, k, seed):
    """Many points of a lattice coincide and many distances equal a radius exactly."""
    generator = torch.Generator().manual_seed(seed)
    real = torch.randint(0, 4, (n, d), generator=generator).double()
    fake = torch.randint(0, 5, (m, d), generator=generator).double()
    assert ours(real, fake, k) == pytest.approx(prdcs(real, fake, k), abs=1e-6)


def test_scores_are_prdcs_on_many_shifted_float32_features():
    real, fake = (
        gaussian(2000, 64, dtype=torch.float32) + 30,
        gaussian(1500, 64, seed=1, dtype=torch.float32) + 30.1,
    )
    assert ours(real, fake, 5) == pytest.approx(prdcs(real, fake, 5), abs=1e-6)


def test_scores_by_hand():
    """Real points 0, 1, 2 with radius 1; of the samples 0.5, 2.5, 9 two lie in one or two of the balls."""
    real, fake = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[0.5], [2.5], [9.0]])
    found = neighbourhoods(real, fake, manifold_k=1, density_k=1)
    assert found.precise.tolist() == [True, True, False]
    assert found.density.tolist() == [2, 1, 0]
    assert found.covered.tolist() == [True, True, True]
    assert found.recalled.tolist() == [True, True, True]


class Flat(torch.nn.Module):
    """Stands where torchmetrics expects a feature network: the images themselves, in float64."""

    num_features = 64

    def forward(self, images):
        return images.flatten(1).double()


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception")
@pytest.mark.parametrize(("n", "m", "copies"), [(300, 200, 1), (70, 90, 1), (12, 12, 1), (150, 150, 3)])
def test_set_distances_are_torchmetrics_with_features_given(n, m, copies):
    """The sets are digits of 8 × 8 pixels; also with fewer than dimensions, and with each there thrice."""
    digits = torch.from_numpy(load_digits().images).to(torch.uint8).unsqueeze(1)
    real, fake = digits[:n].repeat(copies, 1, 1, 1), (digits[n : n + m] // 2).repeat(copies, 1, 1, 1)
    features = [images.flatten(1).double() for images in (real, fake)]
    fid = FrechetInceptionDistance(feature=Flat(), input_img_size=(1, 8, 8)).set_dtype(torch.float64)
    size = min(len(real), len(fake))
    kid = KernelInceptionDistance(feature=Flat(), subsets=1, subset_size=size).set_dtype(torch.float64)
    for theirs in (fid, kid):
        theirs.update(real, real=True)
        theirs.update(fake, real=False)
    # Their root is of a matrix that is not symmetric: where it is singular, half its digits are gone.
    assert frechet_distance(*features) == pytest.approx(fid.compute().item(), rel=1e-4)
    if len(real) == len(fake):  # theirs takes a random subset of the larger set
        assert kernel_distance(*features) == pytest.approx(kid.compute()[0].item(), rel=1e-9)


def test_known_distances_change_nothing(context, pca):
    features = context.judged_test[0].features
    samples = pca.once(SampleBank).judged("moment")[0].features
    with_cache = neighbourhoods(features, samples, real_distances=context.once(real_images)[0].test_distances)
    without = neighbourhoods(features, samples)
    for name in ("precise", "recalled", "density", "covered"):
        assert torch.equal(getattr(with_cache, name), getattr(without, name))


def test_new_samples_of_the_real_distribution_have_density_one():
    density, coverage = density_coverage(gaussian(3000, 4), gaussian(3000, 4, seed=1), k=5)
    assert density == pytest.approx(1, abs=0.03)
    assert coverage == pytest.approx(1 - 0.5**5, abs=0.01)  # Naeem et al. 2020, lemma 2


@pytest.mark.parametrize("score", [precision_recall, density_coverage, frechet_distance, kernel_distance])
@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        (torch.zeros(1, 3), torch.zeros(9, 3), "points are needed on either side, got 1 and 9"),
        (torch.zeros(9, 3), torch.zeros(9, 2), r"\[9, 3\] and \[9, 2\]"),
        (torch.zeros(9), torch.zeros(9), "must agree in D"),
        (torch.zeros(9, 3), torch.full((9, 3), torch.nan), "not finite"),
        (torch.full((9, 3), torch.inf), torch.zeros(9, 3), "not finite"),
    ],
)
def test_sets_without_a_score_are_refused(score, real, fake, message):
    with pytest.raises(ValueError, match=message):
        score(real, fake)


def test_too_few_points_for_k_are_refused():
    with pytest.raises(ValueError, match="at least 6 points"):
        density_coverage(gaussian(5, 2), gaussian(5, 2), k=5)
    with pytest.raises(ValueError, match="at least 4 points"):
        precision_recall(gaussian(9, 2), gaussian(3, 2), k=3)
