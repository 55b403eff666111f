"""Nearest neighbours against brute force in float64, where float32 shortcuts fail."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentbench.analysis.neighbours import nearest, squared_distances


def brute_force(queries, points):
    return (queries.double().unsqueeze(1) - points.double()).norm(dim=2)


def gaussian(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@given(
    m=st.integers(1, 40),
    n=st.integers(1, 40),
    d=st.integers(1, 9),
    chunk=st.integers(1, 50),
    seed=st.integers(0, 2**31),
    offset=st.sampled_from([0.0, 1.0, 1e4]),
    data=st.data(),
)
@settings(max_examples=80, deadline=None)
def test_distances_are_those_of_brute_force(m, n, d, chunk, seed, offset, data):
    k = data.draw(st.integers(1, n))
    queries = gaussian(m, d, seed=seed, dtype=torch.float64) + offset
    points = gaussian(n, d, seed=seed + 1, dtype=torch.float64) + offset
    distances, indices = nearest(queries, points, k, chunk=chunk)
    expected = brute_force(queries, points).sort(dim=1).values[:, :k]
    torch.testing.assert_close(distances, expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(brute_force(queries, points).gather(1, indices), distances)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_shifted_duplicate_is_at_distance_zero(dtype):
    """A float32 expansion without centring puts a point 0.03 and more from itself here."""
    points = (gaussian(500, 64) + 100).to(dtype)
    distances, indices = nearest(points, points, 1)
    assert distances.abs().max() == 0
    assert torch.equal(indices[:, 0], torch.arange(500))


def test_float32_finds_the_true_neighbours_of_shifted_points():
    points = gaussian(2000, 16) + 50
    distances, _ = nearest(points, points, 5, exclude_self=True)
    expected = brute_force(points, points).sort(dim=1).values[:, 1:6]
    torch.testing.assert_close(distances.double(), expected, rtol=1e-6, atol=0)


def test_self_is_skipped_and_its_duplicate_is_not():
    points = torch.tensor([[0.0, 0.0], [0.0, 0.0], [3.0, 4.0]])
    distances, indices = nearest(points, points, 2, exclude_self=True)
    assert distances.tolist() == [[0.0, 5.0], [0.0, 5.0], [5.0, 5.0]]
    assert indices[:2].tolist() == [[1, 2], [0, 2]]


def test_blocks_cover_every_pair_once():
    queries, points = gaussian(23, 3, seed=1), gaussian(11, 3, seed=2)
    blocks = [(rows, block.clone()) for rows, block in squared_distances(queries, points, chunk=5)]
    assert [(rows.start, rows.stop) for rows, _ in blocks] == [(0, 5), (5, 10), (10, 15), (15, 20), (20, 23)]
    whole = torch.cat([block for _, block in blocks])
    torch.testing.assert_close(whole.double(), brute_force(queries, points).square(), rtol=1e-4, atol=1e-5)


def test_inputs_are_not_changed():
    points = gaussian(50, 4)
    before = points.clone()
    nearest(points, points, 3, exclude_self=True)
    assert torch.equal(points, before)


@pytest.mark.parametrize(
    ("queries", "points", "k", "exclude_self", "message"),
    [
        (torch.zeros(3, 2), torch.zeros(3, 2), 3, True, "k must be 1 to 2 .* got 3"),
        (torch.zeros(3, 2), torch.zeros(3, 2), 0, False, "k must be 1 to 3 .* got 0"),
        (torch.zeros(3, 2), torch.zeros(3, 4), 1, False, r"\[3, 2\] and \[3, 4\]"),
        (torch.zeros(2, 2), torch.zeros(3, 2), 1, True, "2 queries and 3 points"),
        (torch.zeros(3, 2), torch.zeros(3, 2, dtype=torch.float64), 1, False, "share a float type"),
        (torch.tensor([[torch.nan]]), torch.zeros(3, 1), 1, False, "queries hold values that are not finite"),
        (torch.zeros(3, 1), torch.tensor([[torch.inf]]), 1, False, "points hold values that are not finite"),
    ],
)
def test_impossible_requests_are_refused(queries, points, k, exclude_self, message):
    with pytest.raises(ValueError, match=message):
        nearest(queries, points, k, exclude_self=exclude_self)
