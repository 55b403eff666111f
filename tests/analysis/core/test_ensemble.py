"""A metric over judges is their mean, and its error holds their spread."""

import math

import pytest
from scipy import stats

from latentbench.analysis.core.ensemble import judge_error, over_judges
from latentbench.analysis.core.metric import MetricDefinition
from latentbench.analysis.statistics.estimates import estimate

METRIC = MetricDefinition("distance", "", "lower", "A distance.")


def measured(*values, se=None, common_se=None):
    return [METRIC.measured(value, se=se, n=10, common_se=common_se) for value in values]


@pytest.mark.parametrize("values", [(1.0, 2.0), (277.3, 306.7, 150.3), (1.0, 2.0, 4.0, 8.0, 16.0)])
def test_judge_error_is_that_of_students_t(values):
    low, high = stats.t.interval(0.95, len(values) - 1, loc=stats.tmean(values), scale=stats.sem(values))
    assert 1.96 * judge_error(values) == pytest.approx((high - low) / 2)


def test_error_has_the_sampling_error_and_the_judges_spread():
    metric = over_judges(measured(1.0, 2.0, 3.0, se=0.3, common_se=0.2))
    spread = stats.t.ppf(0.975, 2) / math.sqrt(3) / 1.96
    assert (metric.value, metric.by_judge, metric.n) == (2.0, (1.0, 2.0, 3.0), 10)
    assert metric.se == pytest.approx(math.hypot(0.3, spread))
    assert metric.common_se == pytest.approx(math.hypot(0.2, spread))


def test_one_judge_changes_nothing_but_names_its_value():
    (alone,) = measured(1.0, se=0.3)
    metric = over_judges([alone])
    assert (metric.value, metric.se, metric.common_se, metric.by_judge) == (1.0, 0.3, None, (1.0,))


def test_more_seeds_do_not_shrink_the_judges_part():
    seeds = [over_judges(measured(1.0, 2.0, 3.0, se=0.1))] * 20
    found = estimate(seeds)
    assert found.common == pytest.approx(1.96 * judge_error([1.0, 2.0, 3.0]))
    assert found.half_width == pytest.approx(math.hypot(found.common, 1.96 * 0.1 / math.sqrt(20)))


def test_without_a_sampling_error_one_seed_has_none():
    metric = over_judges(measured(1.0, 2.0, 3.0))
    assert metric.se is None
    assert metric.common_se == judge_error([1.0, 2.0, 3.0])


def test_null_by_one_judge_is_null():
    metrics = [*measured(1.0, 2.0), METRIC.missing("not finite", n=10)]
    assert over_judges(metrics) == metrics[2]


def test_doubt_of_one_judge_remains():
    first, second = measured(1.0, 2.0)
    metric = over_judges([first, second.doubted("contended", "seen")])
    assert (metric.value, metric.doubt, metric.reason) == (1.5, "contended", "seen")


def test_judges_cover_the_mean_of_all_judges():
    """The interval of three judges holds the mean of the population they come from in 95 % of draws."""
    draws = stats.norm.rvs(100, 30, size=(2000, 3), random_state=0)
    reached = [abs(row.mean() - 100) <= 1.96 * judge_error(row.tolist()) for row in draws]
    assert sum(reached) / len(reached) == pytest.approx(0.95, abs=0.015)
