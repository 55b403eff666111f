"""Analysis `coverage`: how well simple densities cover the codes of train images.

Two measures are read together. The dead-zone mass is the share of a reference density where codes are far
and other draws are near: it finds holes and gaps between clusters. The overlap uses a held-out test that
tells codes from draws: it finds any difference that the test can learn, including mere shrinkage. Codes
are posterior draws, in the dimensions that the model uses, each distinct code once. Of a code that is a
grid or tokens, one position of each image is taken.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentbench.analysis.core.ensemble import over_judges
from latentbench.analysis.core.metric import Metric, MetricDefinition, Unmeasurable, define, finite
from latentbench.analysis.core.registry import ANALYSES, Measurement, analysis
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.generation.sample_bank import SampleBank
from latentbench.analysis.latent.dead_zones import (
    Gap,
    MassEstimate,
    beyond_null,
    dead_zone_mass,
    null_gaps,
)
from latentbench.analysis.latent.intrinsic_dimension import two_nn
from latentbench.analysis.latent.latent_plane import plane_arrays
from latentbench.analysis.latent.overlap import overlap_coverage
from latentbench.analysis.rate.likelihood import active_units
from latentbench.analysis.statistics.intervals import binomial_se
from latentbench.analysis.statistics.moments import NO_VARIANCE, moment_matched
from latentbench.models.protocols import Posterior

POINTS = 5000
"""The number of codes to which a dead zone is fitted and, again, on which it is calibrated; its value depends
on it."""
CLASSIFIED = 8000
"""Half of the codes, and of the draws, for the overlap's test: the test is learned and evaluated on them."""

FEWEST_CODES = 100
NO_PRIOR = "a deterministic code has no prior"
NO_NOISE = "a deterministic code has no noise: its means are its codes"
DISCRETE = "discrete code: it has no density to compare with"

DEAD_ZONE_MOMENT = define(
    "dead_zone_moment",
    unit="fraction",
    better="lower",
    title=(
        "Share of draws from the Gaussian with the codes' mean and covariance that lie where codes are "
        "sparser than at 95 % of the codes themselves, beyond the same share for codes without holes. "
        "Compare only models of one width and number of codes."
    ),
    heading="dead zone",
    headline=True,
    version=3,
)
DEAD_ZONE_MEANS = define(
    "dead_zone_means",
    unit="fraction",
    better="lower",
    title="Dead-zone share of the codes' Gaussian as in dead_zone_moment, for posterior means without noise.",
    heading="dead zone of means",
    version=2,
)
DEAD_ZONE_PRIOR = define(
    "dead_zone_prior",
    unit="fraction",
    better="lower",
    title=(
        "Share of draws from the prior N(0, I) that lie where codes are sparser than at 95 % of the codes "
        "themselves; shifted or shrunk codes count, not only holes."
    ),
    heading="dead zone prior",
    version=2,
)
LEAK_MOMENT = define(
    "leak_moment",
    unit="fraction",
    better="lower",
    title=(
        "Share of codes that lie where draws from the codes' Gaussian are sparser than at 95 % of the draws."
    ),
    heading="leak",
    version=2,
)
OVERLAP_MOMENT = define(
    "overlap_moment",
    unit="fraction",
    better="higher",
    title="Overlap of the codes with the Gaussian of their moments, by held-out tests, from above.",
    heading="overlap",
    version=3,
)
OVERLAP_PRIOR = define(
    "overlap_prior",
    unit="fraction",
    better="higher",
    title="Overlap of the codes with the prior N(0, I), by held-out tests, from above.",
    heading="overlap prior",
    version=3,
)
CLASS_AREA_LARGEST = define(
    "class_area_largest",
    unit="fraction",
    better="neither",
    title="Share of the plane of a 2-D code that decodes to the largest class, under the codes' Gaussian.",
    heading="largest class",
    version=2,
)
CLASS_AREA_SMALLEST = define(
    "class_area_smallest",
    unit="fraction",
    better="neither",
    title="Share of the plane of a 2-D code that decodes to the rarest class, under the codes' Gaussian.",
    heading="smallest class",
    version=2,
)
INTRINSIC_DIMENSION = define(
    "intrinsic_dimension",
    unit="dimensions",
    better="neither",
    title="Number of dimensions that codes of test images fill locally (two nearest neighbours); context.",
    heading="intrinsic",
    decimals=1,
)
CLASS_AREA = (CLASS_AREA_LARGEST, CLASS_AREA_SMALLEST)
GAPS = (DEAD_ZONE_MOMENT, DEAD_ZONE_MEANS, DEAD_ZONE_PRIOR, LEAK_MOMENT, OVERLAP_MOMENT, OVERLAP_PRIOR)


