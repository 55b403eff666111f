"""The overlap of two densities, estimated from above by a held-out test that tells their draws apart.

For any test, 1 − (true-positive rate − false-positive rate) on held-out points is at least
∫ min(p, q), up to chance. How close it comes depends on the test, so several scores, each an estimate of
log q/p that is exact for one kind of density, are learned on half of the points and combined, with
non-negative weights, on a sixth; the last third is used for evaluation. Weights are not negative because a
score that is wrong by chance must not become evidence with its sign turned. All of this is done twice, on
other halves, and the mean is taken. The file is long because the scores mean little without the test that
combines them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from latentbench.analysis.latent.dead_zones import MassEstimate, Sparsity
from latentbench.analysis.statistics.fitting import fit
from latentbench.analysis.statistics.moments import NO_VARIANCE, Whitening
from latentbench.models.seeds import derive, generator, numpy_seed

FEWEST_PER_DIMENSION = 30
"""The number of codes needed per dimension: with fewer, the moments of the reference are too uncertain."""

ROUNDS = 2
"""Tests that are learned, each on other halves of the points. Their mean varies less with what was learned
than one of them; the error stated is that of one, and so leaves room for the learning."""

BINS = 48
COMPONENTS, STARTS = 10, 2
SUBSAMPLE = 4000
"""The number of codes, and of draws, for the edges of histograms and for nearest neighbours."""
NEIGHBOURS = 5
LARGEST_SCORE = 50.0
"""Scores are cut off here, in nats, so that one point without density does not decide the weights."""

Score = Callable[[Tensor], Tensor]
"""A function from points `[M, D]` to an estimate of log q/p up to a constant, `[M]`."""


def overlap_coverage(
    codes: Tensor, reference: Tensor, *, fitted: bool = False, seed: int = 0
) -> MassEstimate:
    """Estimate ∫ min(p, q) = 1 − total variation of the codes' density q and the reference's p, from above.

    Codes are `[N, D]`, draws of the reference `[M, D]`, of which the first min(N, M) are used. In [0, 1] up
    to chance, 1 for q = p. A reference fitted to codes must be fitted to all of them: fitted to some,
    it differs from the others. The standard error is that of the evaluation and, if the reference is the
    Gaussian `fitted` to the codes, that of its moments. Raises ValueError for fewer than
    `FEWEST_PER_DIMENSION` codes or draws for each dimension.
    """
    n, dimensions = min(len(codes), len(reference)), codes.shape[1]
    needed = FEWEST_PER_DIMENSION * max(dimensions, 2)
    if n < needed:
        raise ValueError(f"{n} codes are too few for {dimensions} dimensions: the overlap needs {needed}")
    order = generator(seed, "overlap split")
    q, p = (z[torch.randperm(len(z), generator=order)[:n]] for z in (codes, reference))
    rounds = [_held_out(q, p, derive(seed, f"overlap round {number}")) for number in range(ROUNDS)]
    errors = [evaluation_error(each.difference, each.count) for each in rounds]
    if fitted:
        shifts = [moments_error(q, each.draws, each.inside) for each in rounds]
        errors = [math.hypot(*pair) for pair in zip(errors, shifts, strict=True)]
    difference = math.fsum(each.difference for each in rounds) / ROUNDS
    return MassEstimate(1 - difference, math.sqrt(math.fsum(error**2 for error in errors) / ROUNDS))


@dataclass(frozen=True)
class HeldOut:
    """A test's calls on points that it has not seen."""

    difference: float
    """The share of codes that it calls codes, less that of draws."""
    count: int
    draws: Tensor
    inside: Tensor
    """True for each draw that is called a code."""


