"""Intrinsic dimension against scikit-dimension, and on manifolds whose dimension is known."""

import pytest
import skdim
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentbench.analysis.latent.intrinsic_dimension import two_nn


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(
    n=st.integers(20, 200),
    d=st.integers(2, 12),
    offset=st.sampled_from([0.0, 100.0]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=30, deadline=None)
def test_it_is_scikit_dimensions(n, d, offset, seed):
    points = gaussian(n, d, seed=seed) + offset
    assert two_nn(points) == pytest.approx(skdim.id.TwoNN().fit(points.numpy()).dimension_, rel=1e-6)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_a_plane_in_many_dimensions_has_its_own(d):
    points = torch.rand(5000, d, generator=torch.Generator().manual_seed(0)).double() @ gaussian(d, 40)
    assert two_nn(points) == pytest.approx(d, rel=0.08)
    assert two_nn(points.repeat(2, 1)) == two_nn(points)


def test_too_few_points_are_refused():
    with pytest.raises(ValueError, match="20 different points, got 1"):
        two_nn(torch.ones(100, 2))
