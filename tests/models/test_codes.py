"""Codes of every shape as vectors: by position, one position each, and averaged."""

import pytest
import torch

from latentbench.models.codes import (
    by_position,
    channels,
    from_positions,
    one_position,
    pooled,
    positions,
    shape_text,
)

SHAPES = [(6,), (4, 3, 3), (5, 2)]


@pytest.mark.parametrize("shape", SHAPES)
def test_positions_can_be_put_back(shape):
    codes = torch.randn(7, *shape)
    vectors = by_position(codes)
    assert vectors.shape == (7, positions(shape), channels(shape))
    assert torch.equal(from_positions(vectors, shape), codes)


def test_a_position_of_a_grid_is_its_channels():
    codes = torch.randn(2, 4, 3, 3)
    assert torch.equal(by_position(codes)[1, 5], codes[1, :, 1, 2])
    torch.testing.assert_close(pooled(codes), codes.mean((2, 3)))


@pytest.mark.parametrize("shape", [(4, 3, 3), (9, 4)])
def test_one_position_is_any_of_them(shape):
    codes = torch.arange(9.0).expand(900, 4, 9).reshape(900, 4, 3, 3)
    codes = by_position(codes) if len(shape) == 2 else codes
    chosen = one_position(codes, torch.Generator().manual_seed(0))
    assert (chosen == chosen[:, :1]).all()
    counts = chosen[:, 0].long().bincount(minlength=9)
    assert counts.min() > 60
    assert torch.equal(chosen, one_position(codes, torch.Generator().manual_seed(0)))


def test_vectors_stay_as_they_are():
    codes = torch.randn(5, 3)
    assert one_position(codes, torch.Generator()) is codes
    assert pooled(codes) is codes
    assert shape_text((3,)) == "3"
