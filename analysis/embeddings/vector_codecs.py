"""Codecs of vectors: fewer dimensions, fewer bits per dimension, or one index per part of the vector.

Every codec is fitted to train vectors and returns test vectors as they are after decoding, in their
original dimensions, so that every reader of vectors can read decoded ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from latentbench.analysis.zero_shot.zero_shot_metrics import principal_axes, widths_up_to
from latentbench.models.seeds import numpy_seed

CENTROIDS = 256
"""The centroids of each part of a product quantiser, as in Jégou et al. 2011, doi:10.1109/TPAMI.2010.57."""
MOST_PARTS = 32


@dataclass(frozen=True)
class NumberFormat:
    """A format of one coefficient: `rounded` decodes test values, given train values, both `[N, D]`."""

    name: str
    bits: int
    rounded: Callable[[Tensor, Tensor], Tensor]


def to_float16(_train: Tensor, values: Tensor) -> Tensor:
    """Round to half precision; values beyond its range become the largest that it holds."""
    largest = torch.finfo(torch.float16).max
    return values.clamp(-largest, largest).half().float()


def to_int8(train: Tensor, values: Tensor) -> Tensor:
    """Round to 256 evenly spaced levels from the smallest to the largest train value of each dimension."""
    low, high = train.amin(0), train.amax(0)
    step = ((high - low) / 255).clamp(min=torch.finfo(torch.float32).tiny)
    return low + ((values - low) / step).round().clamp(0, 255) * step


def to_binary(train: Tensor, values: Tensor) -> Tensor:
    """Keep the side of the train mean on which a value lies, as the mean of the train values of that side.

    A dimension whose train values are all equal has one side only.
    """
    middle = train.mean(0)
    above = train > middle
    count = above.sum(0)
    upper = torch.where(above, train, 0).sum(0) / count.clamp(min=1)
    lower = torch.where(above, 0, train).sum(0) / (len(train) - count).clamp(min=1)
    return torch.where((values > middle) & (count > 0), upper, lower)


FORMATS = (
    NumberFormat("float32", 32, lambda _train, values: values),
    NumberFormat("float16", 16, to_float16),
    NumberFormat("int8", 8, to_int8),
    NumberFormat("binary", 1, to_binary),
)


@dataclass(frozen=True, eq=False)
class CodedVectors:
    """Vectors `[N, D]` after decoding, and the size of each in bits."""

    name: str
    bits: int
    vectors: Tensor


def truncations(train: Tensor, vectors: Tensor) -> Iterator[CodedVectors]:
    """Yield vectors `[N, D]` cut to powers of two of leading principal axes, in each number format.

    The axes are those of the train vectors; dimensions that are left out take their train mean.
    """
    mean = train.mean(0)
    axes = principal_axes(train)
    for width in widths_up_to(vectors.shape[1]):
        kept = axes[:, :width]
        known, given = (train - mean) @ kept, (vectors - mean) @ kept
        for number in FORMATS:
            decoded = number.rounded(known, given) @ kept.T + mean
            yield CodedVectors(f"{width} × {number.name}", width * number.bits, decoded)


def product_quantisations(train: Tensor, vectors: Tensor, *, seed: int) -> Iterator[CodedVectors]:
    """Yield vectors `[N, D]` as one index per part, for powers of two of parts up to 32 and D.

    A part is a range of dimensions, its index the nearest of 256 centroids of the train vectors (k-means), or
    of as many as there are different ones.
    """
    parts = 1
    while parts <= min(MOST_PARTS, vectors.shape[1]):
        pieces = [
            _nearest_centroid(known, given, seed)
            for known, given in zip(train.tensor_split(parts, 1), vectors.tensor_split(parts, 1), strict=True)
        ]
        bits = sum(math.ceil(math.log2(count)) for _, count in pieces)
        yield CodedVectors(
            f"product quantisation, {parts}", bits, torch.cat([piece for piece, _ in pieces], 1)
        )
        parts *= 2


def _nearest_centroid(train: Tensor, values: Tensor, seed: int) -> tuple[Tensor, int]:
    """Return the centroid nearest to each value, and the number of centroids."""
    from sklearn.cluster import MiniBatchKMeans

    known = train.double().numpy()
    count = min(CENTROIDS, len(train.unique(dim=0)))
    means = MiniBatchKMeans(count, n_init=1, batch_size=2048, random_state=numpy_seed(seed)).fit(known)
    centroids = torch.from_numpy(means.cluster_centers_).float()
    return centroids[torch.from_numpy(means.predict(values.double().numpy())).long()], max(count, 2)
