"""The use of a discrete code: how many of its values occur, and how evenly.

A code's rate is the cost of sending it without using how often its values occur: ln K per position.
An entropy coder that knows how often each value occurs at each position, and nothing else, needs the
`code_entropy`; the perplexity is the number of equally frequent values that would need as much.

Entropies are those of the shares observed among N images, which are too low on average, by about
(K − 1) / 2N nats a position of K values in use (Miller 1955). A position of more values than there are test
images cannot show them all.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from latentbench.analysis.core.metric import Unmeasurable, define, finite
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.statistics.intervals import standard_error
from latentbench.models.protocols import DiscreteAutoencoder

NOT_DISCRETE = "not a discrete code"


def shares(indices: Tensor, code_sizes: Sequence[int]) -> list[Tensor]:
    """Return the share of each value at each position: float64 `[size]` for each of P, summing to 1.

    `indices` are int64 `[N, P]`. Raises ValueError for no images, for other than P sizes, and for a value
    that is not 0 … size − 1.
    """
    if indices.ndim != 2 or len(indices) == 0 or indices.shape[1] != len(code_sizes):
        raise ValueError(f"indices must be [N, {len(code_sizes)}] with N ≥ 1, got {list(indices.shape)}")
    if bool((indices < 0).any()) or bool((indices >= torch.tensor(code_sizes)).any()):
        raise ValueError(f"indices must be within 0 and one less than their position's size of {code_sizes}")
    return [
        column.bincount(minlength=size).double() / len(indices)
        for column, size in zip(indices.T, code_sizes, strict=True)
    ]


def usage(indices: Tensor, code_sizes: Sequence[int]) -> float:
    """Compute the share of a position's values among indices `[N, P]`, mean over positions, in (0, 1]."""
    used = [(share > 0).double().mean() for share in shares(indices, code_sizes)]
    return torch.stack(used).mean().item()


def code_lengths(indices: Tensor, code_sizes: Sequence[int]) -> Tensor:
    """Compute −ln of each value's share of indices `[N, P]`, nats, float64 `[N, P]`.

    An entropy coder that knows the shares needs this many nats. The mean over images is each position's
    entropy.
    """
    columns = [
        -share.log()[column] for share, column in zip(shares(indices, code_sizes), indices.T, strict=True)
    ]
    return torch.stack(columns, dim=1)


def entropy(lengths: Tensor) -> tuple[float, float | None]:
    """Sum the entropy over positions, nats, with its standard error, from `code_lengths` `[N, P]`.

    The error is that of the mean length (delta method, positions of one image kept together): of first
    order, so None if all images have the same length, as with equal shares or with one value.
    """
    return lengths.mean(0).sum().item(), _varying_error(lengths.sum(1))


def perplexity(lengths: Tensor) -> tuple[float, float | None]:
    """Compute exp(entropy), mean over positions, with standard error, from `code_lengths` `[N, P]`.

    It is 1 for one value and the number of values for equal shares. Its error is computed like that of
    `entropy`.
    """
    of_positions = lengths.mean(0).exp()
    return of_positions.mean().item(), _varying_error((lengths * of_positions).mean(1))


def _varying_error(values: Tensor) -> float | None:
    return standard_error(values) if bool((values != values[0]).any()) else None


CODE_USAGE = define(
    "code_usage",
    unit="fraction",
    better="higher",
    title="Share of the values of a discrete code that occur among the test images, mean over positions.",
    heading="codes used",
)
CODE_PERPLEXITY = define(
    "code_perplexity",
    unit="codes",
    better="higher",
    title="Perplexity of the values of a discrete code over the test images, mean over positions.",
    heading="perplexity",
    decimals=1,
)
CODE_ENTROPY = define(
    "code_entropy",
    unit="nats",
    better="neither",
    title="Rate of an entropy coder of independent positions: entropy of the values over the test images "
    "(low by about (values in use − 1) / 2n a position), summed.",
    heading="code entropy",
    decimals=2,
)


@analysis("codebook", [CODE_USAGE, CODE_PERPLEXITY, CODE_ENTROPY])
def codebook(subject: Subject) -> Measurement:
    """Measure use, perplexity and entropy of the test images' codes; null for a code that is not discrete."""
    if not isinstance(subject.model, DiscreteAutoencoder):
        raise Unmeasurable(NOT_DISCRETE)
    codes, sizes = finite(subject.test_codes.mean), subject.model.code_sizes
    indices = subject.indices(codes)
    lengths, n = code_lengths(indices, sizes), len(indices)
    (mean_perplexity, perplexity_se), (total, total_se) = perplexity(lengths), entropy(lengths)
    return Measurement(
        (
            CODE_USAGE.measured(usage(indices, sizes), n=n),
            CODE_PERPLEXITY.measured(mean_perplexity, se=perplexity_se, n=n, common_se=perplexity_se),
            CODE_ENTROPY.measured(total, se=total_se, n=n, common_se=total_se),
        )
    )