def _held_out(codes: Tensor, draws: Tensor, seed: int) -> HeldOut:
    """Learn a test on half of the points `[N, D]`, weigh its scores on a sixth, and judge a third."""
    n, order = len(codes), generator(seed, "overlap parts")
    parts = [n // 2, n // 6, n - n // 2 - n // 6]
    shuffled = (z[torch.randperm(n, generator=order)] for z in (codes, draws))
    (learn_q, weigh_q, judge_q), (learn_p, weigh_p, judge_p) = (z.split(parts) for z in shuffled)
    test = Combined.of(_scores(learn_q, learn_p, seed), weigh_q, weigh_p)
    found_q, found_p = (torch.from_numpy(test(z) > 0) for z in (judge_q, judge_p))
    return HeldOut((found_q.double().mean() - found_p.double().mean()).item(), len(judge_q), judge_p, found_p)


def moments_error(codes: Tensor, draws: Tensor, inside: Tensor) -> float:
    """The standard error of P(A) for the Gaussian with the moments of codes `[N, D]`, from those moments.

    `inside` tells which draws of the Gaussian `[M, D]` lie in the region A. In white coordinates u, a code
    changes the moments by u and u uᵀ − I, and so P(A) by a · u + (uᵀ B u − tr B) / 2, with a = E[1_A z] and
    B = E[1_A (z zᵀ − I)] over draws z (the infinitesimal jackknife, Efron 1982). The variance over codes is
    the product of two independent estimates, from halves of the draws: the noise of one alone would
    count as variance. Codes with heavy tails, whose covariance depends on the largest few, have a large one.
    """
    whitening = Whitening.of(codes)
    white, halves = whitening(codes).double(), whitening(draws).double().chunk(2)
    influences = []
    for z, within in zip(halves, inside.chunk(2), strict=True):
        z_in, share = z[within], within.double().mean()
        a = z_in.sum(0) / len(z)
        b = z_in.T @ z_in / len(z) - share * torch.eye(z.shape[1], dtype=z.dtype)
        influence = white @ a + ((white @ b) * white).sum(1) / 2
        influences.append(influence - influence.mean())
    variance = (influences[0] * influences[1]).mean().item()
    return math.sqrt(max(variance, 0.0) / len(codes))


def evaluation_error(difference: float, n: int) -> float:
    """Return the standard error of a difference of two rates over n points each, for any rates.

    It is largest for rates that lie evenly about a half. Codes that cannot be told from draws may all get one
    call, where the rates themselves, 0 or 1, would claim certainty. So would a difference of 1, without a
    single wrong call: it is shrunk as if there had been one.

    >>> evaluation_error(0.0, 200), round(evaluation_error(1.0, 200), 3)
    (0.05, 0.005)
    """
    shrunk = difference * n / (n + 1)
    return math.sqrt(max(1 - shrunk**2, 0.0) / (2 * n))


@dataclass(frozen=True)
class Combined:
    """A weighted sum of scores, calibrated so that it is positive if a point is likelier to be a code."""

    scores: tuple[Score, ...]
    offsets: NDArray[np.float64]
    weights: NDArray[np.float64]
    """One weight for each score, none negative, and the intercept."""

    @classmethod
    def of(cls, scores: tuple[Score, ...], codes: Tensor, draws: Tensor) -> Combined:
        """Fit a logistic regression on points that were not used to fit the scores."""
        from scipy.optimize import minimize
        from scipy.special import expit

        raw = _columns(scores, torch.cat([codes, draws]))
        offsets = np.median(raw, axis=0)
        x = _design(raw, offsets)
        scale = x.std(axis=0)
        scale[scale < NO_VARIANCE] = 1.0
        sign = np.r_[np.ones(len(codes)), -np.ones(len(draws))]
        x = x / scale

        def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            margin = sign * (x @ w)
            penalty = 1e-4 * np.r_[w[:-1], 0.0]
            gradient = -(x * (sign * expit(-margin))[:, None]).mean(0) + 2 * penalty
            return float(np.logaddexp(0, -margin).mean() + penalty @ w), gradient

        count = len(scores)
        bounds = [(0.0, None)] * count + [(None, None)]
        start = np.r_[np.full(count, 0.1), 0.0]
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
        return cls(scores, offsets, found.x / scale)

    def __call__(self, z: Tensor) -> NDArray[np.float64]:
        """Return the log odds that points `[M, D]` are codes, `[M]`."""
        odds: NDArray[np.float64] = _design(_columns(self.scores, z), self.offsets) @ self.weights
        return odds


def _columns(scores: tuple[Score, ...], z: Tensor) -> NDArray[np.float64]:
    return np.stack([score(z).double().numpy() for score in scores], axis=1)


def _design(columns: NDArray[np.float64], offsets: NDArray[np.float64]) -> NDArray[np.float64]:
    cut = np.clip(np.nan_to_num(columns - offsets), -LARGEST_SCORE, LARGEST_SCORE)
    return np.hstack([cut, np.ones((len(cut), 1))])


def _scores(codes: Tensor, draws: Tensor, seed: int) -> tuple[Score, ...]:
    """Fit one score for each known kind of difference between codes and a reference."""
    whitening = Whitening.of(draws)
    # The covariance of a single coordinate is a number.
    covariance = torch.atleast_2d(draws.double().T.cov())
    axes = torch.linalg.eigh(covariance).eigenvectors.to(codes.dtype)

    def radius(z: Tensor) -> Tensor:
        return whitening(z).square().mean(1, keepdim=True)

    return (
        _histograms(codes, draws, radius),
        _histograms(codes, draws, lambda z: z),
        _histograms(codes, draws, lambda z: z @ axes),
        _mixture(codes, whitening, seed),
        network_score(codes, draws, seed),
        _sparsity(codes, draws),
    )


def _histograms(codes: Tensor, draws: Tensor, coordinates: Callable[[Tensor], Tensor]) -> Score:
    """Fit the sum over coordinates of the log ratio of two histograms: exact for independent coordinates.

    Each coordinate's ratio is shrunk by what chance alone would show, so that many coordinates which tell
    nothing do not drown the few that do.
    """
    columns = [coordinates(z).T.contiguous() for z in (codes, draws)]
    quantiles = torch.linspace(0, 1, BINS + 1, dtype=columns[0].dtype)[1:-1]
    few = [column[:, :SUBSAMPLE] for column in columns]
    edges = torch.quantile(torch.cat(few, dim=1), quantiles, dim=1).T.contiguous()
    counts = [_counts(column, edges) for column in columns]
    of_codes, of_draws = (((count + 1) / (count.sum(1, keepdim=True) + BINS)).log() for count in counts)
    ratio = (of_codes - of_draws) * _beyond_chance(*counts)

    def score(z: Tensor) -> Tensor:
        return ratio.gather(1, torch.searchsorted(edges, coordinates(z).T.contiguous())).sum(0)

    return score


def _beyond_chance(codes: Tensor, draws: Tensor) -> Tensor:
    """Compute 1 − (bins − 1) / G of counts `[D, bins]`, at least 0: `[D, 1]`.

    G is the likelihood-ratio statistic for both having one distribution, about bins − 1 if they do. The
    factor is that of a positive-part James–Stein estimate.
    """
    both, found = codes + draws, torch.zeros(len(codes), 1, dtype=codes.dtype)
    for counts in (codes, draws):
        expected = both * (counts.sum(1, keepdim=True) / both.sum(1, keepdim=True))
        found += 2 * torch.xlogy(counts, counts / expected.clamp_min(1e-300)).sum(1, keepdim=True)
    return (1 - (BINS - 1) / found.clamp_min(1e-300)).clamp_min(0)


def _counts(columns: Tensor, edges: Tensor) -> Tensor:
    bins = torch.searchsorted(edges, columns)
    counts = torch.zeros(len(edges), BINS, dtype=torch.float64)
    return counts.scatter_add_(1, bins, torch.ones_like(bins, dtype=torch.float64))


def _mixture(codes: Tensor, whitening: Whitening, seed: int) -> Score:
    """Fit the log density of a mixture with one shared covariance, over that of the Gaussian reference."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    scale = max(float(codes.std()), NO_VARIANCE)
    mixture = GaussianMixture(
        COMPONENTS,
        covariance_type="tied",
        max_iter=30,
        n_init=STARTS,
        random_state=numpy_seed(derive(seed, "overlap mixture")),
    )
    with threadpool_limits(torch.get_num_threads()), warnings.catch_warnings():
        # A mixture whose fit is stopped early is still a density.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit((codes.double() / scale).numpy())

    def score(z: Tensor) -> Tensor:
        log_density = torch.from_numpy(mixture.score_samples((z.double() / scale).numpy()))
        return log_density + whitening(z).square().sum(1) / 2

    return score


def _sparsity(codes: Tensor, draws: Tensor) -> Score:
    """Fit the ratio of nearest-neighbour densities."""
    sparsity = Sparsity(codes[:SUBSAMPLE], draws[:SUBSAMPLE], NEIGHBOURS)
    return lambda z: -sparsity(z).clamp(1e-3, 1e3).log() * z.shape[1]


def network_score(codes: Tensor, draws: Tensor, seed: int) -> Score:
    """Fit a small network on white coordinates: two hidden layers, 300 small batches, too few to overfit."""
    steps, batch, width = 300, 512, 32
    features = ClassifierFeatures.of(torch.cat([codes, draws]))
    x = features(torch.cat([codes, draws]))
    is_code = (torch.arange(len(x)) < len(codes)).to(x.dtype)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "overlap weights"))
        network = nn.Sequential(
            nn.Linear(x.shape[1], width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
        ).to(x.dtype)
    batches = generator(seed, "overlap batches")

    def loss() -> Tensor:
        chosen = torch.randint(len(x), (batch,), generator=batches)
        return F.binary_cross_entropy_with_logits(network(x[chosen]).squeeze(1), is_code[chosen])

    fit(loss, network.parameters(), steps=steps, learning_rate=1e-2, weight_decay=1.0, warm_up=0.1)

    def score(z: Tensor) -> Tensor:
        with torch.inference_mode():
            log_odds: Tensor = network(features(z)).squeeze(1)
        return log_odds

    return score


@dataclass(frozen=True)
class ClassifierFeatures:
    """Features for a test: z with mean 0 and covariance I over given points, and ‖z‖² / D, standardised.

    With them, the overlap hardly changes when codes and reference are shifted, scaled, rotated or sheared.
    """

    whitening: Whitening
    norm_deviation: float

    @classmethod
    def of(cls, z: Tensor) -> ClassifierFeatures:
        """Fit to points `[N, D]`; directions in which they do not vary are dropped."""
        whitening = Whitening.of(z)
        deviation = float(whitening(z).square().mean(1).std())
        return cls(whitening, max(deviation, NO_VARIANCE))

    def __call__(self, z: Tensor) -> Tensor:
        """Map points `[..., D]` to float32 `[..., R + 1]`, R ≤ D."""
        white = self.whitening(z)
        norm = (white.square().mean(-1, keepdim=True) - 1) / self.norm_deviation
        return torch.cat([white, norm], dim=-1).float()
