"""Dead zones and overlap agree with densities whose gaps are known."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from latentbench.analysis.latent.dead_zones import (
    Gap,
    beyond_null,
    dead_zone_mass,
    exceedance,
    leak,
    null_gaps,
    without_holes,
)
from latentbench.analysis.statistics.moments import moment_matched
from latentbench.bench.studies.calibrate import KNOWN, hollow

SEEDS = range(3)


def gaussian(n, d, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def without_wedge(n, seed):
    """N(0, I) in the plane with a fifth of all directions cut out."""
    z = gaussian(4 * n, 2, seed)
    return z[torch.atan2(z[:, 1], z[:, 0]) > -math.pi + 0.2 * 2 * math.pi][:n]


def clusters(n, d, seed, spread=0.15):
    """Ten tight clusters on the unit sphere."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.nn.functional.normalize(torch.randn(10, d, generator=generator), dim=1)
    chosen = centres[torch.randint(10, (n,), generator=generator)]
    return chosen + spread * torch.randn(n, d, generator=generator)


def long_tailed_star(n, seed):
    """Five narrow rays from the centre, with a long tail: how the codes of an autoencoder look."""
    generator = torch.Generator().manual_seed(seed)
    angle = torch.randint(5, (n,), generator=generator) * (2 * math.pi / 5)
    angle = angle + 0.1 * torch.randn(n, generator=generator)
    radius = torch.randn(n, generator=generator).exp()
    return radius.unsqueeze(1) * torch.stack([angle.cos(), angle.sin()], dim=1)


def over_seeds(measure):
    return np.array([measure(seed).value for seed in SEEDS])


# Dead zones


@pytest.mark.parametrize("d", [2, 8, 32, 128, 256])
@pytest.mark.parametrize("measure", [dead_zone_mass, leak])
def test_no_gap_has_no_dead_zone(d, measure):
    found = over_seeds(lambda seed: measure(gaussian(8000, d, seed), gaussian(8000, d, seed + 50), seed=seed))
    assert np.abs(found).max() <= 0.02


def test_the_dead_zone_of_no_gap_is_unbiased_at_any_size():
    """Split-conformal holds exactly, not only for many codes."""
    found = [dead_zone_mass(gaussian(60, 3, i), gaussian(400, 3, i + 5000), seed=i).value for i in range(300)]
    assert abs(np.mean(found)) < 4 * np.std(found) / math.sqrt(300)


def test_a_wedge_cut_out_is_found_whole():
    found = over_seeds(lambda seed: dead_zone_mass(without_wedge(8000, seed), gaussian(8000, 2, seed + 50)))
    assert np.mean(found) == pytest.approx(0.2, abs=0.03)


def test_shrinkage_has_no_dead_zone_under_the_moment_gaussian():
    def measure(seed):
        codes = 0.5 * gaussian(8000, 8, seed) + 3
        return dead_zone_mass(codes, moment_matched(codes, gaussian(8000, 8, seed + 50)), seed=seed)

    assert np.abs(over_seeds(measure)).max() <= 0.02


def test_gaps_between_clusters_are_dead():
    def measure(seed):
        codes = clusters(8000, 8, seed)
        return dead_zone_mass(codes, moment_matched(codes, gaussian(8000, 8, seed + 50)), seed=seed)

    assert over_seeds(measure).min() > 0.3


def test_a_long_tail_does_not_hide_the_gaps_of_a_star():
    def measure(seed):
        codes = long_tailed_star(8000, seed)
        return dead_zone_mass(codes, moment_matched(codes, gaussian(8000, 2, seed + 50)), seed=seed)

    assert over_seeds(measure).min() > 0.3


def test_leak_is_the_dead_zone_with_the_roles_swapped():
    """A fifth of q lies where p has nothing."""
    found = over_seeds(lambda seed: leak(gaussian(8000, 2, seed), without_wedge(8000, seed + 50)))
    assert np.mean(found) == pytest.approx(0.2, abs=0.03)


def test_codes_of_few_values_leave_everything_dead():
    codes = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]).repeat(300, 1)
    estimate = dead_zone_mass(codes, moment_matched(codes, gaussian(900, 2, 0)))
    assert estimate.value == 1
    assert 0 < estimate.se < 0.01


def test_standard_error_matches_the_spread():
    estimates = [
        dead_zone_mass(without_wedge(1000, i), gaussian(1000, 2, i + 5000), seed=i) for i in range(60)
    ]
    spread = np.std([estimate.value for estimate in estimates], ddof=1)
    assert 0.5 * spread < np.mean([estimate.se for estimate in estimates]) < 1.5 * spread


