"""Uniformity of a density: closed forms, and an order of two sets of codes."""

import numpy as np
import pytest
import torch

from latentbench.analysis.latent.density_uniformity import kernel_density, t_sne, uniformity


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_uniformity_of_known_densities():
    assert uniformity(np.full(7, 3.0)) == pytest.approx((0.0, 1.0, 0.0))
    # All mass on one of n points: CV √(n − 1), entropy 0, Gini 1 − 1/n.
    one = uniformity(np.array([1e-300] * 9 + [1.0]))
    assert one == pytest.approx((3.0, 0.0, 0.9), abs=1e-9)


def test_gini_is_the_mean_difference():
    density = np.random.default_rng(0).exponential(size=300)
    expected = np.abs(density[:, None] - density[None]).mean() / (2 * density.mean())
    assert uniformity(density).gini == pytest.approx(expected)


def test_the_scale_of_a_density_does_not_count():
    density = np.random.default_rng(0).exponential(size=300)
    assert uniformity(1e-6 * density) == pytest.approx(uniformity(density))


def test_density_of_a_normal_is_that_of_its_kernel():
    points = noise(4000, 2).double().numpy()
    expected = np.exp(-(points**2).sum(1) / 2) / (2 * np.pi)
    assert np.corrcoef(kernel_density(points), expected)[0, 1] > 0.98


def test_too_few_codes_have_no_map():
    with pytest.raises(ValueError, match="needs 91 codes, got 90"):
        t_sne(noise(90, 4))


def test_the_map_is_the_same_for_the_same_codes():
    codes = noise(120, 4)
    assert np.array_equal(t_sne(codes), t_sne(codes))
