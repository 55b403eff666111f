"""Intervals agree with hand-computed and published values, and cover as often as they promise."""

import math

import numpy as np
import pytest
from scipy import stats

from latentbench.analysis.statistics.intervals import (
    binomial_se,
    clustered_se,
    mean_interval,
    standard_error,
    wilson_interval,
)


def test_standard_error_by_hand():
    assert standard_error([2.0, 4.0, 6.0]) == pytest.approx(2 / math.sqrt(3))


def test_standard_error_of_one_value_is_unknown():
    assert standard_error([3.0]) is None
    assert standard_error([]) is None


def test_binomial_se_reaches_wilsons_end_at_the_edges():
    assert binomial_se(5, 10) == pytest.approx(math.sqrt(0.025))
    assert 1.96 * binomial_se(0, 10) == pytest.approx(wilson_interval(0, 10)[1], abs=1e-4)
    assert binomial_se(10, 10) == binomial_se(0, 10)


def test_clustered_error_has_the_design_effect():
    """m equal values in each of G clusters: √m times the error that independent values would have."""
    shares = np.array([0.1, 0.4, 0.9, 0.3])
    values, clusters = np.repeat(shares, 25), np.repeat(np.arange(4), 25)
    assert clustered_se(values, clusters) == pytest.approx(standard_error(shares))
    independent = values.std() / math.sqrt(len(values))
    assert clustered_se(values, clusters) == pytest.approx(independent * math.sqrt(25 * 4 / 3))


def test_clustered_error_of_unequal_clusters_by_hand():
    """Clusters of 3 and 1 with sums 3 and 0 about a mean of 3/4: residuals 3/4 and −3/4."""
    assert clustered_se([1, 1, 1, 0], ["a", "a", "a", "b"]) == pytest.approx(math.sqrt(2 * 2 * 0.75**2) / 4)


def test_clustered_error_is_unknown_for_one_cluster_or_value():
    assert clustered_se([0, 1, 1], [7, 7, 7]) is None
    assert clustered_se([1, 1, 1], [0, 1, 2]) is None
    assert clustered_se([], []) is None
    with pytest.raises(ValueError, match="got"):
        clustered_se([0, 1], [0])


def test_clustered_error_is_the_spread_over_draws_of_clusters():
    draws = np.random.default_rng(1)
    shares, clusters = draws.beta(2, 1, (2000, 18)), np.repeat(np.arange(18), 40)
    hits = draws.random((2000, 18 * 40)) < shares[:, clusters]
    errors = [clustered_se(each, clusters) for each in hits]
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(hits.mean(1).std(), rel=0.05)


def test_wilson_interval_of_81_in_263():
    """Newcombe 1998 (doi:10.1002/(SICI)1097-0258(19980430)17:8<857), table I, method 3."""
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_wilson_interval_covers_a_known_share():
    trials = np.random.default_rng(0).binomial(60, 0.9, size=4000)
    covered = [low <= 0.9 <= high for low, high in (wilson_interval(int(hits), 60) for hits in trials)]
    assert 0.93 <= np.mean(covered) <= 0.98


def test_mean_interval_by_hand():
    """The t quantile at 3 degrees of freedom is 3.18245; s² = 8/3, so s / √4 = √(2/3)."""
    reach = 3.18245 * math.sqrt(2 / 3)
    assert mean_interval([8.0, 10.0, 10.0, 12.0]) == pytest.approx((10 - reach, 10 + reach), abs=1e-4)


def test_mean_interval_covers_the_mean():
    samples = np.random.default_rng(0).normal(size=(4000, 3))
    covered = [low <= 0 <= high for low, high in map(mean_interval, samples.tolist())]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


def test_mean_interval_agrees_with_scipy():
    values = [1.0, 2.5, 2.0, 4.0]
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert mean_interval(values, 0.9) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize(("hits", "n"), [(-1, 5), (6, 5), (0, 0)])
def test_impossible_counts_are_refused(hits, n):
    with pytest.raises(ValueError, match=f"hits={hits}, n={n}"):
        wilson_interval(hits, n)
    with pytest.raises(ValueError, match=f"hits={hits}, n={n}"):
        binomial_se(hits, n)


def test_impossible_confidence_and_single_seed_are_refused():
    with pytest.raises(ValueError, match=r"confidence .* got 95"):
        wilson_interval(1, 2, confidence=95)
    with pytest.raises(ValueError, match="at least 2 values, got 1"):
        mean_interval([1.0])
