"""Each criterion passes its own shape, and fails the nearest one that breaks it."""

import numpy as np
import pytest

from latentbench.analysis.audit import criteria
from latentbench.analysis.audit.criteria import LEFT, RIGHT, Curve


def curve(*y, x=None):
    return Curve(np.arange(len(y), dtype=float) if x is None else np.array(x, dtype=float), np.array(y))


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (criteria.value(1, 1), curve(0, 0.951, 0), curve(0, 0.949, 0)),
        (criteria.value(LEFT, 0), curve(0.049, 1), curve(0.051, 1)),
        (criteria.value(RIGHT, 0.2), curve(1, 0.249), curve(1, 0.251)),
        (criteria.bell(1), curve(0, 0.21, 0), curve(0, 0.19, 0)),
        (criteria.bell(1), curve(0, 0.5, 0.29), curve(0, 0.5, 0.31)),
        (criteria.bell(1), curve(0, 0.5, 0.59, 0), curve(0, 0.5, 0.61, 0)),
        (criteria.bell(2), curve(0.1, 0.01, 0.5, 0.01, 0.2), curve(0.12, 0.01, 0.5, 0.01, 0.2)),
        (criteria.rising, curve(0.1, 0.01, 0.31), curve(0.1, 0.01, 0.29)),
        (criteria.rising, curve(0.09, 0, 1), curve(0.11, 0, 1)),
        (criteria.rising, curve(0, 1, 0.91), curve(0, 1, 0.89)),
        (criteria.falling, curve(0.91, 1, 0), curve(0.89, 1, 0)),
        (criteria.falling_by(1), curve(1, 0.89, 0), curve(1, 0.91, 0)),
        (criteria.flat, curve(0.5, 0.54, 0.5), curve(0.5, 0.56, 0.5)),
        (criteria.flat_from(2), curve(0, 9, 0.5, 0.54), curve(0, 0.5, 0.5, 0.56)),
    ],
)
def test_a_criterion_passes_its_shape_and_no_less(rule, good, bad):
    assert (rule(good), rule(bad)) == ("pass", "fail")


def test_a_wide_measure_is_high_low_or_neither():
    rule = criteria.one_or_zero(RIGHT)
    assert [rule(curve(0.5, y)) for y in (0.96, 0.04, 0.5)] == ["high", "low", "fail"]


def test_a_shape_may_be_low_or_high():
    rule = criteria.low_or_high(criteria.bell(1), criteria.rising)
    assert [rule(curve(*y)) for y in ((0, 1, 0), (0, 1, 1), (1, 0, 1))] == ["low", "high", "fail"]


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["pass", "pass"], "pass"),
        (["pass", "fail", "unmeasured"], "fail"),
        (["low", "pass", "low"], "low"),
        (["high", "pass"], "high"),
        (["low", "high"], "fail"),
        (["high", "unmeasured"], "unmeasured"),
    ],
)
def test_verdicts_join_as_published(verdicts, expected):
    assert criteria.together(verdicts) == expected
