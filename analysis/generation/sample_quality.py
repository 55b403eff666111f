"""The quality of a model's samples, for each sampler: the generative metrics in the judges' features.

Whether a plain autoencoder can generate depends on the sampling density, so every number
here is one of a model and a sampler. The `posterior` sampler decodes codes of real train images: what it
lacks of their Fréchet distance or precision is the decoder's fault. Its recall is no upper bound: a few
outliers among samples have large balls, which hold many real images.

Precision and density are high also where all samples are one image that lies among real ones. Where the
samples of a sampler have collapsed by their Vendi score, both are in doubt.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

from latentbench.analysis.core.ensemble import over_judges
from latentbench.analysis.core.metric import Metric, MetricDefinition, Unmeasurable
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.features.judge import JudgedImages
from latentbench.analysis.fidelity.generative_metrics import (
    DENSITY_K,
    Cubes,
    Neighbourhoods,
    authenticity,
    class_histogram_kl,
    class_kl_standard_error,
    frechet_between,
    kernel_between,
    neighbourhoods,
    vendi_score,
)
from latentbench.analysis.generation.sample_bank import RealImages, SampleBank, real_images, some
from latentbench.analysis.generation.sample_metrics import (
    FRECHET_FLOOR,
    FUNCTIONAL_DEAD_ZONE,
    KERNEL_FLOOR,
    KINDS,
    OF_SAMPLES,
    POSTERIOR,
    VENDI_TEST,
    definitions_of,
)
from latentbench.analysis.statistics.intervals import binomial_se, jackknife_error, standard_error
from latentbench.analysis.statistics.moments import Moments
from latentbench.analysis.stored.samplers import SAMPLING, samplers_of

BLOCKS = 10
"""The number of blocks of samples for the error of a set distance."""
FEWEST = 2 * BLOCKS
COLLAPSED = 0.5
"""Samples count as collapsed below this share of the entropy, the log of the Vendi score, of `posterior`."""
OF_NEIGHBOURS = ("precision", "recall", "density", "coverage", "authenticity")
"""Kinds that seek neighbours, among `some` of the images and samples."""


@analysis(
    "sampling",
    [
        *definitions_of(SAMPLING),
        FRECHET_FLOOR,
        KERNEL_FLOOR,
        VENDI_TEST,
    ],
    needs_judge=True,
)
def sampling(subject: Subject) -> Measurement:
    """Compare decoded samples of every sampler with the test images, as many samples as test images."""
    if reason := subject.context.no_judge:
        raise Unmeasurable(reason)
    reals = measurable_images(subject)
    names = samplers_of(SAMPLING)
    by_judge = [
        [*metrics.values(), *_of_real_images(real)]
        for metrics, real in zip(measured_by_judges(subject, names), reals, strict=True)
    ]
    metrics = tuple(over_judges(metrics) for metrics in zip(*by_judge, strict=True))
    return Measurement(metrics, kept_samples(subject, names))


def measurable_images(subject: Subject) -> tuple[RealImages, ...]:
    """Return the real images as each judge sees them. Raises Unmeasurable for too few, or without a judge."""
    if reason := subject.context.no_judge:
        raise Unmeasurable(reason)
    reals = subject.context.once(real_images)
    if len(reals[0].test.features) <= DENSITY_K:
        raise Unmeasurable(f"fewer than {DENSITY_K + 1} test images")
    if len(reals[0].train.features) < 2:
        raise Unmeasurable("fewer than 2 train images")
    return reals


def kept_samples(subject: Subject, samplers: Sequence[str]) -> dict[str, NDArray[np.uint8]]:
    """Return the samples that are kept for figures, for each sampler that has some."""
    bank = subject.once(SampleBank)
    return {
        f"samples_{sampler}": bank.samples(sampler).kept.numpy()
        for sampler in samplers
        if why_unusable(bank, sampler) is None
    }


def measured_by_judges(subject: Subject, samplers: Sequence[str]) -> list[dict[str, Metric]]:
    """Return every metric of these samplers by each judge, null for the samplers that have a problem.

    A sampler whose samples collapsed, next to those of `posterior`, has doubtful values.
    """
    measures = subject.once(_Measures)
    found: list[dict[str, Metric]] = []
    for judge in range(len(measures.reals)):
        # Collapse and functional dead zones are read next to the posterior samples.
        names = dict.fromkeys([*samplers, POSTERIOR])
        by_name = {metric.name: metric for name in names for metric in measures.of(name)[judge]}
        _doubt_collapsed(by_name, names)
        dead = [_functional_dead_zone(name, by_name) for name in names if name in FUNCTIONAL_DEAD_ZONE]
        wanted = [metric.name for name in samplers for metric in OF_SAMPLES[name].values()]
        found.append({name: by_name[name] for name in wanted} | {each.name: each for each in dead})
    return found


class _Measures:
    """The metrics of each sampler by each judge, measured once for a subject."""

    def __init__(self, subject: Subject) -> None:
        self.bank = subject.once(SampleBank)
        self.reals = subject.context.once(real_images)
        self._by_sampler: dict[str, list[list[Metric]]] = {}

    def of(self, sampler: str) -> list[list[Metric]]:
        """Return the metrics of a sampler as each judge sees them."""
        if sampler not in self._by_sampler:
            self._by_sampler[sampler] = self._measure(sampler)
        return self._by_sampler[sampler]

    def _measure(self, sampler: str) -> list[list[Metric]]:
        definitions = OF_SAMPLES[sampler]
        if problem := why_unusable(self.bank, sampler):
            return [[metric.missing(problem) for metric in definitions.values()] for _ in self.reals]
        views = zip(self.bank.judged(sampler), self.reals, strict=True)
        return [_measure(definitions, view, real) for view, real in views]


def why_unusable(bank: SampleBank, sampler: str) -> str | None:
    """Return the reason why a sampler's samples of a model cannot be measured; None if they can."""
    try:
        count = bank.samples(sampler).count
    except Unmeasurable as reason:
        return str(reason)
    return f"fewer than {FEWEST} samples" if count < FEWEST else None


