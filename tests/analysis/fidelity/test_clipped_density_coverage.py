"""Clipped density and coverage agree with closed forms, with a plain computation and with seqme."""

import numpy as np
import pytest
import torch
from scipy.stats import betabinom

from latentbench.analysis import clipped_density_coverage
from latentbench.analysis.fidelity.clipped_density_coverage import expected_cover


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plainly(real, fake, k):
    """The definition in NumPy, with all distances at once."""
    real, fake = real.numpy(), fake.numpy()
    among = np.linalg.norm(real[:, None] - real[None], axis=2)
    radii = np.sort(among, axis=1)[:, k]
    small = np.minimum(radii, np.median(radii))
    across = np.linalg.norm(fake[:, None] - real[None], axis=2)

    def mean(counts):
        return np.minimum(counts / k, 1).mean()

    density = mean((across <= small).sum(1)) / mean((among <= small).sum(1) - 1)
    n, m = len(real), len(fake)
    expected = [
        (np.minimum(np.arange(i + 1), k) / k * betabinom(i, k, n - k).pmf(np.arange(i + 1))).sum()
        for i in range(m)
    ]
    return min(density, 1), np.searchsorted(expected, mean((across <= radii).sum(0))) / m


@pytest.mark.parametrize(
    ("n", "m", "d", "k"), [(60, 60, 1, 5), (80, 50, 3, 3), (50, 90, 12, 5), (7, 4, 2, 5)]
)
def test_both_agree_with_the_plain_definition(n, m, d, k):
    real, fake = gaussian(n, d), 1.3 * gaussian(m, d, seed=1) + 0.2
    assert clipped_density_coverage(real, fake, k=k) == pytest.approx(plainly(real, fake, k), abs=1e-12)


def test_integers_and_duplicates_count_at_the_radius():
    """On a lattice of integers points lie exactly at the radius; duplicates have radius 0."""
    real, fake = (3 * gaussian(80, 1)).round(), (3 * gaussian(70, 1, seed=1)).round()
    assert clipped_density_coverage(real, fake, k=3) == pytest.approx(plainly(real, fake, 3), abs=1e-12)


def test_copies_of_one_point_are_perfect():
    point = torch.zeros(20, 2, dtype=torch.float64)
    assert clipped_density_coverage(point, point) == (1.0, 1.0)


def test_the_expected_cover_is_known_in_closed_form_for_k_of_1():
    """P(J ≥ 1) = 1 − (N − 1) / (N − 1 + m): the nearest of N − 1 + m points is a sample."""
    m = np.arange(40)
    assert expected_cover(25, 40, 1) == pytest.approx(m / (24 + m), abs=1e-12)


def test_both_read_the_share_of_good_samples():
    real, fake = gaussian(2000, 8), gaussian(2000, 8, seed=1)
    for share in (0.0, 0.3, 0.7):
        mixed = fake.clone()
        mixed[: round(2000 * (1 - share))] += 100
        assert clipped_density_coverage(real, mixed) == pytest.approx((share, share), abs=0.05)


def test_an_outlier_among_the_real_points_moves_neither():
    real, fake = gaussian(500, 4), gaussian(500, 4, seed=1) + 2
    outlier = torch.cat([real, torch.full((1, 4), 30.0, dtype=torch.float64)])
    before, after = (clipped_density_coverage(points, fake) for points in (real, outlier))
    assert after == pytest.approx(before, abs=0.01)


def test_too_few_points_are_refused():
    with pytest.raises(ValueError, match="needs 7 real points and 1 sample, got 6 and 10"):
        clipped_density_coverage(gaussian(6, 2), gaussian(10, 2))


@pytest.mark.slow  # importing seqme compiles for half a minute
@pytest.mark.parametrize(("n", "d", "shift"), [(300, 2, 0.5), (500, 16, 0.3), (400, 64, 0.0)])
def test_both_agree_with_seqme(n, d, shift):
    from seqme.metrics.clipped_density_coverage import ClippedCoverage, ClippedDensity

    real, fake = gaussian(n, d), gaussian(n, d, seed=1) + shift
    sets = {"real": real.numpy(), "fake": fake.numpy()}
    torch.set_default_dtype(torch.float64)  # seqme's expectation has three digits in float32
    try:
        theirs = [
            metric(5, ["real"], lambda names: sets[names[0]])(["fake"]).value
            for metric in (ClippedDensity, ClippedCoverage)
        ]
    finally:
        torch.set_default_dtype(torch.float32)
    assert clipped_density_coverage(real, fake) == pytest.approx(theirs, abs=1e-6)
