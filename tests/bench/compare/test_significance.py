"""The tests behind comparisons agree with scipy and statsmodels, and with laws that must be true."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from latentbench.bench.compare.multiplicity import benjamini_hochberg, holm
from latentbench.bench.compare.power import detectable_effect, pairs_needed, power_of_t
from latentbench.bench.compare.significance import (
    FEW_EXAMPLES,
    mcnemar,
    paired_clusters,
    paired_examples,
    paired_t,
    step_of,
    welch_t,
)

REGRESSIONS = hnp.arrays(np.float64, st.integers(2, 12), elements=st.floats(-1e3, 1e3, width=32))
SHARES = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@pytest.fixture
def draws():
    return np.random.default_rng(7)


def test_the_paired_t_test_is_scipys(draws):
    regressions = draws.normal(0.5, 1.0, 8)
    ours, theirs = paired_t(regressions), stats.ttest_1samp(regressions, 0, alternative="greater")
    assert ours.p == pytest.approx(theirs.pvalue)
    both = stats.ttest_1samp(regressions, 0).confidence_interval(0.90)
    assert (ours.low, ours.high) == pytest.approx((both.low, both.high))
    assert (ours.regression, ours.spread, ours.n) == pytest.approx(
        (regressions.mean(), regressions.std(ddof=1), 8)
    )


def test_the_unpaired_t_test_is_scipys(draws):
    a, b = draws.normal(0.0, 1.0, 5), draws.normal(1.0, 3.0, 9)
    ours, theirs = welch_t(a, b), stats.ttest_ind(b, a, equal_var=False, alternative="greater")
    assert ours.p == pytest.approx(theirs.pvalue)
    both = stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.90)
    assert (ours.low, ours.high) == pytest.approx((both.low, both.high))


@pytest.mark.parametrize("turned", [False, True])
def test_one_value_is_compared_with_several_by_students_t(draws, turned):
    several, one = draws.normal(size=5), np.array([2.0])
    a, b = (one, several) if turned else (several, one)
    theirs = stats.ttest_ind(b, a, equal_var=True, alternative="greater")
    assert welch_t(a, b).p == pytest.approx(theirs.pvalue)


@pytest.mark.parametrize(("lost", "gained"), [(12, 3), (3, 12), (5, 0), (0, 5), (1, 1), (40, 41)])
def test_mcnemar_equals_statsmodels_and_fits_its_interval(lost, gained):
    n = 200
    a, b = np.ones(n, bool), np.ones(n, bool)
    b[:lost] = False
    a[lost : lost + gained] = False
    ours = mcnemar(a, b)
    two_sided = statsmodels_mcnemar([[0, lost], [gained, 0]], exact=True).pvalue
    one_sided = stats.binomtest(lost, lost + gained, 0.5, alternative="greater").pvalue
    assert ours.p == pytest.approx(one_sided)
    if lost > gained:
        assert two_sided == pytest.approx(2 * ours.p)
    exact = stats.binomtest(lost, lost + gained).proportion_ci(0.90, method="exact")
    scale = (lost + gained) / n
    assert (ours.low, ours.high) == pytest.approx(((2 * exact.low - 1) * scale, (2 * exact.high - 1) * scale))
    assert (ours.low > 0) == (ours.p < 0.05)
    assert ours.regression == pytest.approx((lost - gained) / n)


def test_models_that_hit_the_same_examples_do_not_differ():
    hits = np.array([True, False, True])
    same = mcnemar(hits, hits)
    assert (same.regression, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)


def test_bootstrap_agrees_with_t_for_many_examples(draws):
    regressions = draws.exponential(1.0, 10_000) - 0.98
    ours = paired_examples(regressions)
    theirs = stats.bootstrap(
        (regressions,), np.mean, n_resamples=500, confidence_level=0.9, method="basic", rng=draws
    )
    low, high = theirs.confidence_interval
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=0.004)


def test_few_examples_are_bootstrapped_which_follows_their_skew(draws):
    regressions = draws.exponential(1.0, 40)
    evidence = paired_examples(regressions)
    assert "bootstrap" in evidence.method
    assert evidence.high - evidence.regression > evidence.regression - evidence.low > 0
    assert evidence == paired_examples(regressions)
    assert "bootstrap" not in paired_examples(np.tile(regressions, FEW_EXAMPLES)).method


def test_the_bootstraps_false_alarms_are_as_rare_as_stated(draws):
    alarms = sum(paired_examples(draws.laplace(size=60)).p <= 0.05 for _ in range(100))
    assert alarms <= 12  # 5 expected; more than 12 come once in a thousand


@given(REGRESSIONS)
def test_interval_has_the_estimate_and_mirrors_with_the_sign(regressions):
    evidence, mirrored = paired_t(regressions), paired_t(-regressions)
    assert evidence.low <= evidence.regression <= evidence.high
    assert evidence.low == pytest.approx(-mirrored.high, rel=1e-6, abs=1e-9)
    if evidence.spread > 1e-6 * abs(evidence.regression):
        assert (evidence.low > 0) == (evidence.p < 0.05)


def test_a_difference_without_chance_is_certain():
    assert paired_t([0.5, 0.5], certain=True).p == 0.0
    assert paired_t([-0.5, -0.5], certain=True).p == 1.0
    assert welch_t([0.1, 0.1], [0.2, 0.2], certain=True).p == 0.0
    assert paired_t([0.0, 0.0]).high == 0.0


@pytest.mark.parametrize("step", [0.0, 1 / 60])
def test_equal_differences_of_few_seeds_are_not_certain(step):
    paired, unpaired = paired_t([1 / 60] * 3, step=step), welch_t([0.9] * 3, [0.9 + 1 / 60] * 3, step=step)
    for evidence in (paired, unpaired):
        assert evidence.p > 0.05
        assert evidence.low < 0 < evidence.high
        assert evidence.spread == pytest.approx(1 / 60)


def test_a_spread_is_never_below_one_test_image(draws):
    regressions = np.array([1.0, 1.0, 1.0, 1.0, 2.0]) / 10_000
    assert paired_t(regressions, step=1 / 100).spread == pytest.approx(1 / 100)
    wide = draws.normal(0.5, 1.0, 8)
    assert paired_t(wide, step=1 / 100) == paired_t(wide)


@pytest.mark.parametrize(
    ("values", "n", "step"),
    [
        ([0.95, 0.9, 1.0], 60, 1 / 60),
        ([float(np.float32(59 / 60)), 0.0], 60, 1 / 60),
        ([0.123, 0.456], 60, 0.0),
        ([0.00001, 0.00002], 60, 0.0),
        ([3.0, 4.0], 10, 1.0),
        ([0.5], None, 0.0),
    ],
)
def test_the_step_of_a_share_is_one_image(values, n, step):
    assert step_of(values, n) == step


def test_evidence_changes_its_unit_and_nothing_else(draws):
    regressions = draws.normal(0.3, 1.0, 6)
    scaled, anew = paired_t(regressions).scaled(100.0), paired_t(100 * regressions)
    assert (scaled.regression, scaled.low, scaled.high, scaled.spread) == pytest.approx(
        (anew.regression, anew.low, anew.high, anew.spread)
    )
    assert scaled.p == pytest.approx(anew.p)


@pytest.mark.parametrize(
    "call", [lambda: paired_t([1.0]), lambda: welch_t([1.0], [2.0]), lambda: mcnemar([], [])]
)
def test_too_few_values_are_refused(call):
    with pytest.raises(ValueError, match="got"):
        call()


@given(SHARES)
@settings(max_examples=10)
def test_corrections_are_statsmodels(p):
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])
    assert benjamini_hochberg(p) == pytest.approx(multipletests(p, method="fdr_bh")[1])


@given(SHARES)
def test_a_correction_keeps_the_order_and_lowers_nothing(p):
    for adjusted in (holm(p), benjamini_hochberg(p)):
        assert (adjusted >= np.asarray(p) - 1e-15).all()
        assert (adjusted <= 1).all()
        assert (np.diff(adjusted[np.argsort(p)]) >= -1e-15).all()
    assert (holm(p) >= benjamini_hochberg(p) - 1e-12).all()


def test_families_are_corrected_row_by_row_without_nan():
    p = np.array([[0.01, 0.04, 0.03], [0.01, np.nan, 0.03]])
    assert holm(p)[0].tolist() == holm(p[0]).tolist()
    assert holm(p)[1, [0, 2]].tolist() == holm([0.01, 0.03]).tolist()
    assert np.isnan(holm(p)[1, 1])


def test_no_tests_need_no_correction():
    assert holm([]).tolist() == benjamini_hochberg([]).tolist() == []


@pytest.mark.parametrize(
    ("effect", "n", "alpha"), [(1.0, 8, 0.05), (1.5, 5, 0.05), (2.5, 3, 0.05), (0.3, 40, 0.01)]
)
def test_power_is_statsmodels(effect, n, alpha):
    theirs = TTestPower().power(effect, n, alpha, alternative="larger")
    assert power_of_t(effect, n, alpha=alpha) == pytest.approx(theirs, abs=1e-4)


def test_power_is_what_a_simulation_finds(draws):
    regressions = draws.normal(1.0, 1.0, (20_000, 8))
    t = regressions.mean(1) / regressions.std(1, ddof=1) * math.sqrt(8)
    assert power_of_t(1.0, 8) == pytest.approx((t > stats.t.ppf(0.95, 7)).mean(), abs=0.01)


@given(st.integers(2, 60), st.floats(1e-6, 0.2))
def test_detectable_effect_has_the_stated_power(n, alpha):
    effect = detectable_effect(n, alpha=alpha)
    assert power_of_t(effect, n, alpha=alpha) == pytest.approx(0.8, abs=1e-6)


@given(st.floats(0.15, 5.0))
def test_the_pairs_needed_are_the_fewest(effect):
    needed = pairs_needed(effect)
    assert power_of_t(effect, needed) >= 0.8
    if needed > 2:
        assert power_of_t(effect, needed - 1) < 0.8


def test_an_effect_too_small_to_be_seen_says_so():
    assert pairs_needed(0.001) is None
    assert pairs_needed(0.0) is None


# Clusters


def test_clusters_of_equal_differences_count_once_each(draws):
    regressions = draws.normal(0.2, 1.0, 18)
    ours, each = (
        paired_clusters(np.repeat(regressions, 50), np.repeat(np.arange(18), 50)),
        paired_t(regressions),
    )
    assert (ours.regression, ours.low, ours.high, ours.p) == pytest.approx(
        (each.regression, each.low, each.high, each.p)
    )
    assert (ours.n, ours.spread) == pytest.approx((18, each.spread))


def test_clusters_of_one_example_are_a_paired_t_test(draws):
    regressions = draws.normal(0.1, 1.0, 300)
    ours, theirs = paired_clusters(regressions, np.arange(300)), paired_examples(regressions)
    assert (ours.low, ours.high, ours.p) == pytest.approx((theirs.low, theirs.high, theirs.p))


def test_one_cluster_has_no_test():
    with pytest.raises(ValueError, match="at least 2 clusters"):
        paired_clusters([0.0, 1.0], [3, 3])


def test_alarms_of_equal_models_are_rare_only_in_clusters():
    """Two trainings of one model: a caption is named well by one or the other, on average by both alike."""
    draws, captions = np.random.default_rng(3), np.repeat(np.arange(18), 40)
    alarms = {"clusters": 0, "images": 0}
    for _ in range(600):
        shares = draws.beta(4, 1, (2, 18))
        a, b = draws.random((2, len(captions))) < shares[:, captions]
        alarms["images"] += mcnemar(a, b).p <= 0.05
        alarms["clusters"] += paired_clusters(a.astype(float) - b, captions).p <= 0.05
    assert alarms["clusters"] / 600 <= 0.075
    assert alarms["images"] / 600 > 0.15
