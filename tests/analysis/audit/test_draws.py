"""Every check draws the densities that it names: known moments and supports."""

import numpy as np
import pytest

from latentbench.analysis.audit import gaussians, mixtures, uniforms
from latentbench.analysis.audit.battery import CHECKS

N = 20_000


def draw(drawing, x, n=N):
    return drawing(np.random.default_rng(0), n)(x)


def test_a_shift_moves_every_coordinate():
    real, fake = draw(gaussians.shifted(3), 2.0)
    assert (real.shape, fake.shape) == ((N, 3), (N, 3))
    assert (*real.mean(0), *fake.mean(0)) == pytest.approx((0, 0, 0, 2, 2, 2), abs=0.05)


@pytest.mark.parametrize("real_has_it", [True, False])
def test_an_outlier_is_one_point_in_the_far_corner(real_has_it):
    real, fake = draw(gaussians.with_outlier(8, real_has_it=real_has_it), -3.0, 100)
    having, other = (real, fake) if real_has_it else (fake, real)
    assert (len(having), len(other)) == (101, 100)
    assert having[-1].tolist() == [3.0] * 8


def test_widening_changes_the_deviation_alone():
    _, fake = draw(gaussians.widened(2), 10.0)
    assert (fake.mean(), fake.std()) == pytest.approx((0, 10), abs=0.2)


def test_stretching_scales_the_second_coordinate_of_both():
    real, fake = draw(gaussians.stretched, 100.0)
    assert (*real.std(0), *fake.std(0)) == pytest.approx((1, 100, 1, 100), rel=0.05)
    assert fake.mean(0) == pytest.approx([6, 0], abs=3)


def test_the_tail_is_pareto_in_both():
    for points in draw(gaussians.with_tail, 3.0):
        assert points[:, 1].min() >= 1
        assert np.median(points[:, 1]) == pytest.approx(2 ** (1 / 1.01), rel=0.02)


def test_one_dimension_is_apart_and_the_others_agree():
    real, fake = draw(gaussians.one_apart, 4.0)
    assert real.shape == fake.shape == (N, 5)
    assert fake.mean(0) - real.mean(0) == pytest.approx([6, 0, 0, 0, 0], abs=0.05)


@pytest.mark.parametrize("real", [True, False])
def test_one_of_the_two_is_rounded(real):
    drawn = draw(gaussians.rounded(real=real), 10.0, 500)
    assert [(points == points.round()).all() for points in drawn] == [real, not real]


def test_dropped_modes_keep_the_weights_they_should():
    assert mixtures.all_but_the_first(0.75).tolist() == [1] + [0.25] * 9
    assert mixtures.without_the_last(3).tolist() == [1] * 7 + [0] * 3


def test_a_mixture_has_its_weights_means_and_width():
    rng = np.random.default_rng(0)
    points = mixtures.mixture(rng, N, np.array([[0.0], [10.0]]), 0.5, np.array([3.0, 1.0]))[:, 0]
    assert (points > 5).mean() == pytest.approx(0.25, abs=0.02)
    assert (points[points > 5].mean(), points[points > 5].std()) == pytest.approx((10, 0.5), abs=0.03)


def test_invented_modes_lie_far_from_the_real_ones():
    real, fake = draw(mixtures.in_the_plane, 10.0, 1000)
    far = np.linalg.norm(fake[:, None] - real[None], axis=2).min(1) > 1
    assert far.mean() == pytest.approx(0.5, abs=0.06)


def test_merged_modes_are_two_and_one():
    real, fake = draw(mixtures.merged(2), 5.0)
    assert (abs(real[:, 0]) < 0.5).mean() < 0.05 < (abs(fake[:, 0]) < 0.5).mean()
    assert fake.std() == pytest.approx(26**0.5, rel=0.02)


def test_spheres_have_their_radius():
    for points, radius in zip(draw(uniforms.grown(16), 0.3), (1, 0.3), strict=True):
        assert np.linalg.norm(points, axis=1) == pytest.approx(np.full(N, radius))


@pytest.mark.parametrize("d", [1, 8, 64])
def test_cubes_share_a_fifth_of_their_volume(d):
    _, fake = draw(uniforms.more_samples(d), 20_000.0, 1000)
    assert len(fake) == 20_000
    assert (fake < 1).all(1).mean() == pytest.approx(0.2, abs=0.02)


def test_the_ball_is_within_the_hole_of_the_torus():
    inner, outer = draw(uniforms.ball_or_torus(real_ball=True), 5000.0, 1000)
    assert np.linalg.norm(inner, axis=1).max() <= 0.8
    ring = np.hypot(np.hypot(outer[:, 0], outer[:, 1]) - 1, outer[:, 2])
    assert ring.max() <= 0.1
    assert (ring < 0.05).mean() == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("check", CHECKS.values(), ids=lambda check: check.name)
def test_a_thinned_sweep_keeps_its_ends_and_its_mark(check):
    for sweep in check.sweeps:
        thinned = sweep.thinned()
        assert (thinned[0], thinned[-1]) == (sweep.x[0], sweep.x[-1])
        assert list(thinned) == sorted(set(thinned))
        assert len(thinned) <= 12
        nearest = min(sweep.x, key=lambda x: abs(x - sweep.keep))
        assert nearest in thinned