@given(n=st.integers(19, 60), seed=st.integers(0, 2**31), alpha=st.sampled_from([0.05, 0.2, 0.5]))
@settings(max_examples=50, deadline=None)
def test_laws_of_exceedance(n, seed, alpha):
    calibration = gaussian(n, 1, seed).squeeze(1)
    assert exceedance(calibration, torch.full((5,), 99.0), alpha).value == 1
    nothing = exceedance(calibration, torch.full((5,), -99.0), alpha).value
    assert nothing == pytest.approx(-alpha / (1 - alpha), abs=1.1 / n / (1 - alpha) ** 2)
    evaluation = gaussian(n, 1, seed + 1).squeeze(1)
    assert exceedance(calibration, evaluation, alpha) == exceedance(3 * calibration, 3 * evaluation, alpha)
    assert (
        exceedance(calibration, evaluation + 1, alpha).value
        >= exceedance(calibration, evaluation, alpha).value
    )


def test_too_few_codes_are_refused():
    with pytest.raises(ValueError, match="9 codes and 50 draws are too few for k = 5: each needs 10"):
        dead_zone_mass(gaussian(9, 2, 0), gaussian(50, 2, 1))
    with pytest.raises(ValueError, match="10 calibration values are too few"):
        dead_zone_mass(gaussian(20, 2, 0), gaussian(50, 2, 1))


def test_the_map_agrees_with_the_mass():
    gap = Gap.of(without_wedge(8000, 0), gaussian(8000, 2, 50))
    inside_wedge = torch.tensor([[-0.8, -0.5], [-1.0, -0.6]])
    assert gap.is_dead(inside_wedge).all()
    assert not gap.is_dead(torch.tensor([[0.8, 0.5], [1.0, -0.3], [0.5, 0.5]])).any()


# Beyond the null


def zone_of(codes, seed):
    reference = moment_matched(codes, gaussian(len(codes), codes.shape[1], seed + 50))
    gap = Gap.of(codes, reference, seed=seed)
    return beyond_null(gap, null_gaps(codes, reference, seed=seed))


@pytest.mark.parametrize("d", [2, 12])
@pytest.mark.parametrize(
    "name",
    [
        "no gap",
        "uniform ball (disc)",
        "uniform cube",
        "Student t (3)",
        "correlated uniform cube",
        "correlated Student t (3)",
    ],
)
def test_codes_without_holes_have_no_dead_zone(name, d):
    known = next(known for known in KNOWN if known.name == name)
    found = [zone_of(known.codes(8000, d, seed), seed).value for seed in range(2)]
    assert abs(np.mean(found)) < 0.03


@pytest.mark.parametrize(
    ("name", "d"),
    [
        ("two clusters at ±4", 12),
        ("ten clusters at radius 6", 12),
        ("correlated two clusters", 12),
        ("correlated ten clusters", 12),
        ("correlated ten clusters", 48),
    ],
)
def test_gaps_between_clusters_exceed_the_null(name, d):
    known = next(known for known in KNOWN if known.name == name)
    estimate = zone_of(known.codes(8000, d, 0), 0)
    assert estimate.value - 1.96 * estimate.se > 0.1


def test_codes_of_the_null_keep_values_and_rank_correlations():
    draws = np.random.default_rng(0)
    codes = torch.from_numpy(draws.standard_normal((4000, 3)) @ [[1, 0.9, 0], [0, 0.5, 0], [0, 0, 2]]).exp()
    _, null = without_holes(codes, moment_matched(codes, gaussian(4000, 3, 1)))
    for column in range(3):
        torch.testing.assert_close(null[:, column].sort().values, codes[:, column].sort().values)
    wanted, found = (spearmanr(z.numpy()).statistic for z in (codes, null))
    assert wanted[0, 1] > 0.8
    assert found == pytest.approx(wanted, abs=0.05)


@pytest.mark.parametrize(("d", "n"), [(2, 8000), (5, 8000), (12, 20_000)])
def test_a_hole_in_the_middle_exceeds_the_null(d, n):
    estimate = zone_of(hollow(n, d, 0), 0)
    assert estimate.value - 1.96 * estimate.se > 0.01


def test_a_null_that_explains_everything_leaves_nothing():
    codes = gaussian(400, 2, 0)
    gap = Gap.of(codes, gaussian(400, 2, 1))
    assert beyond_null(gap, (gap,)).value == 0