def _measure(
    definitions: dict[str, MetricDefinition], samples: JudgedImages, real: RealImages
) -> list[Metric]:
    """Return the metrics of `definitions`, in order, with errors over sets of samples for fixed real images.

    Recall, coverage and the Vendi score have no error: the contribution of each sample depends on the others.
    """
    features = samples.features.to(real.device)
    points = some(features)
    found = neighbourhoods(real.test_points, points, real_distances=real.test_distances)
    authentic = authenticity(real.train_points, points, real_distances=real.train_distances)
    classes = (samples.predictions, real.test.predictions, samples.probabilities.shape[1])
    cubes = [Cubes.of(block) for block in features.tensor_split(BLOCKS)]

    def kernel(part: Cubes) -> float:
        return kernel_between(real.test_cubes, part)

    values: dict[str, tuple[float, float | None]] = {
        "frechet": frechet(samples, real),
        "kernel": (kernel(reduce(add, cubes)), jackknife_error(cubes, kernel)),
        **_neighbourhood_scores(found),
        "class_kl": (class_histogram_kl(*classes), class_kl_standard_error(*classes)),
        "vendi": (vendi_score(features), None),
        "authenticity": (authentic.double().mean().item(), binomial_se(int(authentic.sum()), len(points))),
    }
    counts = dict.fromkeys(OF_NEIGHBOURS, len(points))
    return [
        metric.measured(values[name][0], se=values[name][1], n=counts.get(name, len(features)))
        for name, metric in definitions.items()
    ]


def frechet(samples: JudgedImages, real: RealImages) -> tuple[float, float]:
    """Return the Fréchet distance of samples to the test images as one judge sees both, and its error."""
    moments = [Moments.of(block) for block in samples.features.tensor_split(BLOCKS)]

    def distance(part: Moments) -> float:
        return frechet_between(real.test_moments, part)

    return distance(reduce(add, moments)), jackknife_error(moments, distance)


def _neighbourhood_scores(found: Neighbourhoods) -> dict[str, tuple[float, float | None]]:
    inside, n = int(found.precise.sum()), len(found.precise)
    return {
        "precision": (inside / n, binomial_se(inside, n)),
        "recall": (found.recalled.double().mean().item(), None),
        "density": (found.density.mean().item(), standard_error(found.density.cpu())),
        "coverage": (found.covered.double().mean().item(), None),
    }


def have_collapsed(vendi: float, reference: float) -> bool:
    """True if samples of this Vendi score lack the variety of others, by the entropy that it stands for.

    >>> have_collapsed(1.4, 4.0), have_collapsed(2.5, 4.0)
    (True, False)
    """
    return math.log(vendi) < COLLAPSED * math.log(reference)


def _doubt_collapsed(measured: dict[str, Metric], samplers: Iterable[str]) -> None:
    """Put in doubt what collapsed samples score well in."""
    reference = measured[f"vendi_{POSTERIOR}"].value
    for sampler in samplers:
        vendi = measured[f"vendi_{sampler}"].value
        if vendi is None or reference is None or not have_collapsed(vendi, reference):
            continue
        reason = f"samples have collapsed: Vendi score {vendi:.2f}, of posterior samples {reference:.2f}"
        for name in (f"{kind.name}_{sampler}" for kind in KINDS if kind.fooled_by_collapse):
            measured[name] = measured[name].doubted("collapsed", reason)


def _functional_dead_zone(sampler: str, measured: dict[str, Metric]) -> Metric:
    """The precision that is lost with the sampler, compared with codes of real images."""
    best, own = measured[f"precision_{POSTERIOR}"], measured[f"precision_{sampler}"]
    return FUNCTIONAL_DEAD_ZONE[sampler].difference(best, own, n=own.n)


def _of_real_images(real: RealImages) -> list[Metric]:
    """Return the values of real images: train images for the distances, test images for their diversity."""
    n, test = len(real.train.features), real.test.features
    return [
        FRECHET_FLOOR.measured(frechet_between(real.test_moments, real.train_moments), n=n),
        KERNEL_FLOOR.measured(kernel_between(real.test_cubes, real.train_cubes), n=n),
        VENDI_TEST.measured(vendi_score(test), n=len(test)),
    ]
