"""Rank correlation: equal to SciPy's, intervals that cover, and differences taken in pairs."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from latentbench.analysis.statistics.rank_correlation import correlation, distinguishable, spearman


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_spearman_equals_scipy_with_ties(rng):
    a, b = rng.integers(0, 5, 30), rng.normal(size=30)
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)


def test_a_constant_has_no_correlation():
    one = correlation(np.ones(10), np.arange(10.0))
    assert np.isnan([one.value, one.low, one.high]).all()


def test_intervals_cover_the_true_correlation(rng):
    """Normal with Pearson's r = 0.7: Spearman's ρ is 6/π asin(r/2)."""
    truth = 6 / np.pi * np.arcsin(0.35)
    covered = 0
    for _ in range(60):
        a = rng.normal(size=24)
        b = 0.7 * a + np.sqrt(1 - 0.49) * rng.normal(size=24)
        one = correlation(a, b)
        covered += one.low <= truth <= one.high
    assert covered >= 50


def test_a_better_predictor_is_found_and_an_equal_is_not(rng):
    target = rng.normal(size=30)
    good, noise = correlation(-target, target), correlation(rng.normal(size=30), target)
    twin = correlation(target + 1e-9 * rng.normal(size=30), target)
    assert good.value == -1
    assert distinguishable(good, noise)
    assert not distinguishable(good, twin)


def test_correlations_over_other_models_are_not_compared(rng):
    target = rng.normal(size=30)
    with pytest.raises(ValueError, match="same models"):
        distinguishable(correlation(target, target), correlation(target[:20], target[:20]))
