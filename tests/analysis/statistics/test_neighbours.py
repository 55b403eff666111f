"""Nearest neighbours against brute force in float64, where float32 shortcuts fail."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentbench.analysis.statistics.neighbours import Balls, nearest, squared_distances


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


def long_tailed(n, d, seed, dtype=torch.float64):
    """Points whose norms run over six orders of magnitude: one precision does not fit all."""
    scale = 10 ** gaussian(n, 1, seed=seed, dtype=torch.float64)
    return (scale * gaussian(n, d, seed=seed + 1, dtype=torch.float64)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_near_points_are_told_apart_where_others_are_far_out(dtype):
    queries, points = long_tailed(300, 2, 0, dtype), long_tailed(1000, 2, 2, dtype)
    found, _ = nearest(queries, points, 5)
    expected = brute_force(queries, points).sort(dim=1).values[:, :5]
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0)


@given(
    m=st.integers(1, 60),
    n=st.integers(1, 150),
    d=st.integers(1, 5),
    chunk=st.integers(1, 70),
    seed=st.integers(0, 2**31),
    size=st.sampled_from([0.0, 0.3, 1.0, 1e3]),
    make=st.sampled_from([lambda *a: gaussian(*a[:2], seed=a[2], dtype=torch.float64), long_tailed]),
)
@settings(max_examples=80, deadline=None)
def test_balls_hold_what_brute_force_says(m, n, d, chunk, seed, size, make):
    points, centres = make(m, d, seed), make(n, d, seed + 7)
    radii = size * gaussian(n, 1, seed=seed + 3, dtype=torch.float64).abs().squeeze(1)
    inside = brute_force(points, centres) < radii
    balls = Balls(centres, radii)
    pairs = [torch.stack(pair, dim=1) for pair in balls.members(points, chunk=chunk)]
    assert torch.equal(torch.cat(pairs), inside.nonzero())
    assert torch.equal(balls.hold(points, chunk=chunk), inside.any(1))


@given(n=st.integers(1, 100), d=st.integers(1, 3), radius=st.integers(0, 4), seed=st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_a_point_at_exactly_the_radius_is_outside(n, d, radius, seed):
    """Many distances in a lattice equal the radius exactly."""
    lattice = torch.randint(0, 5, (2, n, d), generator=torch.Generator().manual_seed(seed)).double()
    inside = brute_force(*lattice) < radius
    balls = Balls(lattice[1], torch.full((n,), float(radius)))
    assert torch.equal(torch.cat([torch.stack(p, 1) for p in balls.members(lattice[0])]), inside.nonzero())
    assert torch.equal(balls.hold(lattice[0]), inside.any(1))


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