@analysis("coverage", [*GAPS, *CLASS_AREA, INTRINSIC_DIMENSION], needs_judge=True)
def coverage(subject: Subject) -> Measurement:
    """Compare the codes of train images with their own Gaussian and, if there is one, the prior N(0, I)."""
    order = torch.randperm(len(subject.point_samples), generator=subject.generator("coverage order"))
    if subject.is_discrete:
        return Measurement(ANALYSES["coverage"].all_missing(DISCRETE).metrics, _lattice_plane(subject, order))
    if len(subject.point_samples) < FEWEST_CODES:
        raise Unmeasurable(f"fewer than {FEWEST_CODES} train images")
    used = in_use(subject.train_points)
    _refuse_unusable(subject.point_samples, used)
    order = order[first_of_each(subject.point_samples[order])]
    codes = subject.point_samples[order][:, used]
    if len(codes) < FEWEST_CODES:
        raise Unmeasurable(f"fewer than {FEWEST_CODES} distinct codes")
    noise = torch.randn(
        2 * CLASSIFIED, codes.shape[1], generator=subject.generator("coverage draws"), dtype=codes.dtype
    )
    moment = moment_matched(codes, noise)
    gap = _gap(codes, moment, subject.seed)
    metrics = [
        _measured(DEAD_ZONE_MOMENT, _beyond_null(gap, codes, moment, subject.seed), _gap_n(codes)),
        _dead_zone_of_means(subject, order, used, noise),
        DEAD_ZONE_PRIOR.missing(NO_PRIOR),
        _measured(LEAK_MOMENT, gap.leak(), _gap_n(codes)),
        _overlap(OVERLAP_MOMENT, codes, moment, subject.seed, fitted=True),
        OVERLAP_PRIOR.missing(NO_PRIOR),
    ]
    if subject.has_prior:
        prior_zone = dead_zone_mass(codes[: 2 * POINTS], noise[: 2 * POINTS], seed=subject.seed)
        metrics[2] = _measured(DEAD_ZONE_PRIOR, prior_zone, _gap_n(codes))
        metrics[5] = _overlap(OVERLAP_PRIOR, codes, noise, subject.seed)
    metrics += [*_class_area(subject), _dimension(subject)]
    if subject.code_shape != (2,) or codes.shape[1] != 2:
        return Measurement(tuple(metrics))
    labels = subject.data.train.labels
    arrays = plane_arrays(subject, codes, None if labels is None else labels[order], gap.is_dead)
    return Measurement(tuple(metrics), arrays)


def first_of_each(codes: Tensor) -> Tensor:
    """Return the positions of the first of every group of equal codes `[N, D]`, in order.

    A copy in both halves of a split would count as a near neighbour, and as learned.
    """
    distinct, group = codes.unique(dim=0, return_inverse=True)
    first = torch.full((len(distinct),), len(codes), dtype=torch.int64)
    return first.scatter_reduce(0, group, torch.arange(len(codes)), "amin").sort().values


def _gap(codes: Tensor, reference: Tensor, seed: int) -> Gap:
    return Gap.of(codes[: 2 * POINTS], reference[: 2 * POINTS], seed=seed)


def _gap_n(codes: Tensor) -> int:
    return min(len(codes), 2 * POINTS)


def _beyond_null(gap: Gap, codes: Tensor, reference: Tensor, seed: int) -> MassEstimate:
    return beyond_null(gap, null_gaps(codes[: 2 * POINTS], reference[: 2 * POINTS], seed=seed))


