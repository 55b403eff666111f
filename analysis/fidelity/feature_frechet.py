"""The Fréchet distance of two sets of images by their features, with its error over images."""

from __future__ import annotations

import torch

from latentbench.analysis.fidelity.generative_metrics import frechet_between
from latentbench.analysis.statistics.feature_sums import FeatureSums, Points
from latentbench.analysis.statistics.intervals import spread_of_left_out
from latentbench.analysis.statistics.moments import Moments


def frechet(a: Points, b: Points) -> float:
    """Compute the Fréchet distance of two sets of at least two images.

    With fewer images than features, the covariances have a low rank: with centred features A and B the
    trace of (S_a S_b)^½ is the sum of the singular values of A Bᵀ, `[N, M]`, over √((N − 1) (M − 1)).
    """
    if isinstance(a, Moments) or isinstance(b, Moments):
        return frechet_between(*(each if isinstance(each, Moments) else Moments.of(each) for each in (a, b)))
    means = [each.double().mean(0) for each in (a, b)]
    left, right = (
        (each.double() - mean) / (len(each) - 1) ** 0.5 for each, mean in zip((a, b), means, strict=True)
    )
    cross = torch.linalg.svdvals(left @ right.T).sum()
    spread = left.square().sum() + right.square().sum() - 2 * cross
    return max(float((means[0] - means[1]).square().sum() + spread), 0.0)


def frechet_of_pairs(originals: FeatureSums, others: FeatureSums) -> tuple[float, float | None]:
    """Compute the distance of images to the originals that they were made from, and its error over images.

    For the error an original is left out with its image. It is None for fewer than ten images.
    """
    left_out = [frechet(*pair) for pair in zip(originals.left_out, others.left_out, strict=True)]
    error = spread_of_left_out(left_out) if left_out else None
    return frechet(originals.whole, others.whole), error


def frechet_to_fixed(real: FeatureSums, samples: FeatureSums) -> tuple[float, float | None]:
    """Compute the distance of samples to fixed real images, and its error over sets of samples."""
    left_out = [frechet(real.whole, points) for points in samples.left_out]
    return frechet(real.whole, samples.whole), spread_of_left_out(left_out) if left_out else None
