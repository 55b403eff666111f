"""One estimate: over seeds, of one measurement, and without an error."""

import math

import numpy as np
import pytest

from latentbench.analysis.core.metric import Metric
from latentbench.analysis.statistics.estimates import Estimate, estimate, of_seeds


def metric(value, se=None, version=1, common_se=None):
    reason = None if value is not None else "why"
    return Metric("m", version, value, se, 100, "", "higher", reason, common_se=common_se)


def test_several_seeds_have_students_interval():
    found = estimate([metric(value, 0.5) for value in (1.0, 2.0, 3.0)])
    assert (found.value, found.n, found.repeated) == (2.0, 3, "seeds")
    assert found.half_width == pytest.approx(4.302653 / 3**0.5, rel=1e-6)


def test_one_seed_has_the_interval_of_its_measurement():
    assert estimate([metric(1.0, 0.5)]) == Estimate(1.0, 0.98, 100, "examples")


def test_a_missing_error_is_missing():
    found = estimate([metric(1.0)])
    assert (found.half_width, found.repeated, found.interval) == (None, None, None)
    assert math.isnan(found.error_bar)


def test_seeds_without_a_value_do_not_count():
    assert estimate([metric(None), metric(2.0, 0.5), metric(None)]).repeated == "examples"
    assert estimate([metric(None)]) is None
    assert estimate([]) is None


def test_only_the_newest_version_counts():
    assert estimate([metric(1.0, version=1), metric(5.0, 0.5, version=2)]).value == 5.0


def test_identical_seeds_keep_the_error_of_their_images():
    found = estimate([metric(0.152, 0.0036, common_se=0.0036)] * 5)
    assert found.half_width == pytest.approx(1.96 * 0.0036)
    assert found.common == pytest.approx(1.96 * 0.0036)
    assert (found.n, found.repeated) == (5, "seeds")


def test_equal_seeds_vary_by_no_less_than_their_error():
    """Four seeds that read 0, each ± 0.1, say that the value is within 0.05 of 0, not that it is 0."""
    found = estimate([metric(0.0, 0.1 / 1.96)] * 4)
    assert (found.value, found.half_width, found.n) == (0.0, pytest.approx(0.05), 4)
    assert found.overlaps(Estimate(0.04))


def test_only_the_error_that_seeds_do_not_share_shrinks():
    found = estimate([metric(0.5, 0.5, common_se=0.3)] * 16)
    assert found.half_width == pytest.approx(1.96 * math.hypot(0.4 / 4, 0.3))


def test_equal_seeds_without_any_error_have_no_interval():
    found = estimate([metric(0.1 + 0.2), metric(0.3), metric(0.3)])
    assert (found.half_width, found.n, found.repeated) == (None, 3, "seeds")
    assert math.isnan(found.error_bar)
    assert estimate([metric(1.0, 0.0)]).half_width is None


def test_a_spread_above_the_stated_errors_stays_as_it_is():
    values = (1.0, 2.0, 3.0)
    with_error = estimate([metric(value, 0.5) for value in values])
    assert with_error == estimate([metric(value) for value in values])


def test_a_common_error_adds_to_the_spread_over_seeds():
    seeds = estimate([metric(value) for value in (1.0, 2.0, 3.0)])
    both = estimate([metric(value, 1.5, common_se=error) for value, error in ((1, 0.6), (2, 0.8), (3, None))])
    assert both.half_width**2 == pytest.approx(seeds.half_width**2 + 1.96**2 * (0.36 + 0.64) / 2)
    assert seeds.common is None


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("common", [0.0, 0.5, 2.0])
def test_intervals_cover_if_seeds_and_images_vary(seeds, common):
    draws = np.random.default_rng([seeds, int(2 * common)])
    trainings = draws.standard_normal((4000, seeds))
    images = common * draws.standard_normal((4000, 1))
    found = [of_seeds(values, common) for values in trainings + images]
    covered = np.mean([abs(each.value) <= each.half_width for each in found])
    assert 0.94 <= covered <= 0.995


def test_an_estimate_in_another_unit_keeps_its_common_part():
    found = of_seeds([1.0, 2.0], 0.5).scaled(1000)
    assert found.common == pytest.approx(1.96 * 500)