def _dead_zone_of_means(subject: Subject, order: Tensor, used: Tensor, noise: Tensor) -> Metric:
    """Measure `dead_zone_moment` without the posterior's noise, which fills gaps."""
    if not subject.is_stochastic:
        return DEAD_ZONE_MEANS.missing(NO_NOISE)
    means = subject.train_points.mean[order][:, used]
    means = means[first_of_each(means)]
    if len(means) < FEWEST_CODES:
        return DEAD_ZONE_MEANS.missing(f"fewer than {FEWEST_CODES} distinct means")
    moment = moment_matched(means, noise)
    zone = _beyond_null(_gap(means, moment, subject.seed), means, moment, subject.seed)
    return _measured(DEAD_ZONE_MEANS, zone, _gap_n(means))


def _overlap(
    metric: MetricDefinition, codes: Tensor, reference: Tensor, seed: int, *, fitted: bool = False
) -> Metric:
    codes = codes[: 2 * CLASSIFIED]
    try:
        found = overlap_coverage(codes, reference, fitted=fitted, seed=seed)
        return _measured(metric, found, len(codes))
    except ValueError as reason:
        return metric.missing(str(reason), n=len(codes))


def _class_area(subject: Subject) -> list[Metric]:
    """Return the shares of the commonest and the rarest class among decoded draws of the codes' Gaussian."""
    try:
        by_judge = [_areas(predictions, len(subject.data.classes)) for predictions in _classes(subject)]
    except Unmeasurable as reason:
        return [metric.missing(str(reason)) for metric in CLASS_AREA]
    return [over_judges(metrics) for metrics in zip(*by_judge, strict=True)]


def _areas(predictions: Tensor, classes: int) -> tuple[Metric, ...]:
    """The metrics as one judge sees the draws."""
    counts, n = predictions.bincount(minlength=classes), len(predictions)
    return tuple(
        metric.measured(hits / n, se=binomial_se(hits, n), n=n)
        for metric, hits in zip(CLASS_AREA, (int(counts.max()), int(counts.min())), strict=True)
    )


def _classes(subject: Subject) -> list[Tensor]:
    """Return the classes of decoded draws by each judge, `[N]` each."""
    if subject.code_shape != (2,):
        raise Unmeasurable("the code does not have two dimensions")
    if reason := subject.context.no_judge:
        raise Unmeasurable(reason)
    return [view.predictions for view in subject.once(SampleBank).judged("moment")]


def _dimension(subject: Subject) -> Metric:
    codes = subject.test_points.mean[:POINTS]
    try:
        return INTRINSIC_DIMENSION.measured(two_nn(codes), n=len(codes))
    except ValueError as reason:
        return INTRINSIC_DIMENSION.missing(str(reason), n=len(codes))


def _lattice_plane(subject: Subject, order: Tensor) -> dict[str, NDArray[np.generic]]:
    """Return the plane of a 2-D discrete code: points that decode to a code without images are dead."""
    codes = subject.code_samples[order]
    if codes.shape[1] != 2 or not _spans_the_plane(codes):
        return {}
    inhabited = subject.indices(codes).unique(dim=0)

    def is_dead(points: Tensor) -> Tensor:
        lives: Tensor = (subject.indices(points)[:, None] == inhabited).all(2).any(1)
        return ~lives

    labels = subject.data.train.labels
    return plane_arrays(subject, codes, None if labels is None else labels[order], is_dead)


def _spans_the_plane(codes: Tensor) -> bool:
    """Return True if codes `[N, 2]` are finite, and not all on one line."""
    if len(codes) < FEWEST_CODES or not codes.isfinite().all():
        return False
    smaller, larger = torch.linalg.eigvalsh(codes.double().T.cov()).tolist()
    return bool(smaller > NO_VARIANCE * larger)


def in_use(posterior: Posterior) -> Tensor:
    """Find the dimensions that the codes of a data set use, bool `[D]`.

    These are the active units of a stochastic code; for a deterministic code, whose scale has no meaning, the
    dimensions that vary at all.
    """
    if posterior.log_var is not None:
        return active_units(posterior.mean)
    variance = posterior.mean.double().var(0)
    return variance > NO_VARIANCE * variance.max()


def _refuse_unusable(codes: Tensor, used: Tensor) -> None:
    finite(codes)
    if not used.any():
        raise Unmeasurable("no dimension of the code is in use")


def _measured(metric: MetricDefinition, estimate: MassEstimate, n: int) -> Metric:
    return metric.measured(estimate.value, se=estimate.se, n=n)
