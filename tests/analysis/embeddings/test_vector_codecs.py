"""Codecs of vectors against closed forms."""

import pytest
import torch

from latentbench.analysis.embeddings.vector_codecs import (
    product_quantisations,
    to_binary,
    to_float16,
    to_int8,
    truncations,
)


@pytest.fixture
def normal(draws):
    return torch.randn(2000, 6, generator=draws), torch.randn(300, 6, generator=draws)


def test_int8_is_off_by_half_a_step_at_most(normal):
    train, _ = normal
    step = (train.amax(0) - train.amin(0)) / 255
    error = (to_int8(train, train) - train).abs()
    assert (error <= step * 0.501).all()
    assert error.square().mean(0).tolist() == pytest.approx((step**2 / 12).tolist(), rel=0.1)


def test_int8_keeps_values_beyond_the_train_range_at_its_ends():
    train = torch.tensor([[0.0], [1.0]])
    assert to_int8(train, torch.tensor([[-3.0], [9.0]])).flatten().tolist() == pytest.approx([0, 1])


def test_binary_has_the_error_of_the_best_bit_for_a_normal(draws):
    """One bit leaves 1 − 2/π of the variance of a normal (Max 1960)."""
    values = torch.randn(200_000, 1, generator=draws)
    assert (to_binary(values, values) - values).square().mean().item() == pytest.approx(
        1 - 2 / torch.pi, rel=0.02
    )


@pytest.mark.parametrize("rounded", [to_int8, to_binary, to_float16])
def test_a_constant_dimension_stays_what_it_is(rounded):
    train = torch.full((5, 2), 0.25)
    assert torch.equal(rounded(train, train[:2]), train[:2])


def test_half_precision_has_no_infinities():
    large = torch.tensor([[1e30, -1e30]])
    assert to_float16(large, large).isfinite().all()


def test_vectors_of_low_rank_need_that_many_dimensions(draws):
    basis = torch.randn(2, 8, generator=draws)
    train, test = (torch.randn(count, 2, generator=draws) @ basis + 3 for count in (500, 50))
    coded = {each.name: each for each in truncations(train, test)}
    assert [name for name in coded if name.endswith("float32")] == [f"{d} × float32" for d in (2, 4, 8)]
    assert torch.allclose(coded["2 × float32"].vectors, test, atol=1e-4)
    assert coded["2 × int8"].bits == 16
    assert coded["4 × binary"].bits == 4


def test_all_dimensions_as_floats_are_the_vectors_themselves(normal):
    coded = {each.name: each.vectors for each in truncations(*normal)}
    assert torch.allclose(coded["6 × float32"], normal[1], atol=1e-5)


def test_few_different_vectors_are_kept_by_one_index(draws):
    train = torch.randn(16, 4, generator=draws).repeat(20, 1)
    first, *_ = product_quantisations(train, train[:16], seed=2**62)
    assert first.bits == 4
    assert torch.allclose(first.vectors, train[:16], atol=1e-5)


def test_more_parts_cost_more_bits_and_lose_less(normal):
    coded = list(product_quantisations(*normal, seed=0))
    assert [each.bits for each in coded] == [8, 16, 32]
    errors = [(each.vectors - normal[1]).square().mean().item() for each in coded]
    assert errors[0] > errors[1] > errors[2]
