"""Codebook usage agrees with hand-made tables, and is measured on real discrete codes."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from latentbench.analysis.core.registry import ANALYSES
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.rate.codebook import code_lengths, codebook, entropy, perplexity, shares, usage
from latentbench.models.protocols import Posterior


def column(*values):
    return torch.tensor(values).unsqueeze(1)


def every_value(size, times):
    return torch.arange(size).repeat(times).unsqueeze(1)


@pytest.mark.parametrize("size", [2, 7, 512])
def test_equal_shares_have_the_perplexity_of_their_number(size):
    indices = every_value(size, 3)
    lengths = code_lengths(indices, [size])
    assert perplexity(lengths) == (pytest.approx(size), None)
    assert entropy(lengths) == (pytest.approx(math.log(size)), None)
    assert usage(indices, [size]) == 1
    # The same shares among twice as many values.
    assert usage(indices, [2 * size]) == 0.5
    assert perplexity(code_lengths(indices, [2 * size]))[0] == pytest.approx(size)


def test_one_value_has_perplexity_one():
    indices = column(3, 3, 3)
    lengths = code_lengths(indices, [8])
    assert (perplexity(lengths), entropy(lengths)) == ((1, None), (0, None))
    assert usage(indices, [8]) == 1 / 8


def test_a_table_by_hand():
    """Shares ½, ¼, ¼ and 0: 1.5 ln 2 nats. A second position is constant."""
    indices = torch.cat([column(0, 0, 1, 2), column(5, 5, 5, 5)], dim=1)
    assert shares(indices, [4, 6])[0].tolist() == [0.5, 0.25, 0.25, 0]
    lengths = code_lengths(indices, [4, 6])
    assert (lengths / math.log(2)).tolist() == [[1, 0], [1, 0], [2, 0], [2, 0]]
    assert entropy(lengths)[0] == pytest.approx(1.5 * math.log(2))
    assert perplexity(lengths)[0] == pytest.approx((2**1.5 + 1) / 2)
    assert usage(indices, [4, 6]) == pytest.approx((3 / 4 + 1 / 6) / 2)
    # Lengths of 1, 1, 2, 2 bits: a standard deviation of 1 / √3, over √4.
    assert entropy(lengths)[1] == pytest.approx(math.log(2) / math.sqrt(3) / 2)
    assert perplexity(lengths)[1] == pytest.approx(2**1.5 / 2 * math.log(2) / math.sqrt(3) / 2)


def test_the_errors_are_the_spread_over_sets_of_images():
    """Two positions that agree in most images: their errors add up as those of independent ones do not."""
    generator = torch.Generator().manual_seed(0)
    p = torch.tensor([0.6, 0.25, 0.1, 0.05])
    first = p.multinomial(400 * 500, replacement=True, generator=generator)
    other = p.multinomial(400 * 500, replacement=True, generator=generator)
    second = torch.where(torch.rand(len(first), generator=generator) < 0.8, first, other)
    sets = torch.stack([first, second], dim=1).reshape(400, 500, 2)
    for measure in (entropy, perplexity):
        found = [measure(code_lengths(indices, [4, 4])) for indices in sets]
        values, errors = torch.tensor(found).double().T
        assert errors.mean().item() == pytest.approx(values.std().item(), rel=0.12)


def test_the_bias_is_about_what_the_title_says():
    generator = torch.Generator().manual_seed(0)
    size, n = 50, 1000
    found = [
        entropy(code_lengths(torch.randint(size, (n, 1), generator=generator), [size]))[0] for _ in range(50)
    ]
    bias = sum(found) / len(found) - math.log(size)
    assert bias == pytest.approx(-(size - 1) / (2 * n), rel=0.1)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=50), st.permutations(range(6)))
def test_relabelled_values_give_the_same_usage(values, names):
    indices, renamed = column(*values), column(*(names[value] for value in values))
    for indices_ in (indices, renamed):
        lengths = code_lengths(indices_, [6])
        assert -1e-12 <= entropy(lengths)[0] <= math.log(6) + 1e-12
    assert entropy(code_lengths(renamed, [6]))[0] == pytest.approx(
        entropy(code_lengths(indices, [6]))[0], abs=1e-12
    )
    assert usage(renamed, [6]) == usage(indices, [6]) == len(set(values)) / 6


@pytest.mark.parametrize(
    ("indices", "sizes", "message"),
    [
        (torch.zeros(0, 1, dtype=torch.int64), [3], r"N ≥ 1, got \[0, 1\]"),
        (column(0, 1), [3, 3], r"must be \[N, 2\] with N ≥ 1, got \[2, 1\]"),
        (column(0, 3), [3], r"within 0 and one less than their position's size of \[3\]"),
        (column(0, -1), [3], "within 0"),
    ],
)
def test_invalid_indices_are_refused(indices, sizes, message):
    with pytest.raises(ValueError, match=message):
        code_lengths(indices, sizes)


# The analysis


class Table:
    """Two positions of 4 and 3 values: the first tells the brightness of an image, the second nothing."""

    code_sizes = (4, 3)

    def encode(self, x):
        first = (4 * x.flatten(1).mean(1) / 0.4).long().clamp(0, 3)
        return Posterior(self.codes(torch.stack([first, torch.ones_like(first)], dim=1)))

    def decode(self, z):
        return (z[:, :1, None, None] / 4).expand(-1, 1, 28, 28)

    def indices(self, z):
        return z.round().long()

    def codes(self, indices):
        return indices.float()


def by_name(measurement):
    return {metric.name: metric for metric in measurement.metrics}


def test_the_analysis_of_a_table(context):
    measurement = codebook(Subject(Table(), context, seed=0))
    found = by_name(measurement)
    assert list(found) == [metric.name for metric in ANALYSES["codebook"].metrics]
    x = context.data.test.images.float() / 255
    counts = (10 * x.mean((1, 2, 3))).long().clamp(0, 3).bincount(minlength=4)
    p = counts[counts > 0] / 500
    assert len(p) > 1
    expected = -(p * p.log()).sum().item()
    assert found["code_entropy"].value == pytest.approx(expected, rel=1e-5)
    assert found["code_perplexity"].value == pytest.approx((math.exp(expected) + 1) / 2, rel=1e-5)
    assert found["code_usage"].value == pytest.approx((len(p) / 4 + 1 / 3) / 2)
    assert found["code_usage"].se is None
    assert found["code_entropy"].se > 0
    assert {metric.n for metric in found.values()} == {500}


@pytest.mark.parametrize("name", ["vae", "pca"])
def test_other_codes_have_no_codebook(name, request):
    metrics = codebook(request.getfixturevalue(name)).metrics
    assert {(metric.value, metric.reason) for metric in metrics} == {(None, "not a discrete code")}


def test_codes_that_are_not_finite_are_null(context):
    class Broken(Table):
        def encode(self, x):
            return Posterior(super().encode(x).mean * torch.nan)

    metrics = codebook(Subject(Broken(), context, seed=0)).metrics
    assert {metric.reason for metric in metrics} == {"codes hold values that are not finite"}
