"""Interpolation between nearest codes."""

import pytest
import torch

from latentbench.analysis.health.interpolation import midpoints, slerp

from .conftest import noise


def test_ends_of_the_arc_are_the_codes():
    a, b = noise(50, 4, 3, 3), noise(50, 4, 3, 3, seed=1)
    assert torch.allclose(slerp(a, b, 0.0), a, atol=1e-6)
    assert torch.allclose(slerp(a, b, 1.0), b, atol=1e-6)


def test_middle_of_the_arc_keeps_the_length():
    a, b = (torch.nn.functional.normalize(noise(50, 8, seed=seed)) for seed in (0, 1))
    middle = slerp(a, b, 0.5)
    assert middle.norm(dim=1).tolist() == pytest.approx([1.0] * 50, abs=1e-5)
    assert torch.allclose((middle * a).sum(1), (middle * b).sum(1), atol=1e-5)


def test_codes_without_an_arc_are_joined_by_a_line():
    """Opposite, parallel and zero codes, and codes of one dimension."""
    a = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    b = torch.tensor([[-3.0, 0.0], [2.0, 2.0], [0.0, 4.0]])
    assert torch.allclose(slerp(a, b, 0.5), (a + b) / 2)
    assert slerp(torch.tensor([[2.0]]), torch.tensor([[-1.0]]), 0.5).item() == pytest.approx(0.5)


def test_midpoints_are_with_the_nearest_other_code():
    codes = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 5.0], [1.0, 0.1]])
    half = 0.5**0.5
    found = midpoints(codes)
    assert torch.allclose(found[0], slerp(codes[:1], codes[3:], 0.5)[0])
    assert found[1].norm().item() == pytest.approx(1.0, abs=0.05)
    assert torch.allclose(midpoints(codes, alpha=0.0), codes)
    assert torch.allclose(midpoints(torch.eye(2))[0], torch.tensor([half, half]))
