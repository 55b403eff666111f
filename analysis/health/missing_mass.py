"""Analyses `missing_mass` and `missing_mass_flow`: what a sampler never makes, by class and by attribute.

It compares images that the decoder can make: the reconstructions of test images. One is missing if no sample
lies within the ball of its fifth nearest other, in a judge's features. Chance leaves some missing even where
codes are those of images: the `posterior` samples tell how many, and what exceeds them,
(u − u₀) / (1 − u₀), is the missing mass. So the decoder's blur has no part in it, only the sampler. It is a
share of the real images, unlike the dead zone, which is a share of what a Gaussian draws. It does not see bad
samples as long as good ones are among them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentbench.analysis.core.data_context import to_float, to_uint8
from latentbench.analysis.core.ensemble import over_judges
from latentbench.analysis.core.metric import Metric, MetricDefinition, Unmeasurable, define, finite
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import NO_DECODER, Subject
from latentbench.analysis.features.judge import reduced
from latentbench.analysis.fidelity.generative_metrics import DENSITY_K, neighbourhoods
from latentbench.analysis.generation.sample_bank import SampleBank, some
from latentbench.analysis.generation.sample_quality import why_unusable
from latentbench.analysis.latent.dead_zones import MassEstimate
from latentbench.analysis.statistics.neighbours import nearest
from latentbench.analysis.stored.missing_mass import ANALYSIS_OF, QUARTERS, SAMPLED
from latentbench.analysis.stored.samplers import FLOW, SAMPLERS
from latentbench.models.seeds import derive, numpy_seed

CLUSTERS, SMALLEST_CLUSTER = 6, 20
"""Clusters of missing images at most, and the images that each needs on average."""
SHOWN = 5
"""Images of each kind for each cluster in the figure."""
NO_LABELS = "the data have no labels"

MISSING_MASS = {
    name: define(
        f"missing_mass_{name}",
        unit="fraction",
        better="lower",
        title=f"Share of decoded test images that no {SAMPLERS[name].title} come near, beyond chance.",
        heading=f"missing mass {name}",
    )
    for name in ANALYSIS_OF
}
MISSING_CLASS = {
    name: define(
        f"missing_class_{name}",
        unit="fraction",
        better="lower",
        title=f"Missing mass of the class whose images {SAMPLERS[name].title} miss most.",
        heading=f"missing class {name}",
    )
    for name in ANALYSIS_OF
}
MISSING_CLASSES = {
    name: define(
        f"missing_classes_{name}",
        unit="classes",
        better="lower",
        title=f"Number of classes of which more than half is missing among {SAMPLERS[name].title}.",
        heading=f"missing classes {name}",
        decimals=1,
    )
    for name in ANALYSIS_OF
}

KINDS = (MISSING_MASS, MISSING_CLASS, MISSING_CLASSES)

Array = NDArray[np.generic]


def definitions_of(*samplers: str) -> list[MetricDefinition]:
    """Return the metrics of samplers, in the order of the tables."""
    return [kind[name] for kind in KINDS for name in samplers]


# Formulas


def uncovered(real: Tensor, samples: Tensor, *, real_distances: Tensor | None = None) -> Tensor:
    """Find the real points `[N, D]` whose ball to the fifth nearest other holds none of `samples` `[M, D]`.

    Returns bool `[N]`; its share is 1 minus the coverage of Naeem et al. 2020. Raises ValueError below six
    real points, for mismatched widths and for values that are not finite.
    """
    return ~neighbourhoods(real, samples, real_distances=real_distances).covered


def beyond_chance(missing: Tensor, by_chance: Tensor) -> MassEstimate:
    """Compute (u − u₀) / (1 − u₀) of the shares of two bool `[N]` of the same images, with its error.

    The error is that over images, of the difference of the two, which are paired; NaN where it is not known.
    The value is NaN if chance misses all.

    >>> beyond_chance(torch.tensor([True, True, False, False]), torch.zeros(4, dtype=torch.bool)).value
    0.5
    """
    share, chance = (each.double().mean().item() for each in (missing, by_chance))
    if chance == 1 or len(missing) < 2:
        return MassEstimate(math.nan if chance == 1 else (share - chance) / (1 - chance), math.nan)
    value = (share - chance) / (1 - chance)
    spread = (missing.double() - (1 - value) * by_chance.double()).std().item()
    # Where every image is missing, an error of 0 would claim certainty.
    return MassEstimate(value, spread / math.sqrt(len(missing)) / (1 - chance) if spread else math.nan)


def attributes(images: Tensor) -> Tensor:
    """Compute the `ATTRIBUTES` of float images `[N, C, H, W]`, float64 `[N, 3]`."""
    values = images.double()
    steps = [values.diff(dim=dim).square().mean((1, 2, 3)) for dim in (2, 3)]
    flat = values.flatten(1)
    return torch.stack([flat.mean(1), flat.std(1), (steps[0] + steps[1]).sqrt()], dim=1)


def clusters(points: Tensor, *, seed: int) -> Tensor:
    """Divide points `[N, D]` into at most `CLUSTERS` by k-means: int64 `[N]`, the largest cluster is 0."""
    from sklearn.cluster import KMeans

    count = max(1, min(CLUSTERS, len(points) // SMALLEST_CLUSTER, len(points.unique(dim=0))))
    found = KMeans(count, n_init=3, random_state=numpy_seed(seed)).fit_predict(points.double().numpy())
    members = torch.from_numpy(found).long()
    rank = members.bincount(minlength=count).argsort(descending=True, stable=True).argsort()
    return rank[members]


# The analysis


@dataclass(frozen=True, eq=False)
class Missing:
    """The test images that are missing for one judge and sampler, bool `[N]`, of those that are compared."""

    samples: Tensor
    by_chance: Tensor

    def among(self, chosen: Tensor) -> MassEstimate:
        """The missing mass of some of the images."""
        return beyond_chance(self.samples[chosen], self.by_chance[chosen])


@analysis("missing_mass", definitions_of(*SAMPLED), opt_in=True, needs_judge=True)
def missing_mass(subject: Subject) -> Measurement:
    """Find the test images that the samplers never come near, and show where they are."""
    return _measured(subject, *SAMPLED)


@analysis(ANALYSIS_OF[FLOW], definitions_of(FLOW), opt_in=True, needs_judge=True)
def missing_mass_flow(subject: Subject) -> Measurement:
    """Find the test images that a learned flow never comes near."""
    return _measured(subject, FLOW)


def _measured(subject: Subject, *samplers: str) -> Measurement:
    if reason := subject.context.no_judge:
        raise Unmeasurable(reason)
    decoded = subject.once(_decoded)
    found: dict[str, Metric] = {}
    arrays: dict[str, Array] = {}
    for name in samplers:
        metrics, of_sampler = _of_sampler(subject, name, decoded)
        found |= {metric.name: metric for metric in metrics}
        arrays |= {f"{key}_{name}": array for key, array in of_sampler.items()}
    return Measurement(tuple(found[metric.name] for metric in definitions_of(*samplers)), arrays)


@dataclass(frozen=True, eq=False)
class Decoded:
    """The reconstructions of the test images that neighbours are sought among, as one judge sees them."""

    points: Tensor
    distances: Tensor
    by_chance: Tensor
    """bool `[N]`: the ones that no `posterior` sample comes near."""


def _decoded(subject: Subject) -> tuple[Decoded, ...]:
    """See the reconstructions by every judge. Raises Unmeasurable for a model without sound ones."""
    if not subject.can_decode:
        raise Unmeasurable(NO_DECODER)
    if subject.tested.errors is None:
        raise Unmeasurable(subject.tested.problem or NO_DECODER)
    bank = subject.once(SampleBank)
    if problem := why_unusable(bank, "posterior"):
        raise Unmeasurable(problem)
    if subject.tested.count <= DENSITY_K:
        raise Unmeasurable(f"fewer than {DENSITY_K + 1} test images")
    found = []
    views = zip(subject.tested.errors.judged, bank.judged("posterior"), strict=True)
    for reconstructions, posterior in views:
        points = some(finite(reconstructions.features, "reconstructions cannot be judged")).double()
        distances, _ = nearest(points, points, DENSITY_K, exclude_self=True)
        by_chance = uncovered(points, some(posterior.features), real_distances=distances)
        found.append(Decoded(points, distances, by_chance))
    return tuple(found)


def _of_sampler(
    subject: Subject, name: str, decoded: Sequence[Decoded]
) -> tuple[list[Metric], dict[str, Array]]:
    bank = subject.once(SampleBank)
    if problem := why_unusable(bank, name):
        return [metric.missing(problem) for metric in definitions_of(name)], {}
    samples = [some(view.features) for view in bank.judged(name)]
    seen = [
        Missing(uncovered(real.points, own, real_distances=real.distances), real.by_chance)
        for real, own in zip(decoded, samples, strict=True)
    ]
    indices = some(torch.arange(len(subject.data.test)))
    labels = None if subject.data.test.labels is None else subject.data.test.labels[indices]
    metrics = [over_judges(each) for each in zip(*(_metrics(name, one, labels) for one in seen), strict=True)]
    arrays = _by_attribute(subject, indices, seen)
    if labels is not None:
        shares = torch.stack([_by_class(one, labels, len(subject.data.classes)) for one in seen])
        arrays["classes"] = shares.mean(0).numpy()
    return metrics, arrays | _clusters(subject, name, indices, seen[0], decoded[0].points, samples[0])


def _metrics(name: str, seen: Missing, labels: Tensor | None) -> list[Metric]:
    n = len(seen.samples)
    whole = seen.among(torch.ones(n, dtype=torch.bool))
    found = [MISSING_MASS[name].measured(whole.value, se=whole.se, n=n, common_se=whole.se)]
    if labels is None:
        return [*found, *(kind[name].missing(NO_LABELS) for kind in (MISSING_CLASS, MISSING_CLASSES))]
    by_class = {int(each): seen.among(labels == each) for each in labels.unique()}
    worst = max(by_class, key=lambda each: np.nan_to_num(by_class[each].value, nan=-np.inf))
    most, size = by_class[worst], int((labels == worst).sum())
    halves = sum(each.value > 0.5 for each in by_class.values())
    return [
        *found,
        MISSING_CLASS[name].measured(most.value, se=most.se, n=size, common_se=most.se),
        MISSING_CLASSES[name].measured(halves, n=n),
    ]


def _by_class(seen: Missing, labels: Tensor, classes: int) -> Tensor:
    return torch.tensor([seen.among(labels == each).value for each in range(classes)])


def _by_attribute(subject: Subject, indices: Tensor, seen: Sequence[Missing]) -> dict[str, Array]:
    """Return the missing mass by quarter of each attribute, float64 `[A, 4]`, the lowest quarter first."""
    parts = [attributes(reduced(to_float(subject.data.test.images[batch]))) for batch in indices.split(1000)]
    ranks = torch.cat(parts).argsort(0).argsort(0)
    quarter = ranks * QUARTERS // len(ranks)
    shares = [
        [np.mean([one.among(column == each).value for one in seen]) for each in range(QUARTERS)]
        for column in quarter.T
    ]
    return {"attributes": np.array(shares, dtype=np.float64)}


def _clusters(
    subject: Subject, name: str, indices: Tensor, seen: Missing, points: Tensor, samples: Tensor
) -> dict[str, Array]:
    """Return clusters of the first judge's missing images, with images from both sides of the gap.

    `clusters` `[K, 2]` has the share of all test images and the commonest class, −1 without labels.
    `examples` uint8 `[K, 3, SHOWN, C, H, W]` has missing images, what the model makes of them, and the
    samples that are nearest to them.
    """
    missing = seen.samples.nonzero().squeeze(1)
    if len(missing) < SHOWN or len(samples) < SHOWN:
        return {}
    features = points[missing]
    member = clusters(features, seed=derive(subject.seed, "missing clusters"))
    drawn = some(torch.arange(subject.once(SampleBank).samples(name).count))
    codes = subject.once(SampleBank).codes(name, len(subject.data.test))
    rows, shown = [], []
    for each in range(int(member.max()) + 1):
        own = member == each
        if int(own.sum()) < SHOWN:
            continue
        middle = features[own].mean(0, keepdim=True)
        typical = missing[own][nearest(middle, features[own], SHOWN)[1][0]]
        images = subject.data.test.images[indices[typical]]
        close = drawn[nearest(middle, samples.double(), SHOWN)[1][0]]
        shown.append(
            torch.stack(
                [
                    _small(to_float(images)),
                    _small(subject.decode(subject.encode(images).mean)),
                    _small(subject.decode(codes[close])),
                ]
            )
        )
        rows.append([int(own.sum()) / len(seen.samples), _commonest(subject, indices[missing[own]])])
    if not rows:
        return {}
    return {"clusters": np.array(rows, dtype=np.float64), "examples": torch.stack(shown).numpy()}


def _small(images: Tensor) -> Tensor:
    return to_uint8(reduced(images.clamp(0, 1)))


def _commonest(subject: Subject, images: Tensor) -> int:
    labels = subject.data.test.labels
    return -1 if labels is None else int(labels[images].mode().values)
