"""Zero-shot classification and retrieval as formulas: functions of scores, definitions as in CLIP_benchmark.

`scores` are `[N, K]`, of N images for K classes, higher is better; `truth` is int64 `[N]`. An image whose
truth is no class (−1) counts and is never recognised.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

BINS = 15


def hits_at(scores: Tensor, truth: Tensor, k: int) -> Tensor:
    """Return True if the correct class is among the k best, bool `[N]`; ties go to the lower class.

    Raises ValueError unless 1 ≤ k ≤ K.
    """
    if not 1 <= k <= scores.shape[1]:
        raise ValueError(f"k must be 1 to {scores.shape[1]}, the number of classes, got {k}")
    label = truth.clamp(min=0).unsqueeze(1)
    own = scores.gather(1, label)
    ahead = (scores > own) | ((scores == own) & (torch.arange(scores.shape[1]) < label))
    return (ahead.sum(1) < k) & (truth >= 0)


def tied_accuracy(scores: Tensor, truth: Tensor, group: Tensor) -> Tensor:
    """Compute the probability of a correct guess if classes of a group are indistinguishable, float64 `[N]`.

    `scores` `[N, G]` are of groups, `group` int64 `[K]` gives the group of each class. One of the best
    group's classes is drawn at random, so an image counts as one over their number.
    """
    size = group.bincount(minlength=scores.shape[1]).double()
    best = scores.argmax(1)
    return torch.where(best == group[truth], 1 / size[best], 0.0)


def recall_per_class(hits: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Compute the share of each class's images that are recognised, float64 `[K]`; nan for an empty class."""
    count = labels.bincount(minlength=classes).double()
    return labels.bincount(hits.double(), minlength=classes) / count


def expected_calibration_error(probabilities: Tensor, truth: Tensor, *, bins: int = BINS) -> float:
    """Compute the mean distance of confidence and accuracy over bins of confidence, in [0, 1]; 0 is best.

    `probabilities` are `[N, K]`, `truth` is int64 `[N]`. The confidence of an image is its highest
    probability. Bins have equal width and count by their images: Σ_b n_b / N · |accuracy_b − confidence_b|
    (Guo et al. 2017, arXiv:1706.04599). Raises ValueError for other shapes and for no images.
    """
    if probabilities.ndim != 2 or truth.shape != probabilities.shape[:1] or not len(truth):
        shapes = f"{list(probabilities.shape)} and {list(truth.shape)}"
        raise ValueError(f"probabilities [N, K] and truth [N] with N ≥ 1 are needed, got {shapes}")
    table = reliability(probabilities, truth, bins)
    weight = table.count / table.count.sum()
    return float((weight * (table.accuracy - table.confidence).abs().nan_to_num()).sum())


@dataclass(frozen=True, eq=False)
class Reliability:
    """Bins of confidence: images in each, their mean confidence and accuracy (nan for an empty bin)."""

    count: Tensor
    confidence: Tensor
    accuracy: Tensor


def reliability(probabilities: Tensor, truth: Tensor, bins: int = BINS) -> Reliability:
    """Compare confidence and accuracy over `bins` equal parts of [0, 1], the upper end of each included."""
    confidence, predicted = probabilities.double().max(1)
    bin_of = ((confidence * bins).ceil().long() - 1).clamp(0, bins - 1)
    count = bin_of.bincount(minlength=bins).double()
    right = (predicted == truth).double()
    return Reliability(
        count,
        bin_of.bincount(confidence, minlength=bins) / count,
        bin_of.bincount(right, minlength=bins) / count,
    )


def retrieval_recall(scores: Tensor, positives: Tensor, *, k: int) -> float:
    """Compute the share of queries with a positive among their k best candidates, as in CLIP_benchmark.

    `scores` of N queries for C candidates are `[N, C]`, higher is better; `positives` are bool `[N, C]`. A
    query without any positive is left out. Raises ValueError for a k that is not 1 to C.
    """
    return retrieved(scores, positives, k=k)[positives.any(1)].double().mean().item()


def retrieved(scores: Tensor, positives: Tensor, *, k: int) -> Tensor:
    """Return True for queries with a positive among the k best candidates, bool `[N]`."""
    if not 1 <= k <= scores.shape[1]:
        raise ValueError(f"k must be 1 to {scores.shape[1]}, the number of candidates, got {k}")
    return positives.gather(1, scores.topk(k, dim=1).indices).any(1)


def ensemble(texts: Tensor) -> Tensor:
    """Combine several templates in one unit vector per class: `[P, K, D]` to `[K, D]`.

    Vectors are normalised, averaged over templates, and normalised again.
    """
    return F.normalize(F.normalize(texts, dim=2).mean(0), dim=1)


def cut(points: Tensor, width: int) -> Tensor:
    """Return the first dimensions of vectors `[N, D]`, normalised again: `[N, width]`."""
    return F.normalize(points[:, :width], dim=1)


def principal_axes(points: Tensor) -> Tensor:
    """Return an orthonormal basis `[D, D]`, in columns, of the axes of largest variation of vectors `[N, D]`.

    Vectors are rotated into it, not centred, so that at the full width every cosine is unchanged.
    """
    double = points.double()
    centred = double - double.mean(0)
    axes: Tensor = torch.linalg.eigh(centred.T @ centred)[1].flip(1)
    return axes.to(points.dtype)


def widths_up_to(width: int) -> list[int]:
    """Return the powers of two below the width, from 2, and the width itself.

    >>> widths_up_to(12), widths_up_to(1)
    ([2, 4, 8, 12], [1])
    """
    return [2**power for power in range(1, width.bit_length()) if 2**power < width] + [width]
