"""The intrinsic dimension of codes, from the distances to their two nearest neighbours."""

from __future__ import annotations

import torch
from torch import Tensor

from latentbench.analysis.statistics.neighbours import nearest

DISCARDED = 0.1
"""The share of the largest ratios that the fit leaves out: they belong to points around which density
varies."""
FEWEST = 20


def two_nn(points: Tensor) -> float:
    """Estimate the intrinsic dimension of points `[N, D]` from the distances of two nearest neighbours.

    Facco et al. 2017 (doi:10.1038/s41598-017-11873-y): for locally even density P(ratio ≤ μ) = 1 − μ^−d; d is
    the slope of −ln(1 − P) over ln μ. Equals scikit-dimension's TwoNN. Copies of a point are counted once:
    their ratio is not defined. Raises ValueError for fewer than 20 different points.
    """
    points = points.double().unique(dim=0)
    if len(points) < FEWEST:
        raise ValueError(f"two neighbours need {FEWEST} different points, got {len(points)}")
    distances, _ = nearest(points, points, 2, exclude_self=True)
    kept = int(len(points) * (1 - DISCARDED))
    log_ratio = (distances[:, 1] / distances[:, 0]).log().sort().values[:kept]
    survival = -torch.log1p(-torch.arange(1, kept + 1, dtype=torch.float64) / len(points))
    return float(log_ratio @ survival / (log_ratio @ log_ratio))
