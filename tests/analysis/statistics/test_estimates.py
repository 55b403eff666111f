"""One estimate: over seeds, of one measurement, and without an error."""

import math

import pytest

from latentbench.analysis.core.metric import Metric
from latentbench.analysis.statistics.estimates import Estimate, estimate


def metric(value, se=None, version=1):
    return Metric("m", version, value, se, 100, "", "higher", None if value is not None else "why")


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
