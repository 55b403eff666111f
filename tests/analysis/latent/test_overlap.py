"""The overlap against densities whose overlap is known."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from latentbench.analysis.latent.overlap import evaluation_error, moments_error, overlap_coverage
from latentbench.analysis.statistics.moments import moment_matched
from latentbench.bench.studies.calibrate import KNOWN

SEEDS = range(3)


def gaussian(n, d, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def without_wedge(n, seed):
    """N(0, I) in the plane with a fifth of all directions cut out."""
    z = gaussian(4 * n, 2, seed)
    return z[torch.atan2(z[:, 1], z[:, 0]) > -math.pi + 0.2 * 2 * math.pi][:n]


def over_seeds(measure):
    return np.array([measure(seed).value for seed in SEEDS])


def test_codes_in_one_dimension_have_an_overlap():
    """Two normals one standard deviation apart: 2 Φ(−1/2)."""
    found = overlap_coverage(gaussian(4000, 1, 0), gaussian(4000, 1, 1) + 1, seed=0)
    assert found.value == pytest.approx(0.617, abs=0.04)


@pytest.mark.parametrize("d", [2, 8, 32, *(pytest.param(d, marks=pytest.mark.slow) for d in (128, 256))])
def test_no_gap_overlaps_wholly(d):
    found = over_seeds(
        lambda seed: overlap_coverage(gaussian(8000, d, seed), gaussian(8000, d, seed + 50), seed=seed)
    )
    assert np.mean(found) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("make", "d", "total_variation", "tolerance"),
    [
        (lambda seed: 0.9 * gaussian(8000, 2, seed), 2, 0.077, 0.02),
        (lambda seed: 0.9 * gaussian(8000, 32, seed), 32, 0.325, 0.06),
        (lambda seed: without_wedge(8000, seed), 2, 0.2, 0.04),
        (lambda seed: gaussian(8000, 8, seed) + 1 / math.sqrt(8), 8, 0.383, 0.03),
    ],
)
def test_known_gaps_are_found_and_not_overstated(make, d, total_variation, tolerance):
    found = 1 - over_seeds(lambda seed: overlap_coverage(make(seed), gaussian(8000, d, seed + 50), seed=seed))
    assert total_variation - tolerance <= np.mean(found) <= total_variation + 0.015


def test_overlap_hardly_changes_under_a_linear_map():
    shear = torch.tensor([[3.0, 1.0], [0.0, 0.01]])
    codes, draws = without_wedge(8000, 0), gaussian(8000, 2, 50)
    plain = overlap_coverage(codes, draws).value
    assert overlap_coverage(codes @ shear + 7, draws @ shear + 7).value == pytest.approx(plain, abs=0.02)


def test_separate_sets_do_not_overlap():
    assert overlap_coverage(gaussian(400, 3, 0) + 20, gaussian(400, 3, 1)).value == pytest.approx(0, abs=0.01)


def test_overlap_ignores_directions_without_variance():
    pad = torch.nn.functional.pad
    estimate = overlap_coverage(pad(gaussian(2000, 2, 0), (0, 1)), pad(gaussian(2000, 2, 1), (0, 1)))
    assert estimate.value == pytest.approx(1, abs=0.06)


def test_overlap_repeats_and_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    first, second = (overlap_coverage(gaussian(200, 2, 0), gaussian(200, 2, 1), seed=3) for _ in range(2))
    assert first == second
    assert torch.equal(torch.random.get_rng_state(), before)


def test_too_few_codes_for_their_width_are_refused():
    with pytest.raises(ValueError, match="1000 codes are too few for 48 dimensions: the overlap needs 1440"):
        overlap_coverage(gaussian(1000, 48, 0), gaussian(2000, 48, 1))


FAST = {known.name: known for known in KNOWN if known.own_moments}
HIDDEN = "correlated uniform cube"
"""Its edges are along no coordinate and no principal axis, so that the test finds them in the plane only."""


@pytest.mark.parametrize("d", [12, 48])
def test_overlap_of_hidden_axes_is_an_upper_bound(d):
    codes = FAST[HIDDEN].codes(16_000, d, 0)
    found = overlap_coverage(codes, moment_matched(codes, gaussian(16_000, d, 50))).value
    assert FAST[HIDDEN].overlap(d) + 0.08 < found < 1.03


@pytest.mark.parametrize("d", [2, 12, 48])
@pytest.mark.parametrize("name", [name for name in FAST if name != HIDDEN])
def test_overlap_is_near_the_known_one(name, d):
    known = FAST[name]
    codes = known.codes(16_000, d, 0)
    reference = moment_matched(codes, gaussian(16_000, d, 50))
    found = overlap_coverage(codes, reference).value
    assert known.overlap(d) - 0.03 < found < min(known.overlap(d) + 0.08, 1.03)


@pytest.mark.slow
@pytest.mark.parametrize("known", [known for known in KNOWN if known.own_moments and 128 in known.dimensions])
def test_overlap_is_near_the_known_one_at_128(known):
    codes = known.codes(16_000, 128, 0)
    reference = moment_matched(codes, gaussian(16_000, 128, 50))
    found = overlap_coverage(codes, reference).value
    assert known.overlap(128) - 0.03 < found < min(known.overlap(128) + 0.08, 1.03)


def test_few_codes_without_a_gap_overlap_wholly():
    found = [
        overlap_coverage(codes, moment_matched(codes, gaussian(1500, 48, seed + 50)), seed=seed).value
        for seed in range(4)
        for codes in [gaussian(1500, 48, seed)]
    ]
    assert 0.93 < np.mean(found) < 1.03


def test_codes_like_their_reference_are_not_certain():
    """The test may give all points one call: their rates, 0 or 1, are not without an error."""
    found = overlap_coverage(gaussian(900, 12, 0), gaussian(900, 12, 1), seed=0)
    assert found.value == pytest.approx(1, abs=0.1)
    assert found.se == pytest.approx(math.sqrt(0.5 / 300), rel=0.02)


@pytest.mark.parametrize(("hit_rate", "false_alarm_rate"), [(0.8, 0.2), (0.9, 0.9), (0.5, 0.1)])
def test_the_error_is_at_least_that_of_the_counts(hit_rate, false_alarm_rate):
    draws = np.random.default_rng(0)
    hits, false_alarms = (draws.binomial(200, rate, 20_000) / 200 for rate in (hit_rate, false_alarm_rate))
    spread, stated = (hits - false_alarms).std(), evaluation_error(hit_rate - false_alarm_rate, 200)
    assert stated >= 0.98 * spread
    if hit_rate + false_alarm_rate == 1:
        assert stated == pytest.approx(spread, rel=0.02)


def test_the_error_of_the_moments_by_hand():
    """P(z > 1) moves by φ(1) with the mean and by φ(1) / 2 with the variance: √(1.5 / N) φ(1) in all."""
    draws = gaussian(200_000, 1, 1)
    found = moments_error(gaussian(20_000, 1, 0), draws, draws[:, 0] > 1)
    assert found == pytest.approx(math.sqrt(1.5 / 20_000) * norm.pdf(1), rel=0.03)


@pytest.mark.parametrize("degrees", [5, 1000], ids=["heavy tails", "a Gaussian"])
def test_the_error_of_the_moments_is_their_spread(degrees):
    """Share of the fitted Gaussian within 1 of the origin, over 300 sets of codes."""
    sets = np.random.default_rng(0).standard_t(degrees, (300, 1000))
    shares = norm.cdf(1, sets.mean(1), sets.std(1)) - norm.cdf(-1, sets.mean(1), sets.std(1))
    stated = []
    for codes in sets[:40]:
        white = gaussian(20_000, 1, 1)
        draws = (white - white.mean()) / white.std() * codes.std() + codes.mean()
        points = torch.from_numpy(codes[:, None]).float()
        stated.append(moments_error(points, draws, draws[:, 0].abs() < 1))
    assert np.sqrt(np.square(stated).mean()) == pytest.approx(shares.std(), rel=0.2)


def test_a_fitted_reference_adds_its_error():
    codes = gaussian(900, 12, 0)
    fixed, fitted = (overlap_coverage(codes, gaussian(900, 12, 1), fitted=each, seed=0) for each in (0, 1))
    assert fitted.value == fixed.value
    assert fitted.se >= fixed.se


def test_an_overlap_of_zero_is_not_certain():
    assert 0 < evaluation_error(1.0, 1000) < 0.002


def test_coordinates_that_tell_nothing_hide_no_gap():
    """Two clusters on one of 128 axes: the histograms of the other 127 hold only noise."""
    known = FAST["two clusters at ±4"]
    codes = known.codes(16_000, 128, 0)
    found = overlap_coverage(codes, moment_matched(codes, gaussian(16_000, 128, 50))).value
    assert found == pytest.approx(known.overlap(128), abs=0.03)
