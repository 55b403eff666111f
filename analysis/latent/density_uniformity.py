"""Analysis `density_uniformity`: how evenly codes fill a t-SNE map, as published for tokenizers.

The map decides the value: t-SNE spreads points evenly at the scale of its perplexity, so a difference of
codes may vanish in the map or arise in it. Compare values of one number of codes and one perplexity only. It
is no measure of how well codes can be generated; it is here because published tokenizers are compared by it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentbench.analysis.core.metric import Unmeasurable, define, finite
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import Subject

PERPLEXITY, ITERATIONS, SEED = 30, 1000, 42
"""The settings that published values were measured with; the seed is not the subject's for that reason."""
POINTS = 10_000
FEWEST = 3 * PERPLEXITY + 1

T_SNE_CV = define(
    "t_sne_density_cv",
    better="neither",
    title="Coefficient of variation of the density of codes in a t-SNE map; depends on t-SNE, 0 is uniform.",
    heading="t-SNE CV",
    tolerance=0.05,
)
T_SNE_ENTROPY = define(
    "t_sne_density_entropy",
    better="neither",
    title="Entropy of the density of codes in a t-SNE map, over its maximum; depends on t-SNE, 1 is uniform.",
    heading="t-SNE entropy",
    tolerance=0.01,
    decimals=4,
)
T_SNE_GINI = define(
    "t_sne_density_gini",
    better="neither",
    title="Gini coefficient of the density of codes in a t-SNE map; depends on t-SNE, 0 is uniform.",
    heading="t-SNE Gini",
    tolerance=0.05,
)


class Uniformity(NamedTuple):
    """The uniformity of positive densities at points: 0, 1 and 0 if all are equal."""

    cv: float
    entropy: float
    gini: float


def uniformity(density: NDArray[np.float64]) -> Uniformity:
    """Compute the coefficient of variation s / mean, the entropy over ln N, and the Gini coefficient.

    Takes densities `[N]` > 0, N ≥ 2. The entropy is that of the densities as shares of their sum; the Gini
    coefficient is Σᵢⱼ |dᵢ − dⱼ| / (2 N² mean).

    >>> uniformity(np.ones(4))
    Uniformity(cv=0.0, entropy=1.0, gini=0.0)
    >>> round(uniformity(np.array([1.0, 3.0])).gini, 3)
    0.25
    """
    ordered = np.sort(density)
    n, share = len(ordered), ordered / ordered.sum()
    gini = float((2 * np.arange(1, n + 1) - n - 1) @ ordered / (n * ordered.sum()))
    entropy = float(-(share * np.log(share)).sum() / np.log(n))
    return Uniformity(float(ordered.std() / ordered.mean()), entropy, gini)


def t_sne(codes: Tensor, *, seed: int = SEED) -> NDArray[np.float64]:
    """Map codes `[N, D]` to the plane by scikit-learn's t-SNE, `[N, 2]`. Raises ValueError below 91 codes."""
    if len(codes) < FEWEST:
        raise ValueError(f"t-SNE with perplexity {PERPLEXITY} needs {FEWEST} codes, got {len(codes)}")
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    with threadpool_limits(torch.get_num_threads()):
        mapped = TSNE(perplexity=PERPLEXITY, max_iter=ITERATIONS, random_state=seed).fit_transform(
            codes.float().numpy()
        )
    return np.asarray(mapped, dtype=np.float64)


def kernel_density(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Estimate the density at points `[N, 2]` by Gaussian kernels of Scott's width, `[N]`."""
    from scipy.stats import gaussian_kde

    return np.asarray(gaussian_kde(points.T)(points.T))


@analysis("density_uniformity", [T_SNE_CV, T_SNE_ENTROPY, T_SNE_GINI], opt_in=True)
def density_uniformity(subject: Subject) -> Measurement:
    """Map the first 10,000 test codes by t-SNE, one position of each grid; takes minutes."""
    codes = finite(subject.test_points.mean[:POINTS]).unique(dim=0)
    if len(codes) < FEWEST:
        raise Unmeasurable(f"t-SNE needs {FEWEST} different test codes, got {len(codes)}")
    points = t_sne(codes)
    found = uniformity(kernel_density(points))
    metrics = tuple(
        metric.measured(value, n=len(codes))
        for metric, value in zip((T_SNE_CV, T_SNE_ENTROPY, T_SNE_GINI), found, strict=True)
    )
    return Measurement(metrics)
