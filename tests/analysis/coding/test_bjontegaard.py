"""The Bjøntegaard rate difference, against shifts known exactly and the reference implementation."""

import pytest

from latentbench.analysis.coding.bjontegaard import bd_rate

ANCHOR = [(9487.76, 40.037), (4593.60, 38.615), (2486.44, 36.845), (1358.24, 34.851)]
TEST = [(9787.80, 40.121), (4469.00, 38.651), (2451.52, 36.970), (1356.24, 34.987)]


def test_bd_rate_of_the_published_example():
    # libx265 at two presets; `bjontegaard` 1.3.0, method pchip, which equals the spreadsheet of JVET.
    assert bd_rate(TEST, ANCHOR) == pytest.approx(-0.04417485350589045, rel=1e-9)


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.25])
def test_constant_factor_of_the_rate_is_the_difference(factor):
    assert bd_rate([(factor * rate, psnr) for rate, psnr in ANCHOR], ANCHOR) == pytest.approx(factor - 1)


def test_points_that_a_cheaper_one_beats_have_no_effect():
    assert bd_rate([*TEST, (9000.0, 35.0), (20_000.0, 40.121)], ANCHOR) == bd_rate(TEST, ANCHOR)


def test_curves_without_a_common_range_have_none():
    assert bd_rate([(rate, psnr - 20) for rate, psnr in ANCHOR], ANCHOR) is None
    assert bd_rate(TEST[:1], ANCHOR) is None
