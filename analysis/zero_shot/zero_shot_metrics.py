"""Zero-shot classification and retrieval as formulas: functions of scores, definitions as in CLIP_benchmark.

`scores` are `[N, K]`, of N images for K classes, higher is better; `truth` is int64 `[N]`. An image whose
truth is no class (−1) counts and is never recognised.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from latentbench.analysis.statistics.intervals import clustered_se

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


# Seen and unseen captions


@dataclass(frozen=True, eq=False)
class CaptionScores:
    """A score for each of the M captions and each image, higher is better, and the correct captions.

    `seen` and `unseen` are float `[N, M]` over the images of seen and of unseen captions, `*_truth` int64
    `[N]`; `held_out` bool `[M]` marks the captions that were not trained on.
    """

    seen: Tensor
    seen_truth: Tensor
    unseen: Tensor
    unseen_truth: Tensor
    held_out: Tensor


def harmonic_mean(first: float, second: float) -> float:
    """Compute 2ab / (a + b) of two accuracies, 0 if both are 0: high only if both are."""
    return 2 * first * second / (first + second) if first + second > 0 else 0.0


def seen_unseen_auc(scores: CaptionScores) -> tuple[float, float | None]:
    """Compute the area under the curve of seen against unseen accuracy, by bias for held-out captions.

    Chao et al. 2016 (arXiv:1605.04253): a bias b is added to every held-out caption's score. An unseen
    image is correct for every b above its own threshold, a seen image for every b below its own, so the
    area is the share of (unseen, seen) pairs that some b gets both right. Range [0, 1]. Returns the area
    and its standard error over captions (DeLong et al. 1988, in clusters).
    """
    needed = _bias_needed(scores.unseen, scores.unseen_truth, scores.held_out)
    borne = -_bias_needed(scores.seen, scores.seen_truth, ~scores.held_out)
    both = (needed.unsqueeze(1) < borne).double()
    truths = scores.unseen_truth, scores.seen_truth
    errors = [clustered_se(both.mean(1 - part), truth) for part, truth in enumerate(truths)]
    known = [error for error in errors if error is not None]
    return both.mean().item(), math.hypot(*known) if known else None


def _bias_needed(scores: Tensor, truth: Tensor, group: Tensor) -> Tensor:
    """Return the bias for its `group` of captions above which each image is correct, `[N]`; ∞ if none helps.

    None helps if another caption of the same group has a higher score than the correct one.
    """
    own = scores.gather(1, truth.unsqueeze(1)).squeeze(1)
    best_in_group = scores[:, group].amax(1)
    needed = scores[:, ~group].amax(1) - own
    return torch.where(own >= best_in_group, needed, torch.inf)
